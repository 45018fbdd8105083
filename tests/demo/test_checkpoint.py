"""The checkpoints that come with the package: small, whole, and as good as they say."""

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from math import prod
from pathlib import Path
from random import Random

import pytest
from safetensors import safe_open

from infimm_eval import models, registry
from infimm_eval.demo import choice_rows, induction_rows, judged_rows, open_rows, rows
from infimm_eval.demo.scenes import Drawn, scene
from infimm_eval.demo.train import __main__ as training
from infimm_eval.demo.train import loop
from infimm_eval.demo.train.courses import STAGES, Course, Interleaved, Lesson, Requests
from infimm_eval.demo.train.documents import Example, ask_for_caption, named, shown, told
from infimm_eval.demo.train.instructions import KINDS
from infimm_eval.demo.train.measure import CHAT_TASKS, SHOTS, TASKS, Blindfolded, run
from infimm_eval.demo.vocabulary import IMAGE, UNKNOWN, build
from infimm_eval.demo.words import HOUSE, MADE_UP, PLAIN, caption
from infimm_eval.flamingo.processor import Processor
from infimm_eval.models.flamingo.build import DEMO, DEMO_CHAT
from infimm_eval.prompts import Prompter
from infimm_eval.types import Decoding, Prompt, Request, Row, Turn

SCORES = json.loads((DEMO / "scores.json").read_text())
CHAT_SCORES = json.loads((DEMO_CHAT / "scores.json").read_text())


@pytest.mark.parametrize("folder", [DEMO, DEMO_CHAT])
def test_it_has_one_to_three_million_parameters_in_six_megabytes(folder: Path) -> None:
    with safe_open(folder / "model.safetensors", "pt") as weights:
        shapes = [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118
        kinds = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    assert 1e6 < sum(map(prod, shapes)) < 3e6
    assert kinds == {"BF16"}
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 6_000_000


def words(found: Iterable[Row]) -> Iterable[str]:
    for row in found:
        for value in row.values():
            yield from [value] if isinstance(value, str) else []
            yield from [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


@pytest.mark.sampled
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


def test_every_made_up_name_is_one_token() -> None:
    raw = Processor.load(DEMO).tokenizer.raw
    assert [raw.encode(name, add_special_tokens=False).tokens for name in MADE_UP] == [
        [name] for name in MADE_UP
    ]


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


def test_by_its_record_it_learns_names_from_the_pictures_of_its_shots() -> None:
    """Blind, one of the two names shown is right as often as the other."""
    s = SCORES["open_mi"]
    assert s["0 shots"] < s["constant"]
    assert s["4 shots"] > 90
    assert s["4 shots, black pictures"] < 60


@pytest.mark.parametrize("task", CHAT_TASKS)
def test_by_its_record_the_chat_model_answers_above_chance_and_not_blindly(task: str) -> None:
    s = CHAT_SCORES[task]
    assert s["0 shots"] > 2 * s["constant"] + 40 * (task == "mmbench")
    # One of four options, kept to in all rotations, is right as often.
    assert s["0 shots, black pictures"] < 1.5 * s["constant"] + 25 * (task == "mmbench")


@pytest.mark.slow
def test_the_chat_models_record_is_what_the_program_measures() -> None:
    model = models.load("demo-chat", device="cpu", dtype="float32")
    for suffix, asked in (("", model), (", black pictures", Blindfolded(model))):
        found = [run(asked, task, [0], None)[0] for task in CHAT_TASKS]
        recorded = [CHAT_SCORES[task][f"0 shots{suffix}"] for task in CHAT_TASKS]
        assert found == pytest.approx(recorded, rel=0.02, abs=1.0)


@pytest.mark.slow
def test_its_record_is_what_the_program_measures() -> None:
    model = models.load("demo", device="cpu", dtype="float32")
    for task in TASKS:
        found = run(model, task, SHOTS, None)
        recorded = [SCORES[task][f"{shots} shots"] for shots in SHOTS]
        assert found == pytest.approx(recorded, rel=0.01)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training of one step in each course, on few pictures."""
    monkeypatch.setattr(loop, "PICTURES", 320)
    stages = tuple(replace(s, courses=tuple(map(shortened, s.courses))) for s in STAGES)
    for module in (loop, training):
        monkeypatch.setattr(module, "STAGES", stages)


def shortened(course: Course) -> Course:
    first, every = course.lessons[0], (1,) * 5
    looks = min(first.looks, 2)
    lesson: Lesson = Interleaved(1, every, every, named=looks, looks=looks)
    if isinstance(first, Requests):
        lesson = replace(first, steps=1, counts=dict.fromkeys(KINDS, 1))
    return replace(course, lessons=(lesson,), pictures=min(course.pictures, 64))


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_the_same_seed_trains_the_same_models_in_one_call_or_stage_by_stage(
    tmp_path: Path,
) -> None:
    training.main(["--output", str(tmp_path / "whole")])
    ends = {stage.name: f"{stage.name}/step-{len(stage.courses)}" for stage in STAGES}
    for stage in STAGES:
        start = ["--start", str(tmp_path / "parts" / ends[stage.after])] if stage.after else []
        chosen = ["--from-stage", stage.name, "--to-stage", stage.name, *start]
        training.main(["--output", str(tmp_path / "parts"), *chosen])
        whole, part = (
            tmp_path / run / ends[stage.name] / "model.safetensors" for run in ("whole", "parts")
        )
        assert whole.read_bytes() == part.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("start", "said"),
    [
        (DEMO_CHAT, "does not know This, blicket, dax"),
        (Path("nowhere"), "neither a folder nor a hub id"),
    ],
)
def test_a_start_that_the_recipe_cannot_go_on_from_is_refused_in_a_line(
    start: Path, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = ["--from-stage", "in-context", "--start", str(start)]
    with pytest.raises(SystemExit) as ended:
        training.main(["--output", str(tmp_path), *stage])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_it_keeps_checkpoints_that_answer_and_the_last_ones_are_spoken_to_in_turns(
    tmp_path: Path,
) -> None:
    training.main(["--output", str(tmp_path), "--every", "2", "--to-stage", "instruction"])
    kept = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*"))
    assert kept == [
        "in-context/step-2",
        "instruction/step-1",
        "multitask/step-1",
        "pretraining/step-2",
        "pretraining/step-4",
    ]
    styles = {
        place: models.load(str(tmp_path / place), device="cpu", dtype="float32").style
        for place in kept
    }
    assert styles.pop("instruction/step-1") == "instruct"
    assert set(styles.values()) == {"completion"}
    model = models.load(str(tmp_path / kept[-1]), device="cpu", dtype="float32")
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
        (picture,) = first.pictures
        plain = caption(scenes[picture], PLAIN)
        assert first.trained == (first.answer == plain)


def test_text_only_examples_leave_the_model_its_own_words() -> None:
    rng = Random(0)
    scenes = [scene("train", index) for index in range(40)]
    lengths = set()
    for _ in range(50):
        *before, last = told(ask_for_caption, scenes, range(40), rng)
        lengths.add(len(before))
        assert all(not e.pictures and not e.trained and IMAGE not in e.prompt for e in before)
        (picture,) = last.pictures
        assert last.trained
        assert last.answer == caption(scenes[picture], PLAIN)
    assert lengths == {0, 2}


def test_a_made_up_name_is_asked_for_where_examples_have_explained_it() -> None:
    rng = Random(0)
    alike = [range(n, n + 5) for n in range(0, 60, 5)]
    wanted = set()
    for _ in range(200):
        *before, query = document = named(alike, rng)
        looks = {example.answer: picture_of(example) // 5 for example in document}
        assert all(looks[example.answer] == picture_of(example) // 5 for example in document)
        assert len(looks) in (1, 2) and looks.keys() <= set(MADE_UP)
        assert len({picture_of(example) for example in document}) == len(document)
        said = [example.answer for example in before]
        assert [e.trained for e in document] == [
            e.answer in said[:n] for n, e in enumerate(document)
        ]
        wanted.add((len(looks), said.count(query.answer), said[-1] == query.answer))
    assert {(2, count, last) for count in (1, 2, 3, 4) for last in (True, False)} < wanted


def picture_of(example: Example) -> int:
    (picture,) = example.pictures
    return picture


def test_names_are_asked_for_as_the_benchmark_asks() -> None:
    benchmark = registry.load("open_mi")
    ask = Prompter("completion", benchmark.templates["completion"])
    query = benchmark.sample(next(induction_rows.open_mi_rows()))
    shot = benchmark.sample(next(induction_rows.open_mi_examples()))
    asked = ask(query, [shot]).turns
    texts = ["".join(p if isinstance(p, str) else IMAGE for p in turn.content) for turn in asked]
    example, *_ = named([range(5), range(5, 10)], Random(0))
    assert texts == [example.prompt, f" {shot.target}", example.prompt]
