"""Turn samples into prompts: templates filled in, examples before the question.

Knows the field's templates (OpenFlamingo's few-shot text, the instruction suffixes of multi-task
training); knows no benchmark and no model, and leaves ``<image>`` marks to the model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from random import Random
from string import ascii_uppercase
from typing import TYPE_CHECKING

from infimm_eval.errors import UsageError
from infimm_eval.types import (
    Content,
    Decoding,
    Document,
    Image,
    Prompt,
    PromptTemplate,
    Sample,
    Style,
    Turn,
)

if TYPE_CHECKING:
    from jinja2 import Environment, Template

SHORT_ANSWER = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
DESCRIBE = "Please describe the image."


# -- templates that several benchmarks share ------------------------------------------------------


def flamingo_caption() -> PromptTemplate:
    """OpenFlamingo's caption prompt, search (beam 3, 20 tokens, no length penalty) and reading."""
    return PromptTemplate(
        ask="{{ images }}Output:",
        decoding=Decoding(max_new_tokens=20, num_beams=3, length_penalty=0.0),
        read=flamingo_caption_text,
    )


def flamingo_vqa(max_new_tokens: int = 5) -> PromptTemplate:
    """OpenFlamingo's question prompt, search (beam 3, no length penalty) and reading.

    A shot shows the first of its people's answers, as OpenFlamingo does (not the majority's).
    """
    return PromptTemplate(
        ask="{{ images }}Question:{{ question }} Short answer:",
        decoding=Decoding(max_new_tokens=max_new_tokens, num_beams=3, length_penalty=0.0),
        read=flamingo_vqa_text,
    )


def flamingo_choice(max_new_tokens: int = 5) -> PromptTemplate:
    """The same document style for lettered choices: options listed, the letter as short answer."""
    return PromptTemplate(
        ask="{{ images }}{% if hint %}Context: {{ hint }}\n{% endif %}Question:{{ question }}\n"
        "{% for letter in letters %}{{ letter }}. {{ options[loop.index0] }}\n{% endfor %}"
        "Short answer:",
        decoding=Decoding(max_new_tokens=max_new_tokens, num_beams=3, length_penalty=0.0),
        read=flamingo_vqa_text,
    )


def describe(max_new_tokens: int = 64) -> PromptTemplate:
    """The request InfiMM saw before captions in multi-task training; greedy."""
    return PromptTemplate(
        ask="{{ images }}" + DESCRIBE, decoding=Decoding(max_new_tokens=max_new_tokens)
    )


def short_answer(max_new_tokens: int = 16, suffix: str = SHORT_ANSWER) -> PromptTemplate:
    """The question, and on a new line the request for a word or phrase; greedy."""
    return PromptTemplate(
        ask="{{ images }}{{ question }}\n" + suffix,
        decoding=Decoding(max_new_tokens=max_new_tokens),
    )


def letter_choice(max_new_tokens: int = 16) -> PromptTemplate:
    """LLaVA's CQM-A template: context if there is any, question, lettered lines, the letter."""
    return PromptTemplate(
        ask="{{ images }}{% if hint %}Context: {{ hint }}\n{% endif %}{{ question }}\n"
        "{% for letter in letters %}{{ letter }}. {{ options[loop.index0] }}\n{% endfor %}"
        + LETTER,
        decoding=Decoding(max_new_tokens=max_new_tokens),
    )


def free_answer(max_new_tokens: int = 1024) -> PromptTemplate:
    """The question as it stands; greedy, long."""
    return PromptTemplate(
        ask="{{ images }}{{ question }}", decoding=Decoding(max_new_tokens=max_new_tokens)
    )


def vl_icl(max_new_tokens: int = 15) -> dict[Style, PromptTemplate]:
    """VL-ICL Bench's prompts without a task description, for OpenFlamingo and for chat; greedy."""
    decoding = Decoding(max_new_tokens=max_new_tokens)
    asked = "{{ images }}{{ question }}"
    return templates(
        PromptTemplate(ask=asked + "\nAnswer:", answer=" {{ target }}", decoding=decoding),
        PromptTemplate(ask=asked, decoding=decoding),
    )


def with_ocr(template: PromptTemplate) -> PromptTemplate:
    """The same with the picture's OCR tokens under the question, as LLaVA and lmms-eval put them;
    a picture in which nothing was read adds nothing."""
    tokens = "{% if tags.get('ocr') %}\nReference OCR token: {{ tags['ocr'] }}{% endif %}"
    if "{{ question }}" not in template.ask:
        raise UsageError("--ocr puts tokens under {{ question }}, which the template does not have")
    return replace(template, ask=template.ask.replace("{{ question }}", "{{ question }}" + tokens))


# -- how answers are read before they are scored -------------------------------------------------


def flamingo_caption_text(raw: str) -> str:
    """OpenFlamingo: cut where the model starts the next example, drop double quotes."""
    return raw.split("Output", 1)[0].replace('"', "").strip()


def flamingo_vqa_text(raw: str) -> str:
    """OpenFlamingo: cut where the model starts the next question, then at the first comma."""
    return re.split("Question|Answer|Short", raw, maxsplit=1)[0].split(", ", 1)[0].strip()


# -- filling them in -----------------------------------------------------------------------------

SHOWN = 4096
"""So many rendered examples are kept: a pool of them, and not half a million that are retrieved."""


class Prompter:
    """Builds the prompts of one run in one template.  Examples are rendered once and kept, some
    thousands of them: those that a control changes are many."""

    def __init__(self, style: Style, template: PromptTemplate) -> None:
        self.style: Style = style
        self.template = template
        self._shown: dict[tuple[str, bool], tuple[Sample, tuple[Turn, Turn]]] = {}

    def __call__(
        self, sample: Sample, shots: Sequence[Sample] = (), *, text_only: bool = False
    ) -> Prompt:
        """The question after its examples; ``text_only`` takes the pictures out of the examples
        (the family's zero-shot prompt) and leaves everything else as it is."""
        turns = self.examples(shots, text_only=text_only)
        turns.append(Turn("user", fill(self.template.ask, sample)))
        return Prompt(self.style, tuple(turns), self.template.system, self.template.document)

    def examples(self, shots: Sequence[Sample], *, text_only: bool = False) -> list[Turn]:
        """The turns that show the examples, as they stand before a question."""
        return [turn for shot in shots for turn in self._example(shot, text_only)]

    @property
    def fingerprint(self) -> str:
        """Names the template by its templates, search and reading."""
        template = self.template
        said = (
            self.style,
            template.system,
            template.ask,
            template.answer,
            repr(template.decoding),
            template.read.__qualname__,
            *(f"never {text}" for text in template.decoding.banned),
            *((repr(template.document),) if template.document != Document() else ()),
        )
        return sha256("\0".join(said).encode()).hexdigest()[:12]

    def _example(self, shot: Sample, text_only: bool) -> tuple[Turn, Turn]:
        known, turns = self._shown.pop((shot.id, text_only), (None, None))
        same = known is shot or known == shot  # an id may come with another picture or answer
        if turns is None or not same:
            asked = fill(self.template.ask, shot, pictures=not text_only)
            answered = fill(self.template.answer, shot, pictures=not text_only)
            turns = (Turn("user", asked), Turn("assistant", answered))
        self._shown[shot.id, text_only] = shot, turns
        if len(self._shown) > SHOWN:
            self._shown.pop(next(iter(self._shown)))  # the one that was not shown for longest
        return turns


def fill(template: str, sample: Sample, *, pictures: bool = True) -> Content:
    """Render a template; pictures come out as pictures, wherever the template put them.

    Inside the template a picture is a mark that no text can contain, so nothing a dataset says
    can turn into one.
    """
    placed: list[Image] = []

    def mark(image: Image) -> str:
        if not pictures:
            return ""
        placed.append(image)
        return f"{_OPEN}{len(placed) - 1}{_CLOSE}"

    def text(content: Content) -> str:
        return "".join(_clean(part) if isinstance(part, str) else mark(part) for part in content)

    texts = {
        "images": "".join(map(mark, sample.images)),
        "question": text(sample.question),
        "hint": _clean(sample.hint),
        "target": _clean(sample.target),
        "id": sample.id,
    }
    if (plain := _without_logic(template)) is not None:
        rendered = plain % texts
    else:
        rendered = _render(
            template,
            **texts,
            options=[text(option) for option in sample.options],
            letters=ascii_uppercase[: len(sample.options)],
            references=[_clean(reference) for reference in sample.references],
            tags={key: _clean(value) for key, value in sample.tags.items()},
        )
    if not placed:
        return (rendered,) if rendered else ()
    pieces = _MARK.split(rendered)
    return tuple(
        placed[int(piece)] if position % 2 else piece
        for position, piece in enumerate(pieces)
        if piece
    )


def pictures(samples: Iterable[Sample]) -> Iterator[Image]:
    """Every picture of the samples: before the question, inside it, inside the options."""
    for sample in samples:
        parts = (*sample.images, *sample.question, *(p for o in sample.options for p in o))
        yield from (part for part in parts if isinstance(part, Image))


_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


def _clean(text: str) -> str:
    return text.replace(_OPEN, "").replace(_CLOSE, "") if _OPEN in text or _CLOSE in text else text


@lru_cache(maxsize=256)
def _without_logic(template: str) -> str | None:
    """A template that only names texts of a sample, for the ``%`` operator, which takes a tenth of
    Jinja's time; ``None`` of one that does more."""
    between = _NAMED.sub("", template)
    if "{" in between or "\r" in between:  # Jinja turns every line break into a plain one
        return None
    return _NAMED.sub(r"%(\1)s", template.replace("%", "%%"))


_NAMED = re.compile("{{ *(images|question|hint|target|id) *}}")


def _render(template: str, **values: object) -> str:
    from jinja2 import TemplateError

    try:
        return _compile(template).render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise UsageError(f"prompt template {template[:60]!r}: {error}") from error


def environment() -> Environment:
    """What templates are read in.  They may come from somebody's file: they fill in, and run
    nothing.  ``most_common`` and ``drawn(seed)`` pick one of several texts."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    made.filters |= {"most_common": _most_common, "drawn": _drawn}
    return made


@lru_cache(maxsize=256)
def _compile(template: str) -> Template:
    compiled = environment().from_string(template)
    compiled.globals = dict(compiled.globals)  # as a ChainMap they are walked for every prompt
    return compiled


def _most_common(texts: Sequence[str]) -> str:
    """The most frequent, of equals the first."""
    return Counter(texts).most_common(1)[0][0] if texts else ""


def _drawn(texts: Sequence[str], seed: str) -> str:
    """One of them at random, the same one whenever it is asked for."""
    return Random(seed).choice(texts) if texts else ""


def templates(completion: PromptTemplate, instruct: PromptTemplate) -> dict[Style, PromptTemplate]:
    """The two prompt templates of a benchmark, by style."""
    return {"completion": completion, "instruct": instruct}
