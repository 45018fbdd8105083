"""Published results: the papers' own numbers, where each was printed and how it came about.

Reads ``results/published.csv``.  It refuses to know our runs: joining the two is the report's work.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infimm_eval.errors import UsageError

STAGES = ("pretraining", "instruction")
"""The stages that papers print a table of."""

FEW_SHOT = "few-shot"
"""The stage of other authors' figures on the benchmarks of the first table, and on some beside."""

_BROKEN_DOWN = "leaderboard"
"""The stage whose rows are columns by group (a discipline, say): ``metric`` names the group."""

_WHOLE = "overall"
"""What such a row's metric is where it is not of one group."""

_FIELDS = ("model", "stage", "task", "split", "shots", "metric", "value", "source", "note")

_ALSO_CALLED = {
    "infimmzephyr": "infimmzephyr7b",
    "infimmllama13b": "infimmllama213b",
    "infimmvicuna": "infimmvicuna13b",
    "infimmllama": "infimmllama213b",
    "otter": "otter9b",
    "openflamingo3bvitlmpt1b": "openflamingo3b",
    "openflamingo3bvitlmpt1blanginstruct": "openflamingo3binstruct",
    "openflamingo4bvitlrpj3b": "openflamingo4b",
    "openflamingo4bvitlrpj3blanginstruct": "openflamingo4binstruct",
    "openflamingo9bvitlmpt7b": "openflamingo9b",
    "openflamingo9bdeprecated": "openflamingo9bllamadeprecated",
    "openflamingo29b": "openflamingo9b",
}
"""Names of one model under which papers, the hub and leaderboards file it."""

_VARIANT = re.compile(r" \((RICES|June 2023)\)$")
"""What stands behind a model's name where the same weights were measured in another way."""

_FAMILIES = ("infimm", "idefics", "openflamingo", "otter", "flamingo")
"""In the order in which a name is looked through: OpenFlamingo is not Flamingo."""


@dataclass(frozen=True, slots=True)
class Number:
    """One printed figure, in the units it was printed in (CIDEr 129.3, accuracy 61.3)."""

    model: str
    stage: str
    """``pretraining`` and ``instruction``, the tables of InfiMM's card; ``few-shot``,
    ``multi-task``, or ``leaderboard`` (by group)."""
    task: str
    """The column of the published tables."""
    split: str
    """``not stated`` where the source does not say."""
    shots: int
    metric: str
    value: float
    source: str
    note: str

    @property
    def group(self) -> str:
        """What part of the benchmark it is of, a discipline say; empty for the whole."""
        return self.metric if self.stage == _BROKEN_DOWN and self.metric != _WHOLE else ""

    @property
    def support(self) -> str:
        """How its shots were selected."""
        return "rices" if self.model.endswith("(RICES)") else "random"

    @property
    def conditions(self) -> Conditions:
        """How it was measured, as far as that was told."""
        told = ((model, source, found) for (model, source), found in _CONDITIONS.items())
        return next(
            (
                c
                for model, source, c in told
                if self.model.startswith(model) and source in self.source
            ),
            Conditions(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What can be compared with a run's protocol; ``None``: not told."""

    prompt_format: str | None = None
    num_beams: int | None = None
    seeds: int | None = None


_CONDITIONS = {
    ("OpenFlamingo", "June 2023"): Conditions(prompt_format="openflamingo-2023-06", num_beams=3),
    ("OpenFlamingo", "OpenFlamingo paper"): Conditions(
        prompt_format="openflamingo", num_beams=3, seeds=3
    ),
    ("IDEFICS", ""): Conditions(prompt_format="idefics", num_beams=1, seeds=1),
}
"""By the beginning of a model's name and a part of the source: from the evaluation code that came
with the figures, where they say nothing themselves."""


@cache
def numbers() -> tuple[Number, ...]:
    """Every published number, in the order of the file.  ``UsageError`` names a bad line."""
    return read(_file())


def columns(stage: str) -> tuple[str, ...]:
    """The columns of a stage in the papers' order: that of the model with the most of them, then
    whatever only others have."""
    rows: dict[str, dict[str, None]] = {}
    for number in numbers():
        if number.stage == stage:
            rows.setdefault(number.model, {})[number.task] = None
    by_length = sorted(rows.values(), key=len, reverse=True)
    return tuple(dict.fromkeys(task for row in by_length for task in row))


def breakdown_columns() -> tuple[str, ...]:
    """The columns that are also printed by group, in the order of the file."""
    return columns(_BROKEN_DOWN)


def breakdown_groups(column: str) -> tuple[str, ...]:
    """The groups of such a column (``Art & Design``, ...), in the order of the file."""
    found = (n for n in numbers() if (n.stage, n.task) == (_BROKEN_DOWN, column))
    return tuple(dict.fromkeys(n.group for n in found if n.group))


def read(path: Path) -> tuple[Number, ...]:
    """The numbers of a file; ``UsageError`` names a line that is none."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        if tuple(lines.fieldnames or ()) != _FIELDS:
            raise UsageError(f"{path}: the first line has to be {','.join(_FIELDS)}")
        return tuple(_number(path, lines.line_num, line) for line in lines)


def further_columns() -> tuple[str, ...]:
    """The columns that only other authors have beside those of the first table."""
    return tuple(column for column in columns(FEW_SHOT) if column not in columns(STAGES[0]))


def find(model: str, task: str, shots: int, support: str = "random") -> tuple[Number, ...]:
    """What was published for a model in one column at one shot count, of whichever stage; with
    shots by similarity, what was published for these."""
    wanted = "rices" if support == "rices" else "random"
    return tuple(
        number
        for number in numbers()
        if number.stage != _BROKEN_DOWN
        and (number.task, number.shots) == (task, shots)
        and number.support == wanted
        and same_model(number.model, model)
    )


def family(model: str) -> str:
    """The family that a model's name tells; empty for others."""
    letters = _plain(model)
    return next((name for name in _FAMILIES if name in letters), "")


def related(one: str, other: str) -> bool:
    """Whether two models are of one family, or of OpenFlamingo and what it reproduces."""
    families = {family(one), family(other)}
    return "" not in families and (len(families) == 1 or families == {"openflamingo", "flamingo"})


def same_model(one: str, other: str) -> bool:
    """Whether two names mean one model: ``Infi-MM/infimm-zephyr`` is ``InfiMM-Zephyr-7B``, however
    it was measured."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    plain = _VARIANT.sub("", name).rstrip("/").rpartition("/")[2]
    letters = re.sub(r"[^a-z0-9]", "", plain.lower())
    return _ALSO_CALLED.get(letters, letters)


def _number(path: Path, line: int, row: dict[str, str]) -> Number:
    try:
        return Number(
            model=row["model"],
            stage=row["stage"],
            task=row["task"],
            split=row["split"],
            shots=int(row["shots"]),
            metric=row["metric"],
            value=float(row["value"]),
            source=row["source"],
            note=row["note"] or "",
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}:{line}: not a published number ({error})") from error


def _file() -> Path:
    """Beside the package in a checkout, inside it when installed."""
    here = Path(__file__).resolve().parent
    places = (here / "published.csv", here.parent / "results" / "published.csv")
    return next((place for place in places if place.is_file()), places[-1])
