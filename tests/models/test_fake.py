"""The fake model is a real backend: the runner's own tests lean on it."""

from __future__ import annotations

import itertools

import pytest

from infimm_eval import models
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.types import Decoding, Prompt, Request, Turn


def ask(question: str, id: str = "1", options: tuple[str, ...] = ()) -> Request:
    prompt = Prompt("completion", (Turn("user", (question,)),))
    return Request(id, prompt, Decoding(max_new_tokens=5), options)


def questions(n: int) -> list[Request]:
    return [ask(f"what is {i}?", str(i)) for i in range(n)]


def test_it_says_the_word_it_was_given():
    answers = list(models.load("fake:blue").generate(questions(3)))
    assert [(a.id, a.text) for a in answers] == [("0", "blue"), ("1", "blue"), ("2", "blue")]


def test_without_a_word_the_answer_varies_with_the_prompt_and_nothing_else():
    texts = {a.id: a.text for a in models.load("fake").generate(questions(50))}
    assert len(set(texts.values())) > 3
    backwards = models.load("fake").generate(reversed(questions(50)))
    assert {a.id: a.text for a in backwards} == texts


def test_echo_repeats_the_last_question():
    (answer,) = models.load("fake:echo").generate([ask("what is this?")])
    assert answer.text == "what is this?"


def test_a_function_answers_as_an_oracle():
    (answer,) = Fake(lambda request: request.id * 2).generate([ask("?", "ab")])
    assert answer.text == "abab"


def test_it_ranks_its_own_word_first():
    (answer,) = models.load("fake:cat").rank([ask("which?", options=(" dog", " cat", " cow"))])
    assert answer.text == " cat"
    assert answer.logliks.index(max(answer.logliks)) == 1


def test_it_gives_way_where_it_was_told_to_and_keeps_what_was_said_before():
    answers = models.load("fake:x?fail_at=3").generate(questions(5))
    assert len(list(itertools.islice(answers, 2))) == 2
    with pytest.raises(MachineryError, match="answer 3"):
        next(answers)


def test_every_nth_answer_is_an_error_when_asked():
    answers = models.load("fake:x?error_every=2").generate(questions(4))
    assert [a.finish for a in answers] == ["stop", "error", "stop", "error"]


def test_it_reads_requests_one_at_a_time():
    endless = models.load("fake:x").generate(ask("?", str(i)) for i in itertools.count())
    assert next(endless).id == "0"


def test_another_word_is_another_model():
    one, other = models.load("fake:a").settings, models.load("fake:b").settings
    assert one["fingerprint"] != other["fingerprint"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fkae", "did you mean 'fake'"),
        ("fake:x?speed=1", "unknown option"),
        ("fake:x?delay=soon", "not a number"),
        ("openai:", "openai:NAME"),
        ("demo:x", "write demo"),
    ],
)
def test_a_wrong_name_is_answered_in_one_line(spec, message):
    with pytest.raises(UsageError, match=message) as caught:
        models.load(spec)
    assert "\n" not in str(caught.value)


def test_a_choice_that_no_backend_honours_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--base-url"):
        models.load("fake", base_url="http://127.0.0.1:1")
    with pytest.raises(UsageError, match="at least 1"):
        models.load("fake", batch_size=0)
    with pytest.raises(UsageError, match=r"no config\.json"):
        models.load(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("demo", "demo"),
        ("demo-judge", "demo-judge (rule-based)"),
        ("fake", "fake"),
        ("fake:echo", "fake:echo"),
    ],
)
def test_a_folder_of_the_same_name_does_not_hide_what_is_built_in(
    spec, name, tmp_path, monkeypatch
):
    (tmp_path / spec).mkdir()
    monkeypatch.chdir(tmp_path)
    assert models.load(spec, device="cpu").name == name
    with pytest.raises(UsageError, match=r"no config\.json"):
        models.load(f"./{spec}")


def test_every_available_model_is_described():
    specs = dict(models.available())
    assert {"demo", "fake[:WORD]"} <= set(specs)
    assert all(specs.values())
