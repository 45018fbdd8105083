from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from infimm_eval import logs
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.logs import NamedImage, schema
from infimm_eval.types import (
    Answer,
    Decoding,
    Document,
    Prompt,
    Request,
    Sample,
    Score,
    Turn,
    Unit,
)

GOLDEN = Path(__file__).parent / "golden"
SAMPLE = Sample(
    id="7",
    images=(NamedImage("dog.jpg", "dog:12"),),
    question=("What is \u2028 it?",),
    target="a dog",
    references=("dog", ""),
    options=(("a",), (NamedImage("b.png", "b"),)),
    hint="h",
    group="g",
    tags={"answer_type": "other"},
)
PROMPT = Prompt("completion", (Turn("user", (SAMPLE.images[0], "Question:", "</s>")),), "Head.")
REQUEST = Request("7", PROMPT, Decoding(max_new_tokens=5))


def cell(**changed: object) -> logs.Cell:
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
    return logs.Cell(**{**values, **changed})  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logs.Log]:
    with logs.Log(tmp_path, writing=True) as opened:
        yield opened


def write_one(log: logs.Log, name: str = "draft") -> int:
    roster = log.begin(name, "vqav2", 4, 0)
    log.add_entry(roster, 0, SAMPLE, logs.dump_prompt(PROMPT), ["t1", "t2"], "key")
    log.add_answer("key", Answer("7", " a dog\x00", logliks=(-1.5,), notes={"tokens": 3}))
    return roster


def finish(log: logs.Log, made: logs.Cell, said: str = "a dog") -> logs.CellKey:
    log.finish(write_one(log), made, [said], [Score(0.3, said)])
    return made.key


def test_what_was_asked_and_said_is_read_back_whole(log: logs.Log) -> None:
    units = [Unit("7", "g", 0.1 + 0.2), Unit("\ud800", "", 1.0, 2.0, "a \u2028")]
    score, key = Score(0.3, "dog", True, {"Bleu_4": 0.5}), cell().key
    log.finish(write_one(log), cell(), ["a dog"], [score], units)
    (entry,) = log.entries(key)
    assert entry.sample == SAMPLE
    assert entry.shot_ids == ("t1", "t2")
    assert entry.pictures == (("dog:12", "dog.jpg"),)
    assert entry.prompt == "Head.[picture: dog.jpg]Question:</s>"
    assert entry.answer == Answer("", " a dog\x00", logliks=(-1.5,), notes={"tokens": 3})
    assert (entry.said, entry.score) == ("a dog", score)
    assert log.cells() == log.shown() == [cell()] and log.units(key) == units
    assert (list(log.values(key)), log.size(key)) == ([("7", 0.3)], 1)


def test_an_answer_is_never_rewritten(log: logs.Log) -> None:
    write_one(log)
    log.add_answer("key", Answer("7", "something else"))
    answer = log.answer("key")
    assert answer is not None and answer.text == " a dog\x00"


def test_an_answer_that_is_not_on_disk_yet_is_known_and_read(log: logs.Log) -> None:
    log.begin("draft", "vqav2", 4, 0)
    with log._lock:  # nobody saves behind our back
        roster = write_one(log, "another")
        log.add_answer("more", Answer("8", "a cat"), '["<s>"]')
        assert log.known("key") and log.known("more") and not log.known("other")
        assert log.answer("more") == Answer("", "a cat")
        assert log.answer("key") == Answer("", " a dog\x00", logliks=(-1.5,), notes={"tokens": 3})
        assert not list(log.answered(roster)), "a reader of the file would see it"
        assert [draft.answered for draft in log.drafts()] == [1]


@pytest.mark.slow
def test_answers_that_come_by_the_thousand_are_all_kept_under_their_keys(tmp_path: Path) -> None:
    with logs.Log(tmp_path, writing=True) as log:
        for number in range(10_000):
            log.add_answer(f"key{number}", Answer("7", f"answer {number}"))
            log.add_answer(f"key{number % 977}", Answer("7", "another"))
    with logs.Log(tmp_path) as reader:
        found = [reader.answer(f"key{number}") for number in range(10_000)]
    assert [answer and answer.text for answer in found] == [f"answer {n}" for n in range(10_000)]


def test_a_prompt_is_written_the_same_however_often_its_examples_were_seen() -> None:
    turns = [*PROMPT.turns, Turn("assistant", ("a \u2028 dog",)), *PROMPT.turns]
    whole = Prompt("completion", tuple(turns), "Head.", Document(" ", "<end>"))
    for prompt in (whole, whole, replace(whole, turns=PROMPT.turns), replace(whole, turns=())):
        parts = [
            [turn.role, *(p if isinstance(p, str) else [p.key, p.name] for p in turn.content)]
            for turn in prompt.turns
        ]
        body = ["completion", "Head.", parts, [" ", "<end>"]]
        plain = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        assert logs.dump_prompt(prompt) == plain


def test_an_unanswered_sample_has_no_answer_and_no_score(log: logs.Log) -> None:
    roster = log.begin("draft", "vqav2", 4, 0)
    log.add_entry(roster, 0, SAMPLE, logs.dump_prompt(PROMPT), [], "unknown")
    log.save()
    assert list(log.answered(roster)) == [(SAMPLE, None)]
    assert log.drafts() == [logs.Draft("vqav2", 4, 0, asked=1, answered=0)]
    log.finish(roster, cell(), [None], [Score(None, "no answer")])
    (entry,) = log.entries(cell().key)
    assert (entry.answer, entry.said, entry.score) == (None, None, Score(None, "no answer"))
    assert log.drafts() == []


def test_one_sample_cannot_stand_in_a_cell_twice(log: logs.Log) -> None:
    roster = write_one(log)
    with pytest.raises(UsageError, match="two rows have the id 7"):
        log.add_entry(roster, 1, SAMPLE, logs.dump_prompt(PROMPT), [], "key")


# -- nothing finished is lost --------------------------------------------------------------------


def test_an_attempt_that_comes_to_nothing_leaves_the_finished_cell_whole(log: logs.Log) -> None:
    key = finish(log, cell())
    log.begin("draft", "vqav2", 4, 0)  # the same questions again, and the run ends here
    assert log.shown() == [cell()]
    assert [entry.said for entry in log.entries(key)] == ["a dog"]


def test_a_cell_of_the_same_key_takes_the_place_of_the_one_before(log: logs.Log) -> None:
    key = finish(log, cell())
    assert finish(log, cell(value=62.0), said="dogs") == key
    assert [made.value for made in log.cells()] == [62.0]
    assert [entry.said for entry in log.entries(key)] == ["dogs"]
    rosters, entries, scores = (
        log._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
        for table in ("roster", "entry", "score")
    )
    assert (rosters, entries, scores) == (1, 1, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"limit": 5, "complete": False},
        {"control": "pictures=none"},
        {"support": "fixed"},
        {"settings": {"protocol": {}, "model": {"name": "other"}, "code": {}}},
        {"settings": {"protocol": {"prompt": "other"}, "model": {"name": "m"}, "code": {}}},
        {"settings": {"protocol": {"data": "other"}, "model": {"name": "m"}, "code": {}}},
    ],
)
def test_another_limit_control_support_model_prompt_or_data_adds_a_cell(
    log: logs.Log, changed: dict[str, object]
) -> None:
    finish(log, cell())
    log.finish(write_one(log, "another"), cell(**changed), ["a cat"], [Score(0.1)])
    assert log.cells() == [cell(), cell(**changed)]
    assert [entry.said for entry in log.entries(cell().key)] == ["a dog"]
    assert [entry.said for entry in log.entries(cell(**changed).key)] == ["a cat"]


def other(model: str, **changed: object) -> logs.Cell:
    return cell(settings={"protocol": {}, "model": {"name": model}, "code": {}}, **changed)


def test_of_several_cells_the_complete_one_is_shown_and_the_others_are_counted() -> None:
    small = other("a", n=9, complete=False, limit=9)
    assert logs.shown([cell(), small]) == [cell(others=1)]
    assert logs.shown([small, cell()]) == [cell(others=1)]


def test_of_incomplete_cells_the_largest_is_shown_and_of_equals_the_newest() -> None:
    two, nine, again = (
        other(name, n=n, complete=False, limit=n) for name, n in (("a", 2), ("b", 9), ("c", 9))
    )
    assert [made.settings["model"]["name"] for made in logs.shown([two, nine, again])] == ["c"]
    assert [made.settings["model"]["name"] for made in logs.shown([again, nine, two])] == ["b"]


def test_what_failed_does_not_count_as_large() -> None:
    failed = other("a", n=9, unscored=8, missing=8, complete=False)
    asked = other("b", n=2, complete=False, limit=2)
    assert [made.n for made in logs.shown([asked, failed])] == [2]


def test_cells_scored_in_two_ways_share_their_entries(log: logs.Log) -> None:
    key = finish(log, cell())
    protocol = {"protocol": {"scorer": "other"}, "model": {"name": "m"}, "code": {}}
    again = cell(settings=protocol)
    log.finish(log.roster(key), again, ["A DOG"], [Score(0.9)])
    assert [entry.said for entry in log.entries(key)] == ["a dog"]
    assert [entry.said for entry in log.entries(again.key)] == ["A DOG"]
    finish(log, cell())  # asked anew: the other cell keeps what it was made of
    assert [entry.said for entry in log.entries(again.key)] == ["A DOG"]


def test_what_a_scorer_learned_of_a_split_is_kept_under_its_digest(log: logs.Log) -> None:
    references = {"1": ["a dog"], "2": []}
    digest = log.add_learned(references)
    assert log.learned(digest) == references and log.add_learned(references) == digest
    with pytest.raises(UsageError, match="does not hold what its scorer knew"):
        log.learned("nothing")


# -- the first schema ----------------------------------------------------------------------------


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A run of the first schema: VQAv2 at 0 and 2 shots, MME, and OK-VQA that was stopped."""
    folder = tmp_path / "first"
    folder.mkdir()
    shutil.copy(GOLDEN / "run_of_schema_1.db", folder / logs.FILE)
    return folder


def everything(folder: Path) -> list[object]:
    with logs.Log(folder) as log:
        cells = log.shown()
        entries = [list(log.entries(made.key)) for made in cells]
        units = [log.units(made.key) for made in cells]
        return [cells, entries, units, log.drafts()]


def test_a_run_of_the_first_schema_opens_and_stays_as_it_is(first: Path) -> None:
    before = (first / logs.FILE).read_bytes()
    cells, entries, units, drafts = everything(first)
    assert [(c.task, c.shots, c.support) for c in cells] == [
        ("mme", 0, None), ("vqav2", 0, None), ("vqav2", 2, "random"),
    ]  # fmt: skip
    scorer = {"name": "always", "version": 1, "digest": None}
    assert cells[1].settings["protocol"]["scorer"] == scorer
    assert [len(found) for found in entries] == [6, 6, 6] and all(map(len, units))
    assert {entry.said for entry in entries[1]} == {"yes"}
    assert drafts == [logs.Draft("okvqa", 0, 0, asked=4, answered=3)]
    assert (first / logs.FILE).read_bytes() == before


def test_a_run_of_the_first_schema_is_migrated_when_it_is_written(first: Path) -> None:
    before = everything(first)
    with logs.Log(first, writing=True) as log:
        log.add_answer("new", Answer("7", "a dog"))
    assert everything(first) == before
    with logs.Log(first) as log:
        assert log.known("new")
        assert log._db.execute("PRAGMA user_version").fetchone() == (logs.SCHEMA,)


def test_an_interrupted_migration_leaves_the_old_log(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(first)
    monkeypatch.setattr(schema, "TABLES", schema.TABLES + "SELECT nothing FROM nowhere;")
    with pytest.raises(UsageError, match="not a readable run log"):
        logs.Log(first, writing=True)
    assert everything(first) == before


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
            Prompt("completion", (Turn("user", (NamedImage("dog.jpg", "dog:13"), "Q")),)),
            REQUEST.decoding,
        ),
    ],
)
def test_another_question_has_another_key(changed: Request) -> None:
    def key(request: Request) -> str:
        return logs.request_key("me", request.id, request, logs.dump_prompt(request.prompt))

    assert key(changed) != key(REQUEST)


def test_another_model_or_kind_of_answer_has_another_key() -> None:
    settings = {"fingerprint": "abc", "dtype": "float32"}
    askers = {
        logs.asker("generate", settings),
        logs.asker("rank", settings),
        logs.asker("generate", {**settings, "fingerprint": "abd"}),
        logs.asker("generate", {**settings, "dtype": "bfloat16"}),
    }
    assert len(askers) == 4
    backwards = dict(reversed(settings.items()))
    assert logs.asker("generate", backwards) == logs.asker("generate", settings)


def test_a_second_writer_is_turned_away(log: logs.Log, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is being written by another run"):
        logs.Log(tmp_path, writing=True)


def test_a_reader_may_look_while_a_run_goes_on(log: logs.Log, tmp_path: Path) -> None:
    key = finish(log, cell())
    with logs.Log(tmp_path) as reader:
        assert [entry.sample.id for entry in reader.entries(key)] == ["7"]


def test_a_folder_without_a_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        logs.read(tmp_path)


def test_a_file_that_is_no_log_is_said_so(tmp_path: Path) -> None:
    (tmp_path / logs.FILE).write_bytes(b"not a database, certainly not one")
    with pytest.raises(UsageError, match="not a readable run log"):
        logs.read(tmp_path)


def test_an_older_schema_is_said_so(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / logs.FILE) as db:
        db.execute("CREATE TABLE answer (id TEXT)")
    db.close()
    with pytest.raises(UsageError, match="this version reads"):
        logs.read(tmp_path)


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    with logs.Log(tmp_path, writing=True) as log:
        write_one(log)
        log.save()
        pages = log._db.execute("PRAGMA page_count").fetchone()[0]
        log._db.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(MachineryError, match="full; what was answered before is kept"):
            for number in range(1000):
                log.add_answer(f"key{number}", Answer("7", "x" * 10_000))
                log.save()
    with logs.Log(tmp_path) as reader:
        assert reader.known("key")


def wait_until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_an_answer_is_on_disk_soon_though_nobody_writes_on(tmp_path: Path) -> None:
    with logs.Log(tmp_path, writing=True) as log, logs.Log(tmp_path) as reader:
        for round in ("one", "another"):
            log.add_answer(round, Answer("7", "a dog"))
            wait_until(lambda key=round: reader.known(key))


def test_what_fails_while_nobody_writes_is_said_to_the_next_who_does(tmp_path: Path) -> None:
    with logs.Log(tmp_path, writing=True) as log:
        full = sqlite3.OperationalError("database or disk is full")
        with mock.patch.object(log, "_db", mock.Mock(**{"commit.side_effect": full})):
            log.add_answer("key", Answer("7", "a dog"))
            wait_until(lambda: log._failed is not None)
        with pytest.raises(MachineryError, match="full; what was answered before is kept"):
            log.add_answer("another", Answer("7", "a cat"))


def test_what_failed_and_nobody_heard_of_is_said_at_the_end(tmp_path: Path) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    log = logs.Log(tmp_path, writing=True)
    with mock.patch.object(log, "_db", mock.Mock(**{"commit.side_effect": full})):
        log.add_answer("key", Answer("7", "a dog"))
        wait_until(lambda: log._failed is not None)
    with pytest.raises(MachineryError, match="full; what was answered before is kept"):
        log.close()
    with logs.Log(tmp_path, writing=True):  # closed all the same
        pass


def test_results_are_the_contract(log: logs.Log, tmp_path: Path) -> None:
    limited = cell(limit=5, complete=False)
    body = logs.results([cell(), limited])
    assert body["schema"] == 2 and body["model"] == {"name": "m"}
    assert body["cells"][0]["ci95"] == [60.0, 62.0]
    assert "limit" not in body["cells"][0]
    assert (body["cells"][1]["limit"], body["cells"][1]["complete"]) == (5, False)
    wanted = {"task", "shots", "seed", "headline", "value", "ci95", "n", "unscored", "complete"}
    assert wanted | {"metrics", "breakdown", "settings"} <= body["cells"][0].keys()
