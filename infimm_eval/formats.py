"""Prompt formats: how a family of models is asked by those who published it, as values.

Knows the families' templates, searches and ways of reading; knows no benchmark by name, only what
it asks for, and no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from infimm_eval import prompts
from infimm_eval.errors import UsageError, unknown
from infimm_eval.types import Decoding, Document, Kind, PromptTemplate, Style, Task

Templates: TypeAlias = Mapping[Style, PromptTemplate]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFormat:
    """How a family is asked.  All but ``infimm`` write documents, whatever the model's style."""

    name: str
    templates: Mapping[Kind, Templates] = field(default_factory=dict)
    """By what is asked.  A kind that has one style is asked in it by models of both."""
    text_only: int | None = None
    """Examples without pictures at 0 shots; ``None``: two for ``completion``, none for
    ``instruct``."""
    text_only_support: str | None = None
    """How these are selected, where that is not as shots are."""
    retrieves_text_only: bool = False
    """Where shots are retrieved, these are, too: zero-shot is retrieval then."""

    def of(self, task: Task) -> Templates:
        """The task's templates in this format; empty where the family asks nothing like it."""
        if self is INFIMM:
            return task.templates
        if self.name in task.formats:
            return task.formats[self.name]
        return self.templates.get(task.kind, {}) if task.kind else {}

    def longer(self, kind: Kind, max_new_tokens: int) -> Templates:
        """The templates of a kind for longer answers."""
        return {
            style: replace(t, decoding=replace(t.decoding, max_new_tokens=max_new_tokens))
            for style, t in self.templates[kind].items()
        }


@dataclass(frozen=True, slots=True)
class Form:
    """How one benchmark is asked."""

    format: PromptFormat
    style: Style
    template: PromptTemplate

    @property
    def written(self) -> Style:
        """The style that its prompts are written in."""
        return self.style if self.format is INFIMM else "completion"


def find(name: str) -> PromptFormat:
    """The format of that name; ``UsageError`` where there is none."""
    if name not in FORMATS:
        raise unknown("prompt format", name, FORMATS)
    return FORMATS[name]


def form(task: Task, format: PromptFormat, style: Style, *, wanted: Style | None = None) -> Form:
    """The task in a format, for a model of this style or in the one that is ``wanted``.

    ``UsageError`` where the format has no template for it.
    """
    found = format.of(task)
    if not found:
        able = ", ".join(other.name for other in FORMATS.values() if other.of(task))
        asked = f"one of the kind {task.kind!r}" if task.kind else "one that states no kind"
        raise UsageError(
            f"{task.name}: the prompt format {format.name} has no template for a benchmark like "
            f"this, {asked}; --prompt-format {able} has"
        )
    alone = next(iter(found)) if len(found) == 1 and format is not INFIMM else style
    chosen = wanted or alone
    if chosen not in found:
        known = ", ".join(found)
        raise UsageError(f"{task.name} has no {chosen} prompt template; it has {known}")
    return Form(format, chosen, found[chosen])


def recorded(task: Task, protocol: Mapping[str, Any]) -> PromptTemplate:
    """The template that a protocol names, of which older ones know one format.  ``UsageError``
    where the task has it no more."""
    format = find(protocol.get("prompt_format", INFIMM.name))
    return form(task, format, protocol["prompt_style"], wanted=protocol["prompt_style"]).template


# -- OpenFlamingo --------------------------------------------------------------------------------


def _openflamingo(document: Document, *, caption_penalty: float) -> dict[Kind, Templates]:
    caption, question = prompts.flamingo_caption(), prompts.flamingo_vqa()
    search = replace(caption.decoding, length_penalty=caption_penalty)
    answered: Templates = {"completion": replace(question, document=document)}
    return {
        "caption": {"completion": replace(caption, decoding=search, document=document)},
        "short answer": answered,
        "yes or no": answered,
    }


_JOINED = Document(after_answer="")
"""Examples follow each other without a line break."""


# -- Otter ---------------------------------------------------------------------------------------

_OTTER = Document(before_answer="<answer>", after_answer="")


_OTTER_CAPTION = PromptTemplate(
    ask="{{ images }}User: What does the image describe? GPT:",
    decoding=Decoding(max_new_tokens=64, num_beams=3, length_penalty=-2.0),
    read=prompts.flamingo_caption_text,
    document=_OTTER,
)
_OTTER_VQA = PromptTemplate(
    ask="{{ images }}User: {{ question }} Please answer in short words. GPT:",
    decoding=Decoding(max_new_tokens=5, num_beams=3, length_penalty=0.0),
    read=prompts.flamingo_vqa_text,
    document=_OTTER,
)


def otter_request(request: str) -> PromptTemplate:
    """What is asked in Otter's own benchmarks, as a template: beam 3, 512 tokens."""
    return PromptTemplate(
        ask="{{ images }}User: " + request + " GPT:",
        decoding=Decoding(max_new_tokens=512, num_beams=3),
        document=_OTTER,
    )


OTTER_OPTIONS = "{% for letter in letters %}\n{{ letter }}. {{ options[loop.index0] }}{% endfor %}"


# -- IDEFICS -------------------------------------------------------------------------------------

_CAPTION_ENDS = ("Caption", "Description", "User", "Image", "task")
_ANSWER_ENDS = (
    *("Question", "User", "Image", "task"),
    *("What", "Who", "When", "Where", "Why", "How"),
)


def idefics_caption_text(raw: str) -> str:
    """IDEFICS: cut where the model starts to speak of another picture."""
    return _cut(raw, _CAPTION_ENDS)


def idefics_vqa_text(raw: str) -> str:
    """IDEFICS: cut where the model starts another question, and so at every ``What`` or ``How``."""
    return _cut(raw, _ANSWER_ENDS)


def _cut(raw: str, ends: Sequence[str]) -> str:
    return re.split("|".join(ends), raw, maxsplit=1)[0].strip()


def _idefics_search(ends: tuple[str, ...]) -> Decoding:
    """Greedy, 15 tokens; a line break by itself is banned."""
    return Decoding(max_new_tokens=15, stop=ends, banned=("\n", "\n\n"))


def idefics_vqa(
    system: str = "Instruction: provide an answer to the question. Use the image to answer.",
) -> PromptTemplate:
    """IDEFICS' question prompt, search and reading; a shot shows the most frequent of its
    answers."""
    return PromptTemplate(
        system=system,
        ask="Image:{{ images }}Question: {{ question }} Answer:",
        answer=" {{ references | most_common or target }}",
        decoding=_idefics_search(_ANSWER_ENDS),
        read=idefics_vqa_text,
    )


_CAPTION = PromptTemplate(
    ask="Image:{{ images }}Caption:",
    answer=" {{ references | drawn(id) or target }}",
    decoding=_idefics_search(_CAPTION_ENDS),
    read=idefics_caption_text,
)
"""A shot shows one of its captions, drawn once and for all."""

_CHAT_CAPTION = replace(
    _CAPTION,
    ask="User:{{ images }}Describe the image briefly.",
    document=Document("<end_of_utterance>\nAssistant:", "<end_of_utterance>\n"),
)


# -- all of them ---------------------------------------------------------------------------------

INFIMM = PromptFormat(name="infimm")
"""Each benchmark's own templates: OpenFlamingo's document for base models, the requests of InfiMM's
multi-task training for chat models."""

OPENFLAMINGO = PromptFormat(
    name="openflamingo",
    templates=_openflamingo(Document(), caption_penalty=0.0),
    text_only=2,
    retrieves_text_only=True,
)
"""OpenFlamingo's eval since August 2023 (bcf220c)."""

OPENFLAMINGO_2023_06 = PromptFormat(
    name="openflamingo-2023-06",
    templates=_openflamingo(_JOINED, caption_penalty=-2.0),
    text_only=2,
)
"""The same before: no line break between examples, captions with a length penalty of -2."""

OTTER = PromptFormat(
    name="otter",
    templates={
        "caption": {"completion": _OTTER_CAPTION},
        "short answer": {"completion": _OTTER_VQA},
        "yes or no": {"completion": otter_request("{{ question }}")},
        "free answer": {"completion": otter_request("{{ question }}")},
        "choice": {
            "completion": otter_request(
                "{% if hint %}{{ hint }} {% endif %}{{ question }}"
                "{% if letters %} There are several options:" + OTTER_OPTIONS + "{% endif %}"
            )
        },
    },
    text_only=0,
)
"""Otter's public suite for captions and short answers, else its own benchmarks (1e7eb9a)."""

IDEFICS = PromptFormat(
    name="idefics",
    templates={
        "caption": {"completion": _CAPTION, "instruct": _CHAT_CAPTION},
        "short answer": {"completion": idefics_vqa()},
        "yes or no": {"completion": idefics_vqa()},
    },
    text_only=2,
    text_only_support="fixed",
)
"""The evaluation code of IDEFICS (m4, templates 7 and 9); at 0 shots the same two examples stand
before every question."""

FORMATS: Mapping[str, PromptFormat] = {
    format.name: format for format in (INFIMM, OPENFLAMINGO, OPENFLAMINGO_2023_06, OTTER, IDEFICS)
}
