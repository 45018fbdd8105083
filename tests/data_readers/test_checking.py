"""Mistakes of plugin authors: one line that says what, where, and what would work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infimm_eval import metrics, prompts
from infimm_eval.data import checking
from infimm_eval.errors import UsageError
from infimm_eval.scorers import caption, vqa
from infimm_eval.scorers.fixed import Unseen
from infimm_eval.types import Sample, Scorer, Source, Task

PICTURE = Unseen("1.jpg")
GOOD = Sample(
    id="1",
    images=(PICTURE,),
    question=("Is it red? ", PICTURE),
    options=(("yes",), ("no", PICTURE)),
    references=("yes",),
    target="yes",
    tags={"kind": "colour"},
)
TASK = Task(
    name="mine",
    title="Mine",
    version=1,
    source=Source(),
    sample=lambda row: Sample(id=row["id"], references=(row["answer"],)),
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer()),
    scorers=(vqa.always, vqa.official),
    metrics=metrics.mean("accuracy"),
    headline="accuracy",
)


@pytest.mark.parametrize("sample", [GOOD, replace(GOOD, options=()), Sample(id="1")])
def test_a_sample_that_is_well_formed_is_let_by(sample: Sample) -> None:
    checking.check_sample(sample, "here")
    checking.check_sample(sample, "here")  # kinds of picture are remembered


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": 7}, "id is 7; a text is wanted, such as '7'"),
        ({"id": ""}, "the id is empty"),
        ({"target": None}, "target is None; a text is wanted"),
        ({"hint": None}, "hint is None"),
        ({"group": 4}, "group is 4"),
        ({"references": "yes"}, r"references is 'yes'; a tuple is wanted: \('yes',\)"),
        ({"references": ["yes"]}, r"references is \['yes'\]; a tuple is wanted: tuple\(...\)"),
        ({"references": ("yes", 3)}, "references holds 3; a text is wanted"),
        ({"question": "Is it?"}, r"question is 'Is it\?'; a tuple is wanted: \('Is it\?',\)"),
        ({"question": (None,)}, "question holds None; a text or a picture is wanted"),
        ({"images": PICTURE}, r"images is Unseen\(.*; a tuple is wanted: \(Unseen"),
        ({"images": ("1.jpg",)}, "images holds '1.jpg'; a picture is wanted"),
        ({"options": ("yes", "no")}, "options holds 'yes'; a tuple of texts and pictures is"),
        ({"options": (("yes",), (1,))}, "an option holds 1; a text or a picture is wanted"),
        ({"tags": {"kind": None}}, r"tags\['kind'\] is None; a text is wanted"),
    ],
)
def test_a_field_that_holds_something_else_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=rf"^mine\.jsonl line 3: {message}") as refused:
        checking.check_sample(replace(GOOD, **fields), "mine.jsonl line 3")
    assert "\n" not in str(refused.value)


def test_rows_are_made_samples_and_the_row_that_lacks_a_column_is_named() -> None:
    rows = [{"id": "1", "answer": "yes"}, {"id": "2", "anwser": "no"}]
    made = checking.samples(TASK, rows, "Mine")
    assert next(made) == Sample(id="1", references=("yes",))
    with pytest.raises(UsageError, match=r"Mine, row 2, has no 'answer' .*; it has id, anwser"):
        next(made)


def test_what_is_no_sample_is_named_with_its_row() -> None:
    with pytest.raises(UsageError, match="Mine, row 1: sample made None of it"):
        [*checking.samples(replace(TASK, sample=lambda row: None), [{}], "Mine")]  # type: ignore


def test_a_task_that_is_well_formed_is_let_by() -> None:
    checking.check_task(TASK, "mine.py")
    checking.check_templates(TASK, "mine.py")
    checking.check_headline(TASK, [GOOD], "mine.py")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name is ''; a text is wanted"),
        ({"name": "a/b"}, "the name 'a/b' holds a '/'"),
        ({"title": None}, "title is None"),
        ({"version": "1"}, "version is '1'; a whole number is wanted"),
        ({"source": "test.jsonl"}, "source is no Source"),
        ({"sample": None}, "sample is no function"),
        ({"metrics": "accuracy"}, "metrics is no function"),
        ({"headline": ""}, "headline names no metric"),
        ({"templates": {}}, "templates is no mapping of prompt templates"),
        ({"templates": {"chat": prompts.short_answer()}}, "a template of style 'chat'; known: com"),
        ({"templates": {"instruct": "{{ question }}"}}, r"templates\['instruct'\] is no PromptTem"),
        ({"scorers": ()}, "scorers is no list of scorers"),
        ({"scorers": vqa.always}, "scorers is no list of scorers"),
        ({"scorers": {"always": vqa.always}}, "scorers is no list of scorers"),
        ({"scorers": (vqa.agreement,)}, "<function agreement.* among the scorers is no Scorer"),
        ({"scorers": (vqa.always, vqa.always)}, "two scorers are called always"),
        ({"scorers": (Scorer(name="x", function=3),)}, "the scorer x is 3; a function"),  # type: ignore
        ({"scorers": (replace(vqa.always, version="2"),)}, "the scorer 'always' of version '2'"),  # type: ignore
    ],
)
def test_a_task_that_is_not_as_it_should_be_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=rf"^mine\.py: {message}"):
        checking.check_task(replace(TASK, **fields), "mine.py")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ("{{ quesion }}", "unknown name in the instruct template 'quesion'; did you mean 'questi"),
        ("{% if hint %}{{ question }}", "the instruct template .*: Unexpected end of template"),
    ],
)
def test_a_template_that_speaks_of_what_is_not_there_is_refused(ask: str, message: str) -> None:
    templates = {"instruct": replace(prompts.short_answer(), ask=ask)}
    with pytest.raises(UsageError, match=rf"mine\.py: {message}"):
        checking.check_templates(replace(TASK, templates=templates), "mine.py")


def test_a_headline_that_no_metric_gives_is_refused() -> None:
    with pytest.raises(UsageError, match="the headline 'acc' is no metric; it gives accuracy"):
        checking.check_headline(replace(TASK, headline="acc"), [GOOD], "mine.py")


def test_a_headline_of_a_whole_corpus_is_believed() -> None:
    task = replace(TASK, headline="Bleu_4", scorers=(caption.cider,))
    checking.check_headline(task, [GOOD], "mine.py")
