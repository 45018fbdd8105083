"""``plan``: from runs and baseline files to sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infimm_eval.cli import main
from infimm_eval.compare import Cell, Tolerances, save_baseline
from infimm_eval.compare.plans import Planned, plans, sentence
from infimm_eval.types import Unit
from tests.series.conftest import Chain


def cell(units: list[Unit], task: str = "vqav2", seed: int = 0) -> Cell:
    value = 100 * float(np.mean([unit.value for unit in units]))
    return Cell(task=task, title=task.upper(), shots=4, seed=seed, model="some/model",
                headline="accuracy", value=value, scale=100.0, n=len(units), unscored=0,
                complete=True, settings={"protocol": {"scorer": {"name": "a"}}},
                units=units)  # fmt: skip


@pytest.fixture
def pair(trained: Chain) -> tuple[Cell, Cell]:
    base, new = trained(np.random.default_rng(0), 2000, [0.0])
    return cell(base), cell(new)


def row(base: Cell, second: Cell | None = None, drop: str = "3", seconds: float = 100.0) -> Planned:
    (found,) = plans([base], [second] if second else None, Tolerances().updated([drop]),
                     seconds=lambda cell: seconds)  # fmt: skip
    return found


def test_a_pair_gives_a_number_and_a_time(pair: tuple[Cell, Cell]) -> None:
    found = row(*pair)
    low, middle, high = found.samples
    assert middle is not None and low < middle < high
    assert found.seconds is not None and found.seconds[1] == pytest.approx(middle * 100 / 2000)
    said = sentence(found)
    assert "VQAV2, 4-shot: " in said and "a drop of 3.00" in said and "90 of 100" in said
    assert "the run has 2,000" in said


def test_a_baseline_alone_gives_a_range_and_says_why(pair: tuple[Cell, Cell]) -> None:
    found = row(pair[0], drop="5%")
    assert found.samples[1] is None and not found.plan.sure
    assert "baseline alone" in sentence(found)


def test_seeds_are_averaged_into_one_plan(trained: Chain) -> None:
    runs = trained(np.random.default_rng(1), 800, [0.0] * 3)
    first, second = ([cell(run, seed=at) for at, run in enumerate(runs[at : at + 2])]
                     for at in (0, 2))  # fmt: skip
    (one,) = plans(first, second, Tolerances().updated(["3"]))
    assert one.n == 800
    assert one.plan.clusters is not None
    assert one.plan.clusters < (row(first[0], second[0]).plan.clusters or 0)


def test_another_scorer_is_said(pair: tuple[Cell, Cell]) -> None:
    base, new = pair
    other = replace(new, settings={"protocol": {"scorer": {"name": "b"}}})
    assert "scored differently" in sentence(row(base, other))
    assert "scored differently" not in sentence(row(base, new))


def test_the_verb_reads_baselines_and_prints_sentences_or_json(
    pair: tuple[Cell, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("one.json", "two.json")]
    for made, file in zip(pair, files, strict=True):
        save_baseline([made], Path(file))
    assert main(["plan", *files, "--drop", "vqav2=3"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("VQAV2, 4-shot: ")
    assert "no times" in printed.err
    assert main(["plan", files[0], "--drop", "3%", "--power", "0.8", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["samples"]["low"] < found["samples"]["high"]
    assert found["seconds"] is None and found["power"] == 0.8


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--drop", "lots"], "drop 'lots'"),
        (["--drop", "coco=2"], "say how large a drop"),
        (["--drop", "99"], "between 0 and the headline"),
        (["--drop", "nan"], "drop 'nan'"),
        (["--drop", "2", "--power", "1"], "a power of 1"),
        (["--drop", "2", "--power", "nan"], "a power of nan"),
        ([], "Missing option '--drop'"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    pair: tuple[Cell, Cell],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    said: str,
) -> None:
    save_baseline([pair[0]], tmp_path / "one.json")
    assert main(["plan", str(tmp_path / "one.json"), *given]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_runs_without_a_task_in_common_are_one_line(
    pair: tuple[Cell, Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, empty = (tmp_path / name for name in ("one.json", "two.json", "empty.json"))
    save_baseline([pair[0]], one)
    save_baseline([replace(pair[1], task="coco")], two)
    save_baseline([], empty)
    for files, part in (([one, two], "no task"), ([empty], "no scored figure")):
        assert main(["plan", *map(str, files), "--drop", "2"]) == 2
        assert part in capsys.readouterr().err
