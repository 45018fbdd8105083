"""How a figure came about, in words: settings to labelled lines, and what differs from a paper.

It refuses to know which settings there are: whatever the run recorded is shown, known keys first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infimm_eval import formats
from infimm_eval.logs import Cell
from infimm_eval.published import Number
from infimm_eval.report.gather import Run, by_spot, section

_LABELS = {
    "zero_shot_demos": "text-only examples",
    "num_beams": "beams",
    "max_new_tokens": "new tokens, at most",
    "min_new_tokens": "new tokens, at least",
    "scorer": "scorer",
    "task_version": "task version",
    "prompt_style": "prompt style",
    "style": "prompt style",
    "ask": "template",
    "answer": "template of an answer",
    "support": "choice of shots",
}
_SECTIONS = {"protocol": "Protocol", "model": "Model", "code": "Code"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One setting in words."""

    label: str
    value: str

    @property
    def long(self) -> bool:
        """Whether it wants lines of its own (a prompt template)."""
        return "\n" in self.value or len(self.value) > 80


@dataclass(frozen=True, slots=True)
class Protocol:
    """One cell's settings, section by section."""

    title: str
    summary: str
    sections: tuple[tuple[str, tuple[Fact, ...]], ...]


def protocols(runs: Sequence[Run]) -> list[Protocol]:
    """One for every run, task and shot count; seeds share theirs."""
    return [_protocol(run, cells) for run in runs for cells in by_spot(run.cells).values()]


def _protocol(run: Run, cells: Sequence[Cell]) -> Protocol:
    cell = cells[0]
    known = [name for name in _SECTIONS if name in cell.settings]
    other = [name for name in cell.settings if name not in _SECTIONS]
    return Protocol(
        title=f"{run.name} · {cell.title} · {shots_text(cell.shots)}",
        summary=brief(cell),
        sections=(
            ("Outcome", tuple(_outcome(cells))),
            *(
                (_SECTIONS.get(name, _label(name)), tuple(_facts(cell.settings[name])))
                for name in (*known, *other)
            ),
        ),
    )


def _outcome(cells: Sequence[Cell]) -> Iterator[Fact]:
    asked = sum(cell.n for cell in cells)
    yield Fact("samples", ", ".join(f"{cell.n:,}" for cell in cells))
    yield Fact("seed", ", ".join(str(cell.seed) for cell in cells))
    yield Fact("unscored", _share(sum(cell.unscored for cell in cells), asked))
    yield Fact("answers the scorer could not read", _share(sum(c.unparsed for c in cells), asked))
    for name in cells[0].metrics:
        values = [cell.metrics[name] for cell in cells if name in cell.metrics]
        yield Fact(name, ", ".join(f"{value:.2f}" for value in values))
    yield Fact("seconds", ", ".join(f"{cell.seconds:.1f}" for cell in cells))
    if workers := ", ".join(line for cell in cells if (line := _workers(cell))):
        yield Fact("answered by", workers)


def _workers(cell: Cell) -> str:
    """How many workers of what kind gave what share of the answers, in the run that ended it."""
    return ", ".join(
        f"{share['workers']} x {kind} ({_share(share['answers'], cell.n)})"
        for kind, share in (cell.workers or {}).items()
    )


def _share(count: int, of: int) -> str:
    return f"{count:,} of {of:,} ({100 * count / of:.1f} %)" if count and of else "none"


def brief(cell: Cell) -> str:
    """The settings that most often explain a difference, in one phrase."""
    protocol = section(cell, "protocol")
    parts = [
        _data(protocol.get("data")),
        _named(protocol, "prompt_format", "{} format"),
        _named(protocol, "prompt_style", "{} prompts") or _named(protocol, "style", "{} prompts"),
        _named(protocol, "ocr", "OCR tokens {}"),
        "options ranked by likelihood" if protocol.get("choice") == "rank" else "",
        f"{shots_text(cell.shots)}"
        + (f" ({protocol['support']})" if cell.shots and protocol.get("support") else ""),
        _named(protocol, "zero_shot_demos", "{} text-only examples") if not cell.shots else "",
        _decoding(protocol.get("decoding")),
        _named(protocol.get("scorer"), "name", "scorer {}"),
        f"first {cell.limit:,} samples" if cell.limit is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def differences(cell: Cell, seeds: int, number: Number) -> str:
    """In what a measured figure's protocol is known to differ from a published one's."""
    protocol, told = section(cell, "protocol"), number.conditions
    decoding = protocol.get("decoding")
    asked = told.prompt_format and formats.find(told.prompt_format)
    pairs = {
        "prompt format": (protocol.get("prompt_format", "infimm"), told.prompt_format),
        "beams": (
            decoding.get("num_beams") if isinstance(decoding, Mapping) else None,
            told.num_beams,
        ),
        "seeds": (seeds, told.seeds),
        "shots": (cell.support, number.support) if cell.shots else (None, None),
        "text-only examples": (
            (protocol.get("zero_shot_demos"), asked.text_only)
            if asked and not cell.shots
            else (None, None)
        ),
        "split": (_split(_data(protocol.get("data"))), _split(number.split)),
    }
    return ", ".join(
        f"{what} ({ours}, published {theirs})"
        for what, (ours, theirs) in pairs.items()
        if None not in (ours, theirs) and ours != theirs
    )


def _split(name: str) -> str | None:
    """The split that a name tells, by the words that papers and files use."""
    found = re.search("test-?dev|val|test", name.lower())
    return {"testdev": "test-dev"}.get(found[0], found[0]) if found else None


def _data(identity: Any) -> str:
    """``demo data``, ``hub data, validation`` or the first of the files."""
    if not isinstance(identity, Mapping):
        return ""
    files = [file["name"] for file in identity.get("files", ()) if "name" in file]
    named = files[0] if files else _named(identity, "kind", "{} data")
    return ", ".join(part for part in (named, _named(identity, "split", "{}")) if part)


def _named(values: Any, key: str, words: str) -> str:
    value = values.get(key) if isinstance(values, Mapping) else None
    return words.format(value) if isinstance(value, str | int) and value != "" else ""


def _decoding(values: Any) -> str:
    if not isinstance(values, Mapping):
        return ""
    beams, length = values.get("num_beams"), values.get("max_new_tokens")
    search = f"beam {beams}" if isinstance(beams, int) and beams > 1 else "greedy"
    if values.get("temperature"):
        search = f"temperature {values['temperature']}"
    return f"{search}, {length} new tokens" if length else search


def zero_shot_notes(runs: Sequence[Run]) -> list[str]:
    """What ``0 shots`` means in these runs, for the captions of tables."""
    shown: dict[str, list[str]] = {}
    for run in runs:
        told = {section(c, "protocol").get("zero_shot_demos") for c in run.cells if c.shots == 0}
        if counts := sorted(count for count in told if isinstance(count, int)):
            shown.setdefault(" or ".join(map(str, counts)), []).append(run.name)
    return [
        f"At 0 shots {', '.join(names) if len(shown) > 1 else 'the model'} was shown {counts}"
        " text-only examples."
        for counts, names in shown.items()
    ]


def token_notes(runs: Sequence[Run]) -> list[str]:
    """Where figures of one benchmark stand side by side and the model saw the query's picture in
    unequal numbers of tokens, for the captions of tables."""
    notes = []
    for run in runs:
        found: dict[str, dict[int, str]] = {}
        for (_, shots, _), cells in sorted(by_spot(run.cells).items()):
            if count := (cells[0].picture_tokens or {}).get("query"):
                found.setdefault(cells[0].title, {}).setdefault(count, shots_text(shots))
        for title, counts in found.items():
            if len(counts) > 1:
                said = ", ".join(f"{count} from {shots} on" for count, shots in counts.items())
                notes.append(f"{run.name} reads the query's picture of {title} in {said} tokens.")
    return notes


def ocr_notes(runs: Sequence[Run]) -> list[str]:
    """Whose questions had OCR tokens in them, for the captions of tables."""
    given = {
        f"{cell.title} ({run.name})": None
        for run in runs
        for cell in run.cells
        if section(cell, "protocol").get("ocr")
    }
    return [f"Asked with OCR tokens in the prompt: {', '.join(given)}."] * bool(given)


def shots_text(shots: int) -> str:
    """``1 shot``, ``4 shots``."""
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def _facts(value: Any, at: str = "") -> Iterator[Fact]:
    """Nested settings as flat lines: ``decoding · beams: 3``."""
    if not isinstance(value, Mapping):
        yield Fact(at, _text(value))
        return
    for key, inner in value.items():
        label = f"{at} · {_label(str(key))}" if at else _label(str(key))
        if isinstance(inner, Mapping) and inner:
            yield from _facts(inner, label)
        elif isinstance(inner, list | tuple) and inner and isinstance(inner[0], Mapping):
            for item in inner:
                yield Fact(label, ", ".join(f"{k} {_text(v)}" for k, v in item.items()))
        elif inner is not None and inner != "":
            yield Fact(label, _text(inner))


def _label(key: str) -> str:
    return _LABELS.get(key, key.replace("_", " "))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value in ((), []):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(
            repr(v) if isinstance(v, str) and v != v.strip() else str(v) for v in value
        )
    return json.dumps(value, ensure_ascii=False, default=str)
