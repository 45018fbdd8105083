"""A chat template that a checkpoint ships (Jinja) becomes a format like the built-in ones.

It knows how transformers calls such templates, and lets no text in a message pass for a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.templates import Pieces, Template, Turn
from infimm_eval.flamingo.tokenizer import Mark, Piece, Tokenizer

SPELT = {Mark.BOS: "<s>", Mark.EOS: "</s>", Mark.END_OF_CHUNK: "<|endofchunk|>"}
"""The marks that a template may write itself, and how.  Pictures come with the messages alone."""


def template_in(folder: Path, settings: Mapping[str, Any], tokenizer: Tokenizer) -> Template | None:
    """The template in ``chat_template.jinja``, or in ``settings``, what tokenizer_config.json
    holds; None where a checkpoint ships none."""
    spelt = {mark: tokenizer.name(mark) for mark in SPELT}
    path = folder / "chat_template.jinja"
    if path.is_file():
        return shipped(path.read_text(encoding="utf-8"), str(path), spelt)
    source = settings.get("chat_template")
    if source is None:
        return None
    where = f"the chat_template in {folder / 'tokenizer_config.json'}"
    if not isinstance(source, str):
        raise UsageError(f"{where} should be one template, not a {type(source).__name__}")
    return shipped(source, where, spelt)


def shipped(source: str, where: str, spelt: Mapping[Mark, str] = SPELT) -> Template:
    """A format from Jinja ``source``; ``where`` is what errors call it.

    It gets the conversation as InfiMM's processor would give it: a system turn always, empty
    where there is none.  A ``<s>`` that it puts before everything is left to the tokenizer.
    What the source itself spells as in ``spelt`` is the mark; what a message spells stays text.
    """
    # No message can hold this spelling of a mark, which is made up for the occasion.
    seal = uuid4().hex
    spelling = {mark: f"\0{seal}{mark.name}\0" for mark in Mark}
    marks = {written: mark for mark, written in spelling.items()}
    for mark, name in spelt.items():
        source = source.replace(name, spelling[mark])
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    try:
        compiled = environment.from_string(source)
    except TemplateError as error:
        raise UsageError(f"{where} is not a template: {error}") from error

    def render(system: Pieces | None, turns: Sequence[Turn]) -> Iterator[Piece]:
        messages = [
            {"role": turn.role, "content": _written(turn.pieces, spelling)}
            for turn in (Turn("system", system or ()), *turns)
        ]
        try:
            text = compiled.render(
                messages=messages,
                add_generation_prompt=True,
                bos_token=spelling[Mark.BOS],
                eos_token=spelling[Mark.EOS],
            )
        except TemplateError as error:
            raise UsageError(f"{where} refuses this conversation: {error}") from error
        except Exception as error:  # a template is a program and can fail like any other
            kind = type(error).__name__
            raise UsageError(f"{where} fails at this conversation: {kind}: {error}") from error
        text = text.removeprefix(spelling[Mark.BOS])
        for part in re.split(f"(\0{seal}[A-Z_]+\0)", text):
            if part:
                yield marks.get(part, part)

    return Template(render)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _written(pieces: Iterable[Piece], spelling: Mapping[Mark, str]) -> str:
    return "".join(piece if isinstance(piece, str) else spelling[piece] for piece in pieces)
