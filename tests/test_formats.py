"""Prompt formats: to the character what the families' own code writes, searches and reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import evaluate, formats, logs, models, registry
from infimm_eval.cli import main
from infimm_eval.errors import UsageError
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Mark, Tokenizer
from infimm_eval.logs import NamedImage
from infimm_eval.models.fake import Fake
from infimm_eval.models.flamingo.prompts import document
from infimm_eval.prompts import Prompter
from infimm_eval.run.rescore import rescore
from infimm_eval.run.submit import submit
from infimm_eval.types import Prompt, Sample, Style
from tests.conftest import Listener
from tests.models import tiny

Run = Callable[..., list[logs.Cell]]

DOG, CAT = NamedImage("dog.jpg", "dog"), NamedImage("cat.jpg", "cat")
QUERY = Sample(id="1", images=(DOG,), question=("What is it?",), target="dog")
SHOT = Sample(
    id="2", images=(CAT,), question=("Who?",), target="a cat", references=("a cat", "cat", "cat")
)


def written(prompt: Prompt) -> str:
    """As a Flamingo reads it."""
    marks = {IMAGE: "<image>", END_OF_CHUNK: "<|endofchunk|>"}
    head, pieces = document(prompt)
    return "".join(piece if isinstance(piece, str) else marks[piece] for piece in [*head, *pieces])


def asked(name: str, task: str, *, style: Style = "completion", text_only: bool = False) -> str:
    form = formats.form(registry.load(task), formats.find(name), style)
    return written(Prompter(form.written, form.template)(QUERY, [SHOT], text_only=text_only))


@pytest.mark.parametrize(
    ("name", "between"),
    [("infimm", "\n"), ("openflamingo", "\n"), ("openflamingo-2023-06", "")],
)
def test_openflamingos_generations_differ_by_a_line_break(name: str, between: str) -> None:
    shot = f"Question:Who? Short answer:a cat<|endofchunk|>{between}"
    query = "<image>Question:What is it? Short answer:"
    assert asked(name, "vqav2") == f"<image>{shot}{query}"
    assert asked(name, "vqav2", text_only=True) == shot + query
    assert asked(name, "coco") == f"<image>Output:a cat<|endofchunk|>{between}<image>Output:"


def test_otters_answers_stand_behind_its_mark() -> None:
    assert asked("otter", "vqav2") == (
        "<image>User: Who? Please answer in short words. GPT:<answer>a cat<|endofchunk|>"
        "<image>User: What is it? Please answer in short words. GPT:<answer>"
    )
    assert asked("otter", "coco").endswith(
        "<image>User: What does the image describe? GPT:<answer>"
    )
    assert asked("otter", "mme").endswith("<image>User: What is it? GPT:<answer>")


def test_otters_choices_are_listed_as_in_its_own_benchmarks() -> None:
    form = formats.form(registry.load("mmbench"), formats.OTTER, "completion")
    query = replace(QUERY, options=(("red",), ("blue",)), hint="Look.")
    assert written(Prompter("completion", form.template)(query)) == (
        "<image>User: Look. What is it? There are several options:\nA. red\nB. blue GPT:<answer>"
    )
    assert 'format: "The answer is {A/B/C/D}".\nWhat is it?\n' in asked("otter", "scienceqa")


def test_idefics_instructs_once_and_shows_the_most_frequent_answer() -> None:
    head = "Instruction: provide an answer to the question. Use the image to answer.\n"
    assert asked("idefics", "vqav2") == (
        f"{head}Image:<image>Question: Who? Answer: cat<|endofchunk|>\n"
        "Image:<image>Question: What is it? Answer:"
    )
    assert "Image:Question: Who?" in asked("idefics", "vqav2", text_only=True)
    assert asked("idefics", "vizwiz").startswith("Task: Answer the questions based on the image")
    assert asked("idefics", "vqav2", style="instruct") == asked("idefics", "vqav2")


def test_idefics_describes_briefly_in_a_chat() -> None:
    assert asked("idefics", "coco", style="instruct").endswith(
        "<end_of_utterance>\nUser:<image>Describe the image briefly.<end_of_utterance>\nAssistant:"
    )
    assert asked("idefics", "coco").endswith("Image:<image>Caption:")


def test_a_shot_shows_the_same_one_of_its_captions_every_time() -> None:
    several = replace(SHOT, references=tuple(f"caption {n}" for n in range(50)))
    template = formats.IDEFICS.templates["caption"]["completion"]
    shown = {written(Prompter("completion", template)(QUERY, [several])) for _ in range(3)}
    others = [replace(several, id=f"{n}") for n in range(9)]
    drawn = {written(Prompter("completion", template)(QUERY, [other])) for other in others}
    assert len(shown) == 1 and len(drawn) > 3


@pytest.mark.parametrize(
    ("name", "task", "search"),
    [
        ("openflamingo", "coco", (3, 20, 0.0)),
        ("openflamingo-2023-06", "coco", (3, 20, -2.0)),
        ("openflamingo-2023-06", "vqav2", (3, 5, 0.0)),
        ("openflamingo", "textvqa", (3, 10, 0.0)),
        ("otter", "coco", (3, 64, -2.0)),
        ("otter", "flickr30k", (3, 128, -2.0)),
        ("otter", "textvqa", (3, 10, 0.0)),
        ("otter", "mmvet", (3, 512, 1.0)),
        ("idefics", "coco", (1, 15, 1.0)),
    ],
)
def test_every_family_searches_in_its_own_way(
    name: str, task: str, search: tuple[int, int, float]
) -> None:
    decoding = formats.form(registry.load(task), formats.find(name), "completion").template.decoding
    assert (decoding.num_beams, decoding.max_new_tokens, decoding.length_penalty) == search


@pytest.mark.parametrize(
    ("task", "raw", "read"),
    [
        ("vqav2", " two dogs\nImage: Question: Who?", "two dogs"),
        ("vqav2", "What a dog", ""),
        ("coco", ' a "dog" Caption: a cat', 'a "dog"'),
    ],
)
def test_idefics_answers_are_cut_at_its_stop_words(task: str, raw: str, read: str) -> None:
    form = formats.form(registry.load(task), formats.IDEFICS, "completion")
    assert form.template.read(raw) == read


# -- in a run ------------------------------------------------------------------------------------


def protocol(cells: list[logs.Cell]) -> dict[str, Any]:
    return dict(cells[0].settings["protocol"])


def test_the_protocol_names_the_format_and_shows_what_it_writes(run: Run) -> None:
    told = protocol(run("vqav2", prompt_format=formats.OTTER, limit=2))
    assert (told["prompt_format"], told["zero_shot_demos"]) == ("otter", 0)
    assert told["prompt"]["before_answer"] == "<answer>"
    told = protocol(run("vqav2", limit=2))
    assert told["prompt_format"] == "infimm" and set(told["prompt"]) == {"ask", "answer", "system"}
    assert "banned" not in told["decoding"]


def test_idefics_zero_shot_examples_are_the_same_two_for_every_question(
    run: Run, tmp_path: Path
) -> None:
    (cell,) = run("vqav2", prompt_format=formats.IDEFICS, limit=9)
    assert cell.settings["protocol"]["support"] == "fixed"
    with logs.Log(tmp_path / "run") as log:
        entries = list(log.entries(cell.key))
    assert len({entry.shot_ids for entry in entries}) == 1
    assert entries[0].prompt.count("Image:") == 3 and len(entries[0].pictures) == 1


def test_a_run_is_scored_again_and_submitted_as_its_format_reads(run: Run, tmp_path: Path) -> None:
    (cell,) = run("vqav2", model=Fake("yes Question"), prompt_format=formats.IDEFICS, limit=3)
    (again,) = rescore(tmp_path / "run")
    assert (again.metrics, again.key) == (cell.metrics, cell.key)
    submit(registry.load("vqav2"), tmp_path / "run", tmp_path / "sent.json", allow_partial=True)
    sent = json.loads((tmp_path / "sent.json").read_text(encoding="utf-8"))
    assert {line["answer"] for line in sent[:3]} == {"yes"}


class Kin(Fake):
    """Of a family with a format of its own."""

    prompt_format = "openflamingo"


@pytest.mark.slow
def test_a_model_is_asked_in_its_own_format_where_that_has_a_prompt(run: Run) -> None:
    listener = Listener()
    cells = run("vqav2", "scienceqa", model=Kin(), limit=2, listener=listener)
    assert [c.settings["protocol"]["prompt_format"] for c in cells] == ["openflamingo", "infimm"]
    assert listener.notes == ["ScienceQA-Img: openflamingo has no such prompt; asked as InfiMM is"]
    told = protocol(run("vqav2", model=Kin(), style="instruct", limit=2))
    assert (told["prompt_format"], told["prompt_style"]) == ("infimm", "instruct")
    told = protocol(run("vqav2", model=Kin(), prompt_format=formats.IDEFICS, limit=2))
    assert told["prompt_format"] == "idefics"


def test_a_format_that_has_no_prompt_for_a_benchmark_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--model", "fake", "--data", "demo", "--output", str(tmp_path / "run"), "-q"]
    assert main([*words, "--tasks", "mmvet", "--prompt-format", "idefics"]) == 2
    said = capsys.readouterr().err.strip()
    assert "the prompt format idefics has no template" in said and "infimm, otter" in said
    assert "\n" not in said and not (tmp_path / "run").exists()


def test_an_unknown_format_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'openflamingo'"):
        evaluate("fake", "coco", data="demo", prompt_format="openflamigo")
    unheard = Fake()
    unheard.prompt_format = "kosmos"  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="unknown prompt format 'kosmos'"):
        evaluate(unheard, "coco", data="demo", progress=False)


def test_a_task_without_a_kind_has_its_own_templates_alone(run: Run) -> None:
    own = replace(registry.load("vqav2"), name="own", kind=None)
    assert protocol(run(own, limit=2))["prompt_format"] == "infimm"
    with pytest.raises(UsageError, match="own: the prompt format otter has no template"):
        run(own, limit=2, prompt_format=formats.OTTER)


def test_ranked_options_stand_behind_the_space_that_an_answer_begins_with(run: Run) -> None:
    task = registry.load("scienceqa")
    spaced = replace(task.templates["completion"], answer=" {{ target }}")
    heard: list[tuple[str, ...]] = []

    class Ranking(Fake):
        def rank(self, requests: Any) -> Any:
            for request in requests:
                heard.append(request.options)
                yield from super().rank([request])

    own = replace(task, templates={"completion": spaced})
    run(own, model=Ranking("B"), choice="rank", limit=1)
    assert heard and all(option.startswith(" ") for options in heard for option in options)


# -- in ids --------------------------------------------------------------------------------------


def test_otters_mark_is_a_token_where_the_tokenizer_has_it_and_text_where_not() -> None:
    plain = Tokenizer(tiny.tokenizer())
    marked = tiny.tokenizer()
    marked.add_special_tokens(["<answer>"])
    known = Tokenizer(marked)
    form = formats.form(registry.load("vqav2"), formats.OTTER, "completion")
    prompt = Prompter("completion", form.template)(replace(QUERY, question=("<answer> ?",)), [SHOT])
    assert Mark.ANSWER not in document(prompt, plain.marked)[1]
    pieces = document(prompt, known.marked)[1]
    assert pieces.count(Mark.ANSWER) == 2
    assert known.encode(pieces).count(known.id(Mark.ANSWER)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_banned_is_never_said(tmp_path: Path, beams: int) -> None:
    model = models.load(str(tiny.checkpoint(tmp_path)), device="cpu")
    free = tiny.few_shot(4, num_beams=beams)
    first = {answer.id: answer.text.split()[0] for answer in model.generate(free)}
    banned = tuple(sorted(set(first.values())))
    kept = tiny.few_shot(4, num_beams=beams, banned=banned)
    for answer in model.generate(kept):
        assert answer.text and not set(banned) & set(answer.text.split())


def test_the_usual_prompts_are_written_down_as_they_always_were() -> None:
    prompt = Prompt("completion", ())
    assert logs.dump_prompt(prompt) == '["completion","",[]]'
