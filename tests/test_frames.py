"""Prompts as models read them: framed alike, kept once; given back to the letter."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import infimm_eval as ie
from infimm_eval import logs
from infimm_eval.logs import Frames, Log, NamedImage, schema, store
from infimm_eval.logs.frames import fold, unfold
from infimm_eval.types import Answer, Prompt, Turn

PICTURE = NamedImage("a.jpg", "a")
GOLDEN = Path(__file__).parent / "golden"


def chat(*said: str) -> Prompt:
    """A question with a picture before every second text."""
    roles = ("user", "assistant")
    return Prompt(
        "instruct",
        tuple(
            Turn(roles[at % 2], (text,) if at % 2 else (PICTURE, text))
            for at, text in enumerate(said)
        ),
        system="Be brief.",
    )


def written(*said: str) -> tuple[str, ...]:
    whole = "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n"
    for at, text in enumerate(said):
        whole += f"{text.strip()} </s>" if at % 2 else f"\0{text.strip()} [/INST] "
    return tuple(whole.split("\0"))


def test_prompts_that_are_framed_alike_share_a_frame_whatever_is_said() -> None:
    frames = Frames()
    said = [("What?", " a ", "How many INST?"), ("S", "SYS", "S"), ("a", "n", "Be brief.")]
    kept = {frames.of(chat(*words), written(*words)) for words in said}
    assert len(kept) == 1
    assert frames.of(chat("Where?"), written("Where?")) not in kept


def test_what_is_unfolded_is_what_was_read() -> None:
    dice, letters = random.Random(0), "ab <>\n\0é\ud83d"
    for _ in range(500):
        words = ["".join(dice.choices(letters, k=dice.randrange(6))) for _ in range(5)]
        texts = tuple(
            "".join(dice.choice([*words, "<s>", "ab", " "]) for _ in range(dice.randrange(6)))
            for _ in range(dice.randint(1, 4))
        )
        assert unfold(fold(words, texts), words) == texts


def test_a_prompt_without_its_first_shots_has_a_frame_that_others_share() -> None:
    frames = Frames()
    said = [(f"Question {n}?", f"{n}", f"Another {n}?") for n in range(20)]
    kept = {frames.of(chat(*words), written(*words[2:])) for words in said}
    assert len(kept) == 1 and "Another" not in str(kept)


def test_a_model_that_keeps_its_prompt_to_itself_has_no_frame() -> None:
    assert Frames().of(chat("What?"), ()) is None


class Reader:
    """Says yes, and how it reads."""

    name, style, settings = "reader", "completion", {"fingerprint": "1"}

    def generate(self, requests: Any) -> Any:
        for request in requests:
            (said,) = request.prompt.turns[-1].content[1:]
            yield Answer(request.id, "yes", prompt=("<s>", f"{said} \u25b7"))


@pytest.mark.slow
def test_a_log_keeps_how_prompts_were_read_in_next_to_no_room(tmp_path: Path) -> None:
    ie.evaluate(Reader(), tasks=["vqav2"], shots=[0], data="demo", limit=40, output=tmp_path)
    with Log(tmp_path) as log:
        entries = [entry for cell in log.cells() for entry in log.entries(cell.key)]
    assert len(entries) == 40
    for entry in entries:
        asked = entry.prompt.rpartition(f"[picture: {entry.pictures[-1][1]}]")[2]
        assert entry.read == ("<s>", f"{asked} \u25b7")
    db = sqlite3.connect(tmp_path / logs.FILE)
    assert db.execute("SELECT count(*) FROM frame").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM answer WHERE frame IS NULL").fetchone() == (0,)


@pytest.mark.sampled
@pytest.mark.parametrize("read", ["a text", (1,), ("a", "b", "c", "d", "e")])
def test_a_model_that_says_nonsense_of_its_prompt_breaks_the_protocol(
    tmp_path: Path, read: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(Reader):
        def generate(self, requests: Any) -> Any:
            return (Answer(request.id, "yes", prompt=read) for request in requests)

    options: dict[str, Any] = {"tasks": ["vqav2"], "data": "demo", "limit": 2, "shots": [0]}
    found = ie.evaluate(Wrong(), output=tmp_path, **options)
    assert found.cells[0].unanswered == 2
    assert "broke the protocol: its prompt is" in capsys.readouterr().err


def test_frames_of_a_log_never_outgrow_their_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_FRAMES", 1_000)
    with Log(tmp_path, writing=True) as log:
        for n in range(100):
            log.add_answer(f"key{n}", Answer("1", "yes"), json.dumps(["x" * 90, n]))
    db = sqlite3.connect(tmp_path / logs.FILE)
    kept, size = db.execute("SELECT count(*), sum(length(body)) FROM frame").fetchone()
    assert 8 <= kept <= 11 and size <= 1_000
    assert db.execute("SELECT count(*) FROM answer").fetchone() == (100,)


def test_a_log_without_frames_opens_as_it_is_and_gains_them_when_written(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "run_of_schema_1.db", tmp_path / logs.FILE)
    with Log(tmp_path) as log:
        cell = log.cells()[0]
        assert all(entry.read == () for entry in log.entries(cell.key))
    with Log(tmp_path, writing=True) as log:
        log.add_answer("new", Answer("1", "yes"), fold(["a"], ["<s>a"]))
        assert log.answer("new") == Answer("", "yes")
    assert schema.connect(tmp_path / logs.FILE, writing=False).execute(
        "SELECT f.body FROM answer a JOIN frame f ON f.id = a.frame WHERE a.key='new'"
    ).fetchone() == ('["<s>",0]',)
