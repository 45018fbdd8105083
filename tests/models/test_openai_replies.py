"""What a server may reply: read into one shape, or the failure of that question."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest

from infimm_eval.errors import UsageError
from infimm_eval.models.openai.refusals import refused
from tests.models.fuzz_replies import fuzz
from tests.models.test_openai import Reply, ask, fails, model, request, says, serving


def reply(message: Any, finish: Any = "stop", **more: Any) -> Reply:
    return 200, {"choices": [{"message": message, "finish_reason": finish, **more}]}, {}


def always(said: Reply, **options: Any) -> tuple[Any, int]:
    """The answer to one request, and how often it was sent."""
    with serving(lambda *_: said) as place:
        (answer,) = ask(place, **options)
    return answer, len(place.bodies)


def test_text_parts_are_joined_and_thoughts_are_kept_apart():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "reasoning", "text": ", well"},
        {"type": "text", "text": "a "},
        "dog",
    ]
    answer, _ = always(reply({"content": parts}))
    assert (answer.text, answer.finish) == ("a dog", "stop")
    assert answer.notes == {"reasoning": "hm, well"}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_beside_the_text_are_noted_and_never_in_it(name):
    answer, _ = always(reply({"content": "yes", name: "is it red?"}))
    assert (answer.text, answer.notes["reasoning"]) == ("yes", "is it red?")


def test_a_limit_spent_on_thoughts_leaves_an_empty_answer_that_says_so():
    usage = {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 5}}
    status, body, _ = reply({"content": None, "reasoning_content": "I should"}, "length")
    answer, _ = always((status, body | {"usage": usage}, {}))
    assert (answer.text, answer.finish) == ("", "length")
    assert answer.notes == {"tokens_out": 5, "reasoning": "I should", "reasoning_tokens": 5}


ODD = {
    "nothing": None,
    "a list": [],
    "a number": 7,
    "no choices": {"choices": None},
    "choices of text": {"choices": "yes"},
    "choices as an object": {"choices": {"0": {}}},
    "nothing chosen": {"choices": [None]},
    "no message": {"choices": [{}]},
    "a message of text": {"choices": [{"message": "yes"}]},
    "an empty message": {"choices": [{"message": {"role": "assistant"}}]},
    "content as a number": {"choices": [{"message": {"content": 7}}]},
    "content as an object": {"choices": [{"message": {"content": {"text": "yes"}}}]},
    "a part that is none": {"choices": [{"message": {"content": [None]}}]},
    "a part without text": {"choices": [{"message": {"content": [{"type": "text"}]}}]},
    "a part of a strange kind": {"choices": [{"message": {"content": [{"type": ["x"]}]}}]},
    "a reason that is a number": {"choices": [{"message": {"content": "a"}, "finish_reason": 1}]},
    "usage as text": {"choices": [{"message": {"content": "a"}}], "usage": "much"},
    "tokens as text": {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "7"}},
    "tokens below zero": {
        "choices": [{"message": {"content": "a"}}],
        "usage": {"prompt_tokens": -1},
    },
}


@pytest.mark.sampled
@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_a_reply_of_another_shape_is_the_failure_of_its_question(body):
    with serving(lambda _, asked: says("ok") if "fine" in str(asked) else (200, body, {})) as place:
        answers = {a.id: a for a in ask(place, request("odd"), request("2", "fine"))}
    assert (answers["odd"].text, answers["odd"].finish) == ("", "error")
    assert answers["odd"].notes["error"].startswith("the server answered with")
    assert answers["2"].text == "ok"
    assert len(place.bodies) == 2


def test_a_failure_that_looks_like_a_success_is_tried_again():
    gone = {"error": {"code": 502, "message": "Provider disconnected"}}
    failures = [reply({"content": ""}, "error", **gone), (200, gone, {}), says("ok")]
    with serving(lambda n, _: failures[n]) as place:
        assert ask(place)[0].text == "ok"
    answer, tries = always(failures[0], tries=6)
    assert (answer.finish, tries) == ("error", 3)
    assert "Provider disconnected" in answer.notes["error"]
    assert "final" not in answer.notes


KEPT_BACK = {
    "by its reason": reply({"content": None}, "content_filter"),
    "without a message": (200, {"choices": [{"finish_reason": "content_filter"}]}, {}),
    "by its code": (400, {"error": {"code": "content_filter", "message": "no"}}, {}),
    "by a moderator": fails(403, "your input was flagged for violence"),
}


@pytest.mark.parametrize("said", KEPT_BACK.values(), ids=KEPT_BACK)
def test_what_a_filter_keeps_back_is_unscored_counted_and_named(said):
    with serving(lambda *_: said) as place:
        one = model(place)
        (answer,) = one.generate([request()])
    assert (answer.text, answer.finish) == ("", "error")
    assert answer.notes["error"].partition("content_filter")[1]
    assert answer.notes["content_filter"] is True
    assert answer.notes["final"] is True
    assert one.statistics["content_filter"] == one.statistics["errors"] == len(place.bodies) == 1


@pytest.mark.parametrize(
    ("status", "message", "tries"),
    [
        (429, "You exceeded your current quota. (insufficient_quota)", 1),
        (429, "You exceeded your current quota. Please retry in 2 s.", 3),
        (429, "slow down", 3),
        (502, "Bad Gateway", 3),
        (500, "the request exceeds the available context size (2048 tokens)", 1),
        (400, "At most 1 image(s) may be provided in one prompt.", 1),
    ],
)
def test_only_what_may_pass_is_tried_again(status, message, tries):
    answer, sent = always(fails(status, message))
    assert sent == tries
    assert answer.notes.get("final", False) is (tries == 1)
    assert message.split("(")[0][:40] in answer.notes["error"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_request_turned_away_after_an_answer_fails_alone(status):
    def moderated(_: int, body: Any) -> Reply:
        return fails(status, "no") if "bad" in str(body) else says("ok")

    asked = [request("1"), request("2", "bad"), request("3")]
    with serving(moderated) as place:
        answers = {a.id: a for a in ask(place, *asked, concurrency=1)}
    assert {id: a.finish for id, a in answers.items()} == {"1": "stop", "2": "error", "3": "stop"}
    assert answers["2"].notes == {"error": f"HTTP {status}: no", "final": True}


def test_the_first_request_turned_away_waits_for_what_becomes_of_the_others():
    def moderated(_: int, body: Any) -> Reply:
        return fails(403, "no") if "bad" in str(body) else says("ok")

    with serving(moderated) as place:
        found = {
            a.id: a.finish for a in ask(place, request("1", "bad"), request("2"), request("3"))
        }
    assert found == {"1": "error", "2": "stop", "3": "stop"}


def test_a_server_that_turns_all_away_knows_no_such_key():
    many = [request(str(i)) for i in range(30)]
    with serving(lambda *_: fails(403)) as place, pytest.raises(UsageError, match="OPENAI_API_KEY"):
        ask(place, *many)
    assert len(place.bodies) <= 8


SAME = [
    (429, "slow down, again in 20ms (req_7fa81c)", "slow down, again in 6m0s (req_0b1c2d)"),
    (500, "3f2504e0-4f89-11d3-9a0c-0305e82c3301 died", "9b2504e0-4f89-11d3-9a0c-0305e82c33ff died"),
    (
        400,
        "This model's maximum context length is 2048 tokens. However, you requested 5120 tokens",
        "This model's maximum context length is 2048 tokens. However, you requested 4,077 tokens",
    ),
]


@pytest.mark.parametrize(("status", "one", "other"), SAME)
def test_equal_causes_have_equal_messages(status, one, other):
    assert str(refused(status, one)) == str(refused(status, other))
    assert str(refused(status, "something else")) != str(refused(status, one))


def test_the_limit_of_the_context_is_not_lost_from_its_message():
    assert "length is 2048 tokens" in str(refused(400, SAME[2][1]))


@pytest.mark.parametrize(
    "body",
    [
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\n</html>",
        json.dumps({"error": {"message": "red \x1b[31m alert\u202e\x00\n" * 200}}),
        json.dumps(
            {"detail": [{"loc": ["body", "messages", 0], "msg": "bad\tvalue", "type": "x"}]}
        ),
        json.dumps({"error": ["a", {"b": 1}]}),
        "[" * 100_000,
        "\ud83d" * 3000,
        "",
    ],
)
def test_a_message_is_one_short_line_without_control_characters(body):
    line = str(refused(502, body))
    assert len(line) <= 200
    assert not [c for c in line if unicodedata.category(c)[0] == "C"]


def test_a_message_says_what_the_server_says_and_no_more():
    assert str(refused(502, "<h1>502 Bad Gateway</h1>")) == "HTTP 502: 502 Bad Gateway"
    detail = json.dumps({"detail": [{"loc": ["body", "stop"], "msg": "not permitted"}]})
    assert str(refused(422, detail)) == "HTTP 422: stop: not permitted"


def picky(*unknown: str, says_so: str = "Unsupported parameter: '{}' is not supported.") -> Any:
    """A server that refuses fields, one at a time."""

    def reply(_: int, body: Any) -> Reply:
        named = next((name for name in unknown if name in body), None)
        return fails(400, says_so.format(named)) if named else says("red\nblue")

    return reply


def test_fields_that_a_server_refuses_are_left_out_once_and_noted():
    with serving(picky("temperature", "stop", "max_tokens")) as place:
        one = model(place, concurrency=1)
        before = dict(one.settings)
        answers = list(one.generate([request("1", stop=("\n",)), request("2", stop=("\n",))]))
    assert [sorted(body)[:1] for body in place.bodies[-2:]] == [["max_completion_tokens"]] * 2
    assert len(place.bodies) == 5
    assert not {"temperature", "stop", "max_tokens"} & set(place.bodies[-1])
    for answer in answers:
        assert answer.notes["left_out"] == ["max_tokens", "stop", "temperature"]
        assert answer.text == "red"
    assert dict(one.settings) == before
    assert one.statistics["without_temperature"] == 2


def test_a_limit_under_neither_name_is_left_out():
    with serving(picky("max_tokens", "max_completion_tokens")) as place:
        (answer,) = ask(place)
    assert answer.notes["left_out"] == ["max_completion_tokens", "max_tokens"]


@pytest.mark.parametrize(
    "says_so",
    [
        "Input validation error: `{}` must be strictly positive",
        "{}: Extra inputs are not permitted",
        "Unsupported value: '{}' does not support 0.0 with this model. Only the default is.",
        "unknown field {}",
    ],
)
def test_a_refused_temperature_is_understood_in_many_words(says_so):
    with serving(picky("temperature", says_so=says_so)) as place:
        assert ask(place)[0].notes["left_out"] == ["temperature"]


@pytest.mark.parametrize(
    "message",
    [
        "unsupported image in 'what does the stop sign say at this temperature?'",
        "'max_tokens' or 'max_completion_tokens' is too large: 500. This model's maximum context "
        "length is 400 tokens. Unsupported.",
        "Invalid 'messages[1]': unknown role",
    ],
)
def test_another_failure_leaves_no_field_out(message):
    with serving(lambda *_: fails(400, message)) as place:
        (answer,) = ask(place, request(stop=("\n",)))
    assert answer.finish == "error"
    assert len(place.bodies) == 1


def test_a_field_that_was_not_the_reason_is_sent_again():
    def reply(n: int, _: Any) -> Reply:
        return says("ok") if n == 2 else fails(400, "unknown field temperature")

    with serving(reply) as place:
        first, second = ask(place, request("1"), request("2"), concurrency=1)
    assert (first.finish, second.text) == ("error", "ok")
    assert ["temperature" in body for body in place.bodies] == [True, False, True]


def test_further_fields_go_out_with_every_request_and_into_the_settings():
    with serving(lambda *_: says("ok")) as place:
        plain = model(place)
        options = {"chat_template_options": {"enable_thinking": False}}
        one = model(place, **options, extra_body='{"reasoning_effort": "low"}')
        list(one.generate([request()]))
    (body,) = place.bodies
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}
    assert extra.items() <= body.items()
    assert one.settings == {**plain.settings, "extra": extra}


@pytest.mark.slow
def test_mutated_replies_end_in_an_answer_or_one_line():
    fuzz(60, seed=0)
