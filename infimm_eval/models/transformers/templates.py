"""A checkpoint's chat template: what it takes, found out by asking it, and a conversation in it.

Knows how the library calls templates; which words are said, and what they mean, is not its
business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

from jinja2 import TemplateError

from infimm_eval.errors import UsageError
from infimm_eval.models.shared.refusals import ASTRAY, one_line
from infimm_eval.types import Content, Image

Said: TypeAlias = Sequence[tuple[str, Content]]
"""Roles and what they say, in order."""
Form: TypeAlias = Literal["parts", "text"]
"""How a template wants what is said: as a list of typed parts, or as text with marks in it."""

REFUSES: tuple[type[Exception], ...] = (*ASTRAY, TemplateError)
"""A template is a program, and can fail like any other."""

NAME = "the checkpoint's chat template"

WORD, FIRST, LAST = "gnu", "emu", "yak"
"""Words that no template has of its own."""


class PromptRefused(Exception):
    """The template takes conversations of this kind, and not this one."""


class ChatTemplate:
    """Writes conversations; ``neutral`` makes text harmless and ``mark`` stands for a picture.

    A system turn that the template refuses or leaves out is said at the beginning of the first user
    turn instead.
    """

    def __init__(
        self,
        processor: Any,
        mark: str,
        neutral: Callable[[str], str],
        options: Mapping[str, Any],
    ) -> None:
        """``options``: what the template is rendered with beside the conversation."""
        self._options = options
        self._processor = processor
        self._mark = mark
        self._neutral = neutral

    def write(self, said: Said, system: str) -> str:
        """The conversation up to where the model is to speak.

        ``UsageError`` where the template takes none of this kind, whatever is said in it;
        ``PromptRefused`` where it takes others.
        """
        shows = any(isinstance(piece, Image) for _, content in said for piece in content)
        form = self._form_with_pictures if shows else self._form
        if form is None:
            raise UsageError(
                f"{NAME} has no place for {'a picture' if shows else 'a question'}"
                f"{self._reason(shows)}; --prompt-style completion writes prompts without it"
            )
        if system:
            said = self._with_system(said, system, form)
        try:
            return self._render(said, form)
        except REFUSES as error:
            plain = [(role, tuple(map(_plain, content))) for role, content in said]
            if (why := self._refusal(plain, form)) is None:
                raise PromptRefused(f"{NAME} refuses it: {one_line(error)}") from error
        roles = ", ".join(role for role, _ in said)
        raise UsageError(
            f"{NAME} refuses a conversation of {roles}: {why}; --prompt-style completion "
            "writes prompts without it"
        )

    @cached_property
    def settings(self) -> Mapping[str, str]:
        """How it is filled in, where that is not by parts and turns."""
        form = self._form_with_pictures
        changes = {"chat_content": "text"} if form == "text" else {}
        if form and not self._hears_system(form):
            changes["system_turn"] = "in the first user turn"
        if self._options:
            changes["chat_template_options"] = json.dumps(self._options, sort_keys=True)
        return changes

    @cached_property
    def end(self) -> str | None:
        """The special token that ends what the model says, where one does."""
        turns = [("user", (WORD,)), ("assistant", (LAST,))]
        try:
            text = self._render(turns, self._form or "parts", asks=False)
        except REFUSES:  # a template of prompts alone
            return None
        left = text.rpartition(LAST)[2].lstrip()
        added = [str(token) for token in self._processor.tokenizer.added_tokens_decoder.values()]
        return max((token for token in added if left.startswith(token)), key=len, default=None)

    @cached_property
    def _form(self) -> Form | None:
        return self._first_form(())

    @cached_property
    def _form_with_pictures(self) -> Form | None:
        return self._first_form((_PICTURE,))

    def _first_form(self, shown: Content) -> Form | None:
        """The first in which words arrive as such, and a picture leaves a trace."""
        for form in _FORMS:
            try:
                bare = self._render([("user", (WORD,))], form)
                whole = self._render([("user", (*shown, WORD))], form)
            except REFUSES:
                continue
            if WORD in bare and _arrived(whole, WORD) and (not shown or whole != bare):
                return form
        return None

    def _reason(self, shows: bool) -> str:
        why = self._refusal([("user", (_PICTURE, WORD) if shows else (WORD,))], "parts")
        return f" ({why})" if why else ""

    def _refusal(self, said: Said, form: Form) -> str | None:
        try:
            self._render(said, form)
        except REFUSES as error:
            return one_line(error)
        return None

    def _with_system(self, said: Said, system: str, form: Form) -> Said:
        if self._hears_system(form):
            return [("system", (system,)), *said]
        (role, content), *later = said
        return [(role, (f"{system}\n", *content)), *later]

    def _hears_system(self, form: Form) -> bool:
        """Whether a system turn arrives."""
        try:
            text = self._render([("system", (FIRST,)), ("user", (WORD,))], form)
        except REFUSES:
            return False
        return _arrived(text, FIRST)

    def _render(self, said: Said, form: Form, *, asks: bool = True) -> str:
        turns = [{"role": role, "content": self._content(part, form)} for role, part in said]
        if form == "parts":
            writer, chosen = self._processor, {}
        else:  # the processor's own would make parts of it
            template = self._processor.chat_template
            named = template.get("default") if isinstance(template, dict) else template
            writer, chosen = self._processor.tokenizer, {"chat_template": named}
        return str(
            writer.apply_chat_template(
                turns, add_generation_prompt=asks, tokenize=False, **chosen, **self._options
            )
        )

    def _content(self, content: Content, form: Form) -> list[dict[str, str]] | str:
        if form == "text":
            return "".join(
                self._mark if isinstance(piece, Image) else self._neutral(piece)
                for piece in content
            )
        return [
            {"type": "image"}
            if isinstance(piece, Image)
            else {"type": "text", "text": self._neutral(piece)}
            for piece in content
        ]


_FORMS: tuple[Form, ...] = ("parts", "text")


class _Picture(Image):
    """Stands where a picture would."""

    __slots__ = ()
    name = key = "a picture"

    def read(self) -> bytes:
        raise OSError("there is none")


_PICTURE = _Picture()


def _plain(piece: str | Image) -> str | Image:
    return piece if isinstance(piece, Image) else WORD


def _arrived(text: str, word: str) -> bool:
    """As itself, and not inside a list that was written out as Python has it."""
    return word in text and "'type'" not in text
