"""``rescore``: figures anew from the log alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import logs, registry
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.run.rescore import rescore
from infimm_eval.scorers import caption
from infimm_eval.types import Answer, Record, Request, Score, Scorer, Source, Task

Run = Callable[..., list[logs.Cell]]


def without_data(task: Task) -> Task:
    """The task as one finds it where the data is not."""

    def nothing() -> Iterator[Any]:
        raise AssertionError("rescoring reads no data")

    return replace(task, source=Source(demo=nothing), shots=None)


def test_scoring_again_gives_the_same_figure_and_the_same_cell(run: Run, tmp_path: Path) -> None:
    before = run("vqav2", "mme", model=Fake("yes"), limit=20)
    again = rescore(tmp_path / "run")
    assert {c.key: c.metrics for c in again} == {c.key: c.metrics for c in before}
    assert len(logs.read(tmp_path / "run")) == 2


def test_another_scorer_adds_a_cell_and_keeps_the_one_before(run: Run, tmp_path: Path) -> None:
    (before,) = run("textvqa", model=Fake("yes"), limit=20)
    (again,) = rescore(tmp_path / "run", scorer={"textvqa": "official"})
    assert again.value == before.metrics["accuracy:official"]
    assert again.settings["protocol"]["scorer"]["name"] == "official"
    assert again.settings["model"] == before.settings["model"]
    with logs.Log(tmp_path / "run") as log:
        assert [cell.key for cell in log.cells()] == [before.key, again.key]
        (shown,) = log.shown()
        assert (shown.key, shown.others) == (again.key, 1)
        assert [e.score for e in log.entries(before.key)] != []


def test_a_new_version_of_a_scorer_takes_an_old_run_along(run: Run, tmp_path: Path) -> None:
    task = registry.load("vqav2")
    run(task, model=Fake("YES"), limit=20)

    def strict(record: Record) -> Score:
        return Score(float(record.text in record.sample.references))

    newer = replace(task, scorers=(Scorer(name="always", version=2, function=strict),))
    (again,) = rescore(tmp_path / "run", tasks=[without_data(newer)])
    assert again.value == 0.0
    assert again.settings["protocol"]["scorer"]["version"] == 2


@pytest.mark.slow
def test_captions_are_scored_again_with_the_document_frequencies_of_the_whole_split(
    run: Run, tmp_path: Path
) -> None:
    coco = replace(registry.load("coco"), scorers=(caption.cider,))
    (before,) = run(coco, model=Fake("a red circle"), limit=5)
    (again,) = rescore(tmp_path / "run", tasks=[without_data(coco)])
    assert before.value and (again.key, again.value) == (before.key, before.value)


class Judge(Fake):
    """Gives half a point, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__("judge")
        self.calls = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            self.calls += 1
            yield Answer(request.id, "0.5")


def test_verdicts_are_read_again_and_nobody_is_asked(run: Run, tmp_path: Path) -> None:
    judge = Judge()
    (before,) = run("mmvet", judge=judge, limit=3)
    asked = judge.calls
    (again,) = rescore(tmp_path / "run")
    assert (again.value, again.key, judge.calls) == (before.value, before.key, asked)


def test_where_verdicts_are_lacking_a_judge_has_to_be_named(run: Run, tmp_path: Path) -> None:
    run("mmvet", judge=Judge(), limit=3)
    with logs.Log(tmp_path / "run", writing=True) as log:
        log._db.execute("DELETE FROM answer WHERE text = '0.5'")
    with pytest.raises(UsageError, match="does not hold all verdicts of fake:judge; name a judge"):
        rescore(tmp_path / "run")
    judge = Judge()
    (again,) = rescore(tmp_path / "run", judge=judge)
    assert (again.value, judge.calls) == (50.0, 3)


def test_what_cannot_be_rescored_is_said_in_one_line(run: Run, tmp_path: Path) -> None:
    mine = replace(registry.load("vqav2"), name="mine")
    run(mine, limit=2)
    with pytest.raises(UsageError, match="a task of one's own is named by --tasks FILE"):
        rescore(tmp_path / "run")
    with pytest.raises(UsageError, match="unknown task in --scorer 'vqav2'"):
        rescore(tmp_path / "run", scorer={"vqav2": "official"})
    with pytest.raises(UsageError, match="not a run folder"):
        rescore(tmp_path / "nowhere")
