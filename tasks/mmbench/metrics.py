"""MMBench's CircularEval: a question is right if it is right in every rotation of its options."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from infimm_eval.metrics import averages, by_tag, headline, scored, value_of
from infimm_eval.types import Outcome, Summary, Unit

BREAKDOWN = ("l2-category", "category")


def circular(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
    """``circular`` (headline): questions right in every rotation of their options, in percent
    (MMBench's CircularEval, Liu et al. 2023).  ``vanilla``: the unrotated rows alone.

    Rotations share ``tags["question"]``, the id of the unrotated row; ``tags["rotations"]`` says
    how many there are.  A question with an unscored rotation is left out; one of which some were
    never asked is not right.
    """
    rotations = by_tag(outcomes, "question")
    whole = {
        question: rows
        for question, rows in rotations.items()
        if all(row.score.value is not None for row in rows)
    }
    units = {
        question: Unit(question, rows[0].group or question, float(_right(rows)))
        for question, rows in whole.items()
    }
    groups: dict[str, dict[str, list[Unit]]] = {tag: defaultdict(list) for tag in BREAKDOWN}
    for question, rows in whole.items():
        for tag in groups.keys() & rows[0].tags.keys():
            groups[tag][rows[0].tags[tag]].append(units[question])
    cut = sum(not _all_asked(rows) for rows in whole.values())
    unrotated = [o for o in scored(outcomes) if o.id == o.tags["question"]]
    figures = {"circular": headline(units.values(), 100)} if units else {}
    return Summary(
        metrics=figures | averages({"vanilla": unrotated}, 100),
        breakdown={
            tag: {name: headline(found, 100) for name, found in sorted(values.items())}
            for tag, values in groups.items()
        },
        units=list(units.values()),
        notes=[_lacking(cut, len(whole))] if cut else [],
    )


def _lacking(cut: int, of: int) -> str:
    return (
        f"{cut} of {of} questions count as not right, for not all of their rotations were asked "
        "(--limit counts rows, a rotation each)"
    )


def _right(rows: Sequence[Outcome]) -> bool:
    return _all_asked(rows) and all(map(value_of, rows))


def _all_asked(rows: Sequence[Outcome]) -> bool:
    # Runs of before the tag was kept say nothing of what they lack.
    return len(rows) >= int(rows[0].tags.get("rotations", 0))
