from __future__ import annotations

from dataclasses import replace

import pytest

from infimm_eval import prompts
from infimm_eval.errors import UsageError
from infimm_eval.logs import NamedImage
from infimm_eval.types import Content, Prompt, Sample

DOG, CAT = NamedImage("dog.jpg", "dog"), NamedImage("cat.jpg", "cat")


def sample(name: str = "1", image: NamedImage = DOG) -> Sample:
    return Sample(id=name, images=(image,), question=("What is it?",), target="a dog")


def flat(prompt: Prompt) -> list[str]:
    return [
        part if isinstance(part, str) else f"<{part.name}>"
        for turn in prompt.turns
        for part in turn.content
    ]


def texts(content: Content) -> list[str]:
    return [part if isinstance(part, str) else f"<{part.name}>" for part in content]


def test_openflamingos_question_prompt_to_the_character() -> None:
    prompter = prompts.Prompter("completion", prompts.flamingo_vqa())
    assert flat(prompter(sample(), [sample("2", CAT)])) == [
        "<cat.jpg>",
        "Question:What is it? Short answer:",
        "a dog",
        "<dog.jpg>",
        "Question:What is it? Short answer:",
    ]


def test_openflamingos_caption_prompt_to_the_character() -> None:
    prompter = prompts.Prompter("completion", prompts.flamingo_caption())
    assert flat(prompter(sample())) == ["<dog.jpg>", "Output:"]


def test_text_only_examples_lose_their_pictures_and_nothing_else() -> None:
    prompter = prompts.Prompter("completion", prompts.flamingo_vqa())
    assert flat(prompter(sample(), [sample("2", CAT)], text_only=True)) == [
        "Question:What is it? Short answer:",
        "a dog",
        "<dog.jpg>",
        "Question:What is it? Short answer:",
    ]


def test_multi_task_wording_asks_for_a_word_or_phrase() -> None:
    prompter = prompts.Prompter("instruct", prompts.short_answer())
    assert flat(prompter(sample()))[-1] == (
        "What is it?\nAnswer the question using a single word or phrase."
    )


def test_choices_are_lettered_and_a_hint_comes_first() -> None:
    asked = replace(sample(), options=(("red",), ("blue",)), hint="Look closely.")
    assert texts(prompts.fill(prompts.letter_choice().ask, asked)) == [
        "<dog.jpg>",
        "Context: Look closely.\nWhat is it?\nA. red\nB. blue\n"
        "Answer with the option's letter from the given choices directly.",
    ]


def test_pictures_stand_where_question_and_options_have_them() -> None:
    asked = Sample(id="1", question=("Is ", DOG, " like ", CAT, "?"), options=((DOG,), (CAT,)))
    template = "{{ question }}|{% for option in options %}{{ option }};{% endfor %}"
    assert texts(prompts.fill(template, asked)) == [
        *("Is ", "<dog.jpg>", " like ", "<cat.jpg>", "?|"),
        *("<dog.jpg>", ";", "<cat.jpg>", ";"),
    ]


@pytest.mark.parametrize(
    "template",
    [
        "{{ hint }}Question:{{question}} Short answer:{{ target }}",
        "100 %s {{ id }} }} %(id)s 50%%\n",
        "{{ question }}\r\n{{ hint }}\r",
        "{ {{ hint }} }{# a remark #}{{ question -}} \n{{ target }}",
        "{% if hint %}{{ hint }}{% endif %}{{ question }}",
    ],
)
def test_a_template_is_filled_in_as_jinja_does_with_logic_or_without(template: str) -> None:
    shown = Sample(id="7", question=("100 % {{ id }}?",), target="{x}", hint="%s\r\n")
    values = {"id": "7", "question": "100 % {{ id }}?", "target": "{x}", "hint": "%s\r\n"}
    by_jinja = prompts.environment().from_string(template).render(values)
    assert prompts.fill(template, shown) == (by_jinja,)


def test_no_text_can_turn_into_a_picture() -> None:
    forged = replace(sample(), question=("\ue0000\ue001 <image> {{ images }}",))
    rendered = prompts.fill("{{ images }}{{ question }}", forged)
    assert texts(rendered) == ["<dog.jpg>", "0 <image> {{ images }}"]


def test_a_broken_template_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="prompt template"):
        prompts.fill("{% if %}", sample())


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (" a red bus\n", "a red bus"),
        ("a red bus Question: what", "a red bus"),
        ("red, and blue", "red"),
        ("1,000", "1,000"),
        ("Question: what is it? Short answer: red", ""),
    ],
)
def test_an_answer_ends_where_the_next_question_begins(raw: str, read: str) -> None:
    assert prompts.flamingo_vqa_text(raw) == read


def test_a_caption_ends_where_the_next_begins_and_loses_its_quotes() -> None:
    assert prompts.flamingo_caption_text(' a "good" dog Output: a cat') == "a good dog"


def test_the_fingerprint_tells_wordings_apart() -> None:
    plain = prompts.flamingo_vqa()
    prompter = prompts.Prompter("completion", plain)
    other = prompts.Prompter("completion", replace(plain, ask=plain.ask + " "))
    longer = prompts.Prompter("completion", prompts.flamingo_vqa(10))
    assert len({prompter.fingerprint, other.fingerprint, longer.fingerprint}) == 3
