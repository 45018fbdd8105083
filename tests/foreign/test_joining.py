"""Logs of other harnesses are joined by ids that mean something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimm_eval import registry
from infimm_eval.errors import UsageError
from infimm_eval.logs.foreign import open_foreign
from infimm_eval.run import foreign
from infimm_eval.types import Sample
from tests import foreign_files as made
from tests.foreign.asked import DOCS, IDS, QUESTIONS, score


def test_answers_of_llava_are_joined_by_the_official_id(tmp_path: Path, data: Path) -> None:
    path = made.llava(tmp_path / "vqav2.jsonl", IDS, QUESTIONS)
    found = score(path, references=data)
    # red (9 of 10 said it), 2 (3 of 10), no (10 of 10), nothing
    assert found.value == pytest.approx(100 * (1 + 0.9 + 1 + 0) / 4)
    assert (found.task, found.tool, found.n) == ("vqav2", "LLaVA", 4)


def test_a_log_that_carries_the_right_answers_needs_no_references(tmp_path: Path) -> None:
    path = made.lm_eval(tmp_path / "samples_mine_2026-01-01T00-00-00.1.jsonl", DOCS, ["none"])
    found = score(path, task="vqav2")
    assert found.value == pytest.approx(72.5)
    assert found.theirs == {"exact_match": pytest.approx(75.0)}
    assert "1 of 4 answers are scored differently by another rule" in found.reasons[0]


def test_two_filters_of_one_answer_count_once(tmp_path: Path) -> None:
    path = made.lm_eval(tmp_path / "samples_mine.jsonl", DOCS, ["raw", "last"])
    found = score(path, task="vqav2")
    assert found.n == 4
    assert set(found.theirs or {}) == {"exact_match,raw", "exact_match,last"}
    assert score(path, task="vqav2", part="last").n == 4
    with pytest.raises(UsageError, match="no part 'first'; it has 'raw', 'last'"):
        score(path, task="vqav2", part="first")


def test_the_lines_of_filters_without_a_name_are_told_by_their_order(tmp_path: Path) -> None:
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", QUESTIONS)
    path.write_text(
        path.read_text() + path.read_text().replace('"exact_match": 0.0', '"exact_match": 1')
    )
    log = open_foreign(path)
    assert log is not None
    parts = [(part, dict(record.values)) for part, record in log.records()]
    assert parts[0] == ("", {"exact_match": 0.0})
    assert parts[-1] == ("filter 2", {"exact_match (filter 2)": 1.0})


def test_a_question_that_is_not_the_one_of_that_id_is_refused(tmp_path: Path, data: Path) -> None:
    path = made.llava(tmp_path / "vqav2.jsonl", IDS, [*QUESTIONS[1:], QUESTIONS[0]])
    with pytest.raises(UsageError, match=r"line 1 asks .*not of one split and order"):
        score(path, references=data)


def test_two_answers_to_one_question_are_refused_and_equal_ones_count_once(
    tmp_path: Path, data: Path
) -> None:
    path = made.llava(tmp_path / "vqav2.jsonl", IDS, QUESTIONS)
    text = path.read_text()
    path.write_text(text + text.splitlines()[0] + "\n")
    assert score(path, references=data).n == 4
    path.write_text(text + text.splitlines()[0].replace('"red"', '"blue"') + "\n")
    with pytest.raises(UsageError, match=r"line 5: another answer to 900001000 than .*line 1"):
        score(path, references=data)


def test_row_numbers_of_an_unknown_order_are_refused(tmp_path: Path, data: Path) -> None:
    repeated = ["Is it round?", "Is it round?", "Is it red?", "Is it red?"]
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", repeated)
    with pytest.raises(UsageError, match=r"row numbers and no ids of the questions.*--by-row"):
        score(path, references=data)


def test_row_numbers_count_where_the_person_says_so_and_the_questions_agree(
    tmp_path: Path, data: Path
) -> None:
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", QUESTIONS)
    assert score(path, references=data, by_row=True).value == pytest.approx(72.5)
    path = made.lmms(tmp_path / "2_samples_vqav2_val.jsonl", QUESTIONS[::-1])
    with pytest.raises(UsageError, match="not of one split and order"):
        score(path, references=data, by_row=True)


def test_row_numbers_are_not_checked_by_annotations_without_questions(
    tmp_path: Path, data: Path
) -> None:
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", QUESTIONS)
    with pytest.raises(UsageError, match="hold no questions that would show"):
        score(path, references=data / "v2_mscoco_val2014_annotations.json", by_row=True)


def test_questions_that_occur_once_tell_rows_apart(tmp_path: Path, data: Path) -> None:
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", QUESTIONS[::-1])
    found = score(path, references=data)
    # the same answers in order, to the questions from the last on
    assert found.n == 4 and found.value == pytest.approx(0.0)


def test_numbers_from_one_on_are_no_ids_even_where_such_ids_exist(
    tmp_path: Path, data: Path
) -> None:
    samples = [
        made.inspect_sample(n, "Is it?", doc["answers"], "red") for n, doc in enumerate(DOCS, 1)
    ]
    path = tmp_path / "log.json"
    path.write_text(json.dumps(made.inspect_body(samples, "mine")))
    with pytest.raises(UsageError, match="row numbers"):
        score(path, task="vqav2", references=data)


def test_tasks_name_their_tools_and_no_name_means_two_tasks() -> None:
    names: dict[tuple[str, str], str] = {}
    for task in registry.select(["all"]):
        for tool, told in task.foreign.items():
            for name in told.names:
                assert names.setdefault((tool, name), task.name) == task.name


def test_a_task_without_foreign_takes_ids_as_they_are(tmp_path: Path) -> None:
    sample = Sample(id="a1", question=("q",), references=("x",))
    path = made.llava(tmp_path / "mine.jsonl", ["a1"], ["q"])
    log = open_foreign(path)
    assert log is not None
    joiner = foreign.Joiner(log, foreign.Foreign(), False, False, lambda text: None)
    (part,) = joiner.join([sample])
    assert part.texts == {"a1": "red"}
