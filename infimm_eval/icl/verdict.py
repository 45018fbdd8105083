"""The verdict on a cell: one line, the strongest claim that its intervals carry.

Rules look at bounds of intervals, never at values, and are tried in order; one that needs a
contrast which was not measured ends in "undecided".  Knows contrasts and rates, no log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infimm_eval.icl.contrasts import Contrast
from infimm_eval.icl.copying import Rate

COPIES = "copies the last shot"
VOTES = "votes"
PAIRS = "looks; reads pictures and answers together"
WORDS = "looks; takes its words from the shots' texts"
GAINS = "looks; gains, but not from labels"
LOOKS = "looks; takes nothing from the shots"
IMITATES = "imitates the shots' text"
NOTHING = "takes nothing and does not look"
UNDECIDED = "undecided"
SEES = "looks"
BLIND = "does not look as far as this shows"
"""The last two are said of cells without shots."""

_MOSTLY = 50.0
_NEARLY_ALWAYS = 90.0
_UNCHANGED = 2.0
"""So many answers of a hundred may change by a model's numerics where "nothing changes"."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The claim, and the figures that it rests on, in a sentence."""

    claim: str
    """One of the constants of this module."""
    sentence: str


def verdict(
    contrasts: Sequence[Contrast], rates: Mapping[str, Rate], shots: int, *, wordless: bool = False
) -> Verdict:
    """By the first rule that holds.  ``wordless``: nothing is asked beside the pictures, so that
    shuffled answers are swapped pictures."""
    by_name = {contrast.name: contrast for contrast in contrasts}
    if wordless and "pairing" in by_name:
        by_name.setdefault("label_format", by_name["pairing"])
    if not shots:
        return _without_shots(by_name.get("blind"))
    return _copies_or_votes(by_name, rates, shots) or _looks(by_name)


def _without_shots(blind: Contrast | None) -> Verdict:
    if blind is None:
        return Verdict(UNDECIDED, "Undecided: the query's picture was not blanked (blind).")
    over = f"{_points(blind)} over a blank one"
    if blind.positive:
        return Verdict(SEES, f"Looks at the query's picture ({over}).")
    return Verdict(BLIND, f"No use of the query's picture shows ({over}).")


def _copies_or_votes(
    by_name: Mapping[str, Contrast], rates: Mapping[str, Rate], shots: int
) -> Verdict | None:
    recency, agreed = rates.get("recency"), rates.get("majority")
    if recency is not None and _low(recency) > _MOSTLY:
        said = f"the last shot's answer rather than the first's by {_points(recency)}"
        return Verdict(COPIES, f"Copies the last shot: {said}.")
    blind = by_name.get("blind")
    if agreed is None or _low(agreed) <= _NEARLY_ALWAYS or blind is None or blind.positive:
        return None
    if shots == 1:
        return Verdict(COPIES, f"Copies its only shot in {_share(agreed)} of its answers.")
    said = f"agrees with its shots' majority in {_share(agreed)} of the answers that have one"
    return Verdict(VOTES, f"Votes: {said}, and a blank query picture costs nothing that shows.")


def _looks(by_name: Mapping[str, Contrast]) -> Verdict:
    blind = by_name.get("blind")
    if blind is None:
        return Verdict(UNDECIDED, "Undecided: the query's picture was not blanked (blind).")
    if not blind.positive:
        return _blind(by_name)
    lacking = next((what for name, what in _NEEDED.items() if name not in by_name), "")
    claim, taken = _taken(by_name, lacking)
    return Verdict(
        claim, f"Looks at the query's picture ({_points(blind)} over a blank one); {taken}."
    )


_EXCHANGED = {"pictures=swapped": "change places", "pictures=other": "are others"}
_NEEDED = {
    "pairing": "pictures=swapped (with one shot a prompt pictures=other)",
    "label_format": "answers=shuffled",
    "shots": "a run at 0 shots",
}
"""What the rules about shots look at, in their order, and where it comes from."""


def _taken(by_name: Mapping[str, Contrast], lacking: str) -> tuple[str, str]:
    """What a model that looks takes from its shots: the claim, and the words for it."""
    pairing, label, shots = (by_name.get(name) for name in _NEEDED)
    if pairing is not None and pairing.positive:
        lost = _loses(pairing, f"when its shots' pictures {_EXCHANGED[pairing.control]}")
        return PAIRS, f"reads pictures and answers together ({lost})"
    if pairing is not None and label is not None and label.positive:
        lost = _loses(label, "when their answers are shuffled")
        return WORDS, f"takes its words from the shots' texts ({lost})"
    if label is None or shots is None or lacking:
        return UNDECIDED, f"what its shots teach is undecided without {lacking}"
    over = f"{_points(shots)} over {shots.control}"
    unread = f"{_points(label)} when these are shuffled"
    if shots.positive:
        gain = f"gains from its shots ({over}), but not from their labels as far as this shows"
        return GAINS, f"{gain} ({unread})"
    return LOOKS, f"takes nothing from its shots that shows ({over}; {unread})"


def _blind(by_name: Mapping[str, Contrast]) -> Verdict:
    """Where no use of the query's picture shows."""
    blind, label = by_name["blind"], by_name.get("label_format")
    unseen = f"no use of the query's picture shows ({_points(blind)} over a blank one)"
    if label is not None and label.positive:
        how = "when they are shuffled"
        return Verdict(IMITATES, f"Imitates its shots' text ({_loses(label, how)}); {unseen}.")
    told = [c for c in by_name.values() if c.name != "shots" and c.changed is not None]
    about_shots = [c for c in told if c.name in ("pairing", "label_format", "picture_content")]
    if about_shots and all((c.changed or 0) <= _UNCHANGED for c in told):
        most = max(c.changed or 0 for c in told)
        said = f"at most {most:.1f} % of its answers change, whatever is changed in its prompts"
        return Verdict(NOTHING, f"Takes nothing from its shots and does not look: {said}.")
    return Verdict(UNDECIDED, f"Undecided: {unseen}, and no other rule holds.")


def _low(rate: Rate) -> float:
    return rate.ci95[0] if rate.ci95 else float("-inf")


def _points(figure: Contrast | Rate) -> str:
    bounds = f" [{figure.ci95[0]:.1f}, {figure.ci95[1]:.1f}]" if figure.ci95 else ""
    return f"{figure.value:+.1f}{bounds} points"


def _loses(contrast: Contrast, how: str) -> str:
    return f"{_points(contrast)} lost {how}"


def _share(rate: Rate) -> str:
    bounds = f" [{rate.ci95[0]:.1f}, {rate.ci95[1]:.1f}]" if rate.ci95 else ""
    return f"{rate.value:.1f}{bounds} %"
