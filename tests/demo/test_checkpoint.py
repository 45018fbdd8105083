"""The checkpoint that comes with the package: small, whole, and as good as it says."""

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from math import prod
from pathlib import Path
from random import Random

import pytest
from safetensors import safe_open

from infimm_eval import models
from infimm_eval.demo import choice_rows, judged_rows, open_rows, rows
from infimm_eval.demo.scenes import Drawn, scene
from infimm_eval.demo.train import loop
from infimm_eval.demo.train.__main__ import main
from infimm_eval.demo.train.documents import ask_for_caption, shown, told
from infimm_eval.demo.train.measure import SHOTS, TASKS, run
from infimm_eval.demo.vocabulary import IMAGE, UNKNOWN, build
from infimm_eval.demo.words import HOUSE, PLAIN, caption
from infimm_eval.flamingo.processor import Processor
from infimm_eval.models.flamingo.build import DEMO
from infimm_eval.types import Decoding, Prompt, Request, Row, Turn

SCORES = json.loads((DEMO / "scores.json").read_text())


def test_it_has_one_to_three_million_parameters_in_six_megabytes() -> None:
    with safe_open(DEMO / "model.safetensors", "pt") as weights:
        shapes = [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118
        kinds = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    assert 1e6 < sum(map(prod, shapes)) < 3e6
    assert kinds == {"BF16"}
    assert sum(file.stat().st_size for file in DEMO.iterdir()) <= 6_000_000


def words(found: Iterable[Row]) -> Iterable[str]:
    for row in found:
        for value in row.values():
            yield from [value] if isinstance(value, str) else []
            yield from [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


@pytest.mark.parametrize(
    "found",
    [
        rows.caption_rows("test"),
        rows.vqa_rows("test"),
        open_rows.flickr30k_rows("test"),
        open_rows.okvqa_rows("test"),
        open_rows.vizwiz_rows("test"),
    ],
)
def test_its_tokenizer_knows_the_words_of_the_benchmarks(found: Iterable[Row]) -> None:
    raw = Processor.load(DEMO).tokenizer.raw
    columns = ("question", "captions", "answers")
    asked = [{k: row[k] for k in columns if k in row} for row in found]
    for text in words(asked):
        assert UNKNOWN not in raw.encode(text).tokens, text


def test_it_knows_the_words_of_the_questions_with_choices() -> None:
    raw = Processor.load(DEMO).tokenizer.raw
    found = chain(
        choice_rows.mme_rows(),
        choice_rows.mmbench_rows(),
        choice_rows.scienceqa_rows("test"),
        judged_rows.mmvet_rows(),
        judged_rows.core_mm_rows(),
    )
    for row in found:
        assert UNKNOWN not in raw.encode(row["question"]).tokens, row["question"]


def test_what_it_says_reads_like_text() -> None:
    tokenizer = Processor.load(DEMO).tokenizer
    said = ask_for_caption(scene("test", 0), HOUSE, Random(0)).answer
    assert tokenizer.decode(tokenizer.encode([said])) == said
    assert tokenizer.decode(tokenizer.encode(["Is there a star?"])) == "Is there a star?"


def test_a_word_never_seen_becomes_the_unknown_one() -> None:
    tokens = build(["a red circle"]).encode("a mauve circle").tokens
    assert tokens == ["<s>", "a", UNKNOWN, "circle"]


@pytest.mark.parametrize("task", ["coco", "vqav2"])
def test_by_its_record_it_is_far_above_a_constant_answer_and_four_shots_help(task: str) -> None:
    s = SCORES[task]
    assert s["0 shots"] > 3 * s["constant"]
    assert s["4 shots"] > 1.15 * s["0 shots"]


def test_by_its_record_black_pictures_are_worth_no_more_than_what_needs_no_picture() -> None:
    for shots in SHOTS:
        blind = f"{shots} shots, black pictures"
        assert SCORES["coco"][blind] < SCORES["coco"]["constant"]
        assert SCORES["vqav2"][blind] < SCORES["vqav2"]["constant by kind of question"]


@pytest.mark.slow
def test_its_record_is_what_the_program_measures() -> None:
    model = models.load("demo", device="cpu", dtype="float32")
    for task in TASKS:
        found = run(model, task, SHOTS, None)
        recorded = [SCORES[task][f"{shots} shots"] for shots in SHOTS]
        assert found == pytest.approx(recorded, rel=0.01)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training of two steps, one in each course, on few pictures."""
    monkeypatch.setattr(loop, "PICTURES", 80)
    stage = loop.Stage(1, told=(1, 1, 1, 1, 1), shown=(1, 1, 1, 1, 1))
    courses = [replace(course, stages=(stage,)) for course in loop.COURSES]
    monkeypatch.setattr(loop, "COURSES", courses)


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_the_same_seed_trains_the_same_model_and_it_answers(tmp_path: Path) -> None:
    for name in ("once", "again"):
        main(["--output", str(tmp_path / name), "--threads", "2"])
    once, again = (tmp_path / name / "model.safetensors" for name in ("once", "again"))
    assert once.read_bytes() == again.read_bytes()
    model = models.load(str(tmp_path / "once"), device="cpu", dtype="float32")
    prompt = Prompt("completion", (Turn("user", (Drawn("test", 0), "Output:")),))
    (answer,) = model.generate([Request("1", prompt, Decoding(max_new_tokens=3))])
    assert model.style == "completion"
    assert answer.finish in ("stop", "length")


def test_an_example_that_nothing_was_shown_for_is_not_trained_in_its_style() -> None:
    rng = Random(0)
    scenes = [scene("train", index) for index in range(40)]
    for _ in range(50):
        document = shown(ask_for_caption, scenes, range(40), rng)
        assert all(example.trained for example in document[1:])
        first = document[0]
        assert first.picture is not None
        plain = caption(scenes[first.picture], PLAIN)
        assert first.trained == (first.answer == plain)


def test_text_only_examples_leave_the_model_its_own_words() -> None:
    rng = Random(0)
    scenes = [scene("train", index) for index in range(40)]
    lengths = set()
    for _ in range(50):
        *before, last = told(ask_for_caption, scenes, range(40), rng)
        lengths.add(len(before))
        assert all(e.picture is None and not e.trained and IMAGE not in e.prompt for e in before)
        assert last.picture is not None
        assert last.trained
        assert last.answer == caption(scenes[last.picture], PLAIN)
    assert lengths == {0, 2}
