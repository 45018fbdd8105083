from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from infimm_eval import log
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.log import Named
from infimm_eval.types import Answer, Decoding, Prompt, Request, Sample, Score, Turn, Unit

PLACE = log.Place("vqav2", 4, 0)
SAMPLE = Sample(
    id="7",
    images=(Named("dog.jpg", "dog:12"),),
    question=("What is \u2028 it?",),
    target="a dog",
    references=("dog", ""),
    options=(("a",), (Named("b.png", "b"),)),
    hint="h",
    group="g",
    tags={"answer_type": "other"},
)
PROMPT = Prompt("completion", (Turn("user", (SAMPLE.images[0], "Question:", "</s>")),), "Head.")
REQUEST = Request("7", PROMPT, Decoding(max_new_tokens=5))


def cell(**changed: object) -> log.Cell:
    values: dict[str, object] = {
        "task": "vqav2",
        "title": "VQAv2",
        "shots": 4,
        "seed": 0,
        "model": "m",
        "headline": "accuracy",
        "columns": {"VQAv2 acc": "accuracy"},
        "value": 61.3,
        "ci95": (60.0, 62.0),
        "n": 1,
        "unscored": 0,
        "unparsed": 0,
        "complete": True,
        "metrics": {"accuracy": 61.3},
        "breakdown": {},
        "settings": {"protocol": {}, "model": {"name": "m"}, "code": {}},
    }
    return log.Cell(**{**values, **changed})  # type: ignore[arg-type]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[log.Log]:
    with log.Log(tmp_path, writing=True) as opened:
        yield opened


def write_one(kept: log.Log) -> None:
    kept.begin(PLACE)
    kept.add_entry(PLACE, 0, SAMPLE, log.dump_prompt(PROMPT), ["t1", "t2"], "key")
    kept.add_answer("key", Answer("7", " a dog\x00", logliks=(-1.5,), notes={"tokens": 3}))


def test_what_was_asked_and_said_is_read_back_whole(kept: log.Log) -> None:
    write_one(kept)
    units = [Unit("7", "g", 0.1 + 0.2), Unit("\ud800", "", 1.0, 2.0, "a \u2028")]
    kept.finish(cell(), ["a dog"], [Score(0.3, "dog", True, {"Bleu_4": 0.5})], units)
    (entry,) = kept.entries(PLACE)
    assert entry.sample == SAMPLE
    assert entry.shot_ids == ("t1", "t2")
    assert entry.pictures == (("dog:12", "dog.jpg"),)
    assert entry.prompt == "Head.[picture: dog.jpg]Question:</s>"
    assert entry.answer == Answer("", " a dog\x00", logliks=(-1.5,), notes={"tokens": 3})
    assert entry.score == Score(0.3, "dog", True, {"Bleu_4": 0.5})
    assert kept.cells() == [cell()] and kept.units(PLACE) == units


def test_an_answer_is_never_rewritten(kept: log.Log) -> None:
    write_one(kept)
    kept.add_answer("key", Answer("7", "something else"))
    answer = kept.answer("key")
    assert answer is not None and answer.text == " a dog\x00"


def test_an_unanswered_sample_has_no_answer_and_no_score(kept: log.Log) -> None:
    kept.begin(PLACE)
    kept.add_entry(PLACE, 0, SAMPLE, log.dump_prompt(PROMPT), [], "unknown")
    (entry,) = kept.entries(PLACE)
    assert (entry.answer, entry.score) == (None, None)
    assert kept.unfinished() == [(PLACE, 1, 0)]


def test_one_sample_cannot_stand_in_a_cell_twice(kept: log.Log) -> None:
    write_one(kept)
    with pytest.raises(UsageError, match="two rows have the id 7"):
        kept.add_entry(PLACE, 1, SAMPLE, log.dump_prompt(PROMPT), [], "key")


@pytest.mark.parametrize(
    "changed",
    [
        Request("8", PROMPT, REQUEST.decoding),
        Request("7", Prompt("instruct", PROMPT.turns, "Head."), REQUEST.decoding),
        Request("7", Prompt("completion", PROMPT.turns, "Other."), REQUEST.decoding),
        Request("7", PROMPT, Decoding(max_new_tokens=6)),
        Request("7", PROMPT, Decoding(max_new_tokens=5, num_beams=3)),
        Request("7", PROMPT, REQUEST.decoding, ("A", "B")),
        Request(
            "7",
            Prompt("completion", (Turn("user", (Named("dog.jpg", "dog:13"), "Q")),)),
            REQUEST.decoding,
        ),
    ],
)
def test_another_question_has_another_key(changed: Request) -> None:
    def key(request: Request) -> str:
        return log.request_key("me", request, log.dump_prompt(request.prompt))

    assert key(changed) != key(REQUEST)


def test_another_model_or_kind_of_answer_has_another_key() -> None:
    settings = {"fingerprint": "abc", "dtype": "float32"}
    askers = {
        log.asker("generate", settings),
        log.asker("rank", settings),
        log.asker("generate", {**settings, "fingerprint": "abd"}),
        log.asker("generate", {**settings, "dtype": "bfloat16"}),
    }
    assert len(askers) == 4
    backwards = dict(reversed(settings.items()))
    assert log.asker("generate", backwards) == log.asker("generate", settings)


def test_a_second_writer_is_turned_away(kept: log.Log, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is being written by another run"):
        log.Log(tmp_path, writing=True)


def test_a_reader_may_look_while_a_run_goes_on(kept: log.Log, tmp_path: Path) -> None:
    write_one(kept)
    kept.save()
    with log.Log(tmp_path) as reader:
        assert [entry.sample.id for entry in reader.entries(PLACE)] == ["7"]


def test_a_folder_without_a_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        log.read(tmp_path)


def test_a_file_that_is_no_log_is_said_so(tmp_path: Path) -> None:
    (tmp_path / log.FILE).write_bytes(b"not a database, certainly not one")
    with pytest.raises(UsageError, match="not a readable run log"):
        log.read(tmp_path)


def test_an_older_schema_is_said_so(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / log.FILE) as db:
        db.execute("CREATE TABLE answer (id TEXT)")
    db.close()
    with pytest.raises(UsageError, match="this version reads"):
        log.read(tmp_path)


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    with log.Log(tmp_path, writing=True) as kept:
        write_one(kept)
        kept.save()
        pages = kept._db.execute("PRAGMA page_count").fetchone()[0]
        kept._db.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(MachineryError, match="full; what was answered before is kept"):
            for number in range(1000):
                kept.add_answer(f"key{number}", Answer("7", "x" * 10_000))
                kept.save()
    with log.Log(tmp_path) as reader:
        assert reader.known("key")


def wait_until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_an_answer_is_on_disk_soon_though_nobody_writes_on(tmp_path: Path) -> None:
    with log.Log(tmp_path, writing=True) as kept, log.Log(tmp_path) as reader:
        for round in ("one", "another"):
            kept.add_answer(round, Answer("7", "a dog"))
            wait_until(lambda key=round: reader.known(key))


def test_what_fails_while_nobody_writes_is_said_to_the_next_who_does(tmp_path: Path) -> None:
    with log.Log(tmp_path, writing=True) as kept:
        full = sqlite3.OperationalError("database or disk is full")
        with mock.patch.object(kept, "_db", mock.Mock(**{"commit.side_effect": full})):
            kept.add_answer("key", Answer("7", "a dog"))
            wait_until(lambda: kept._failed is not None)
        with pytest.raises(MachineryError, match="full; what was answered before is kept"):
            kept.add_answer("another", Answer("7", "a cat"))


def test_what_failed_and_nobody_heard_of_is_said_at_the_end(tmp_path: Path) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    kept = log.Log(tmp_path, writing=True)
    with mock.patch.object(kept, "_db", mock.Mock(**{"commit.side_effect": full})):
        kept.add_answer("key", Answer("7", "a dog"))
        wait_until(lambda: kept._failed is not None)
    with pytest.raises(MachineryError, match="full; what was answered before is kept"):
        kept.close()
    with log.Log(tmp_path, writing=True):  # closed all the same
        pass


def test_results_are_the_contract(kept: log.Log, tmp_path: Path) -> None:
    limited = cell(limit=5, complete=False)
    body = log.results([cell(), limited])
    assert body["schema"] == 1 and body["model"] == {"name": "m"}
    assert body["cells"][0]["ci95"] == [60.0, 62.0]
    assert "limit" not in body["cells"][0]
    assert (body["cells"][1]["limit"], body["cells"][1]["complete"]) == (5, False)
    wanted = {"task", "shots", "seed", "headline", "value", "ci95", "n", "unscored", "complete"}
    assert wanted | {"metrics", "breakdown", "settings"} <= body["cells"][0].keys()
