"""Prompts and pictures become what the model reads: ids, masks and picture tensors.

It knows nothing of benchmarks and nothing of weights; it never shortens a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.checkpoint import find
from infimm_eval.flamingo.files import read_json_if_there
from infimm_eval.flamingo.jinja_template import template_in
from infimm_eval.flamingo.layouts import Layout, layout_at
from infimm_eval.flamingo.layouts.layout import NOTHING, PAD, Told
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.templates import (
    TEMPLATES,
    ChatFormats,
    Template,
    Turn,
    doubled,
    with_media,
)
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Piece, Tokenizer

CONTEXT = 2048
"""Tokens that the original processor allows a prompt, whatever the language model could read."""


class PromptTooLong(UsageError):
    """The question alone, without any shot, does not fit."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt in token ids, and what had to be left out of it.

    Of the pictures that belong to the prompt, the first ``dropped_pictures`` went with the
    ``dropped_shots``; the next ``pictures`` are those that its image tags stand for, in order.
    """

    ids: list[int]
    pictures: int = 0
    dropped_shots: int = 0
    dropped_pictures: int = 0
    tail: str = field(default="", repr=False)
    """The text after the last mark, which ``Tokenizer.continuation`` wants to know."""
    written: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """The same prompt in letters, marks spelled as the tokenizer has them, cut at its pictures."""


class Batch(NamedTuple):
    """Rows of unequal length side by side: ids (B, T) int64; mask (B, T) int64, 0 is padding."""

    ids: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class Processor:
    """One checkpoint's tokenizer, chat format, picture size and room for a prompt."""

    tokenizer: Tokenizer
    pictures: Pictures = field(default_factory=Pictures)
    template: Template = TEMPLATES["zephyr"]
    context: int = CONTEXT

    @classmethod
    def load(cls, folder: Path, told: Told = NOTHING) -> Processor:
        """Everything from the checkpoint's own files, and what the caller ``told`` of them.

        The room is the tokenizer's ``model_max_length``; the chat format, see ``_chat_format``.
        """
        layout = layout_at(folder)
        if layout is None or layout.in_one_folder:
            place, tokenizer, pictures = folder, Tokenizer.load(folder), Pictures.load(folder)
        else:
            parts = find(folder, told=told).parts
            place = parts.tokenizer()
            tokenizer = Tokenizer.load(place, layout.marks(parts.description), PAD)
            pictures = layout.pictures(parts.description)
        settings = read_json_if_there(place / "tokenizer_config.json")
        return cls(
            tokenizer,
            pictures,
            _chat_format(folder, layout, settings, tokenizer),
            _room(place, settings),
        )

    def encode_chat(
        self, turns: Sequence[Turn], *, max_tokens: int | None = None, faithful: bool = False
    ) -> Encoded:
        """A conversation in the model's chat format, up to where the model is to speak.

        A picture is ``<|endofchunk|><image>``.  Where the conversation is longer than
        ``max_tokens`` (the checkpoint's context), whole exchanges -- a user turn and what
        follows it, pictures included -- are left out, oldest first.  The system text and the
        last user turn always stay; ``PromptTooLong`` where they alone do not fit.  A conversation
        needs no picture, and a turn no text; one without turns is a ``UsageError``.

        ``faithful=True`` repeats what InfiMM's own processor did, which published numbers may
        depend on:

        * a turn that is not the user's is said twice, the second time as the user's;
        * ``<image>``, ``<|endofchunk|>``, ``<s>`` and ``</s>`` in a text become the tokens: there
          may then be more image tags than pictures;
        * too long a prompt loses its first tokens, whatever they are, but none of its pictures,
          so that the tags left over stand for the wrong ones;
        * content other than text in a system or assistant turn is an error.

        Without it, single questions without such text give the same ids.  Two things are the
        format's own and stay either way: an empty system turn where there is none, and role names
        that are plain text, so that a question can imitate a turn.
        """
        if not turns:
            raise UsageError("a conversation needs at least one turn")
        room = self.context if max_tokens is None else max_tokens
        if faithful:
            return self._cut_anywhere(self._rendered(doubled(turns)), room)

        head, exchanges = _exchanges(turns)
        prompts = (
            self._rendered([*head, *(turn for exchange in exchanges[first:] for turn in exchange)])
            for first in range(max(1, len(exchanges)))
        )
        return self._longest_that_fits(prompts, room)

    def encode_completion(
        self,
        pieces: Sequence[Piece],
        *,
        head: Sequence[Piece] = (),
        max_tokens: int | None = None,
    ) -> Encoded:
        """An interleaved document that the model continues, in Flamingo's few-shot manner.

        ``pieces`` are text, ``IMAGE`` and ``END_OF_CHUNK``, written one after another with
        nothing between.  A shot ends with ``END_OF_CHUNK`` and the white space after it; what
        follows the last is the question.  Where the document is longer than ``max_tokens``, whole
        shots are left out, oldest first, with their pictures; ``head`` and the question always
        stay, and ``PromptTooLong`` says that they alone do not fit.

        No pieces at all leave the opening token, from which a model says what it likes; a
        tokenizer without one makes that a ``UsageError``.
        """
        room = self.context if max_tokens is None else max_tokens
        shots = _shots(pieces)
        prompts = (
            [*head, *(piece for shot in shots[first:] for piece in shot)]
            for first in range(len(shots))
        )
        encoded = self._longest_that_fits(prompts, room)
        if not encoded.ids:
            raise UsageError("an empty prompt needs a tokenizer with an opening token")
        return encoded

    def batch(self, rows: Sequence[Encoded], *, faithful: bool = False) -> Batch:
        """Rows padded on the left, where generation wants it.

        The original's tokenizer pads on the right, which ``faithful`` repeats; its processor
        takes one prompt at a time and never padded.
        """
        longest = max((len(row.ids) for row in rows), default=0)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_id)
        mask = torch.zeros_like(ids)
        for row, row_ids, row_mask in zip(rows, ids, mask, strict=True):
            length = len(row.ids)
            real = slice(length) if faithful else slice(longest - length, None)
            row_ids[real] = torch.tensor(row.ids, dtype=ids.dtype)
            row_mask[real] = 1
        return Batch(ids, mask)

    def _rendered(self, turns: Sequence[Turn]) -> list[Piece]:
        system = turns[0].pieces if turns and turns[0].role == "system" else None
        said = turns if system is None else turns[1:]
        return list(with_media(self.template.render(system, said), self.template.media))

    def _longest_that_fits(self, prompts: Iterable[list[Piece]], room: int) -> Encoded:
        """The first of ``prompts``, each a shot shorter than the one before, within ``room``."""
        pictures: list[int] = []
        for dropped, prompt in enumerate(prompts):
            ids = self.tokenizer.encode(prompt)
            pictures.append(prompt.count(IMAGE))
            if len(ids) <= room:
                gone = pictures[0] - pictures[-1]
                written = self.tokenizer.spelled(prompt)
                return Encoded(ids, pictures[-1], dropped, gone, _tail(prompt), written)
        raise PromptTooLong(
            f"the question alone takes {len(ids)} tokens, and there is room for {room}"
        )

    def _cut_anywhere(self, prompt: list[Piece], room: int) -> Encoded:
        ids = self.tokenizer.encode(prompt, literal=False)
        opening = len(self.tokenizer.opening)
        if len(ids) > room:
            ids = ids[:opening] + ids[len(ids) - room + opening :]
        written = self.tokenizer.spelled(prompt)
        return Encoded(ids, prompt.count(IMAGE), tail=_tail(prompt), written=written)


def _room(folder: Path, settings: Mapping[str, Any]) -> int:
    """The tokenizer's ``model_max_length``; where it states none, ``CONTEXT``."""
    stated = settings.get("model_max_length")
    if stated is None:
        return CONTEXT
    if type(stated) not in (int, float) or not stated >= 1:
        raise UsageError(
            f"model_max_length in {folder / 'tokenizer_config.json'} should be a number of tokens, "
            f"not {stated!r}"
        )
    # Transformers writes 10^30 where it knows no limit.
    return int(stated) if stated < 1e9 else CONTEXT


def _chat_format(
    folder: Path, layout: Layout[Any] | None, settings: Mapping[str, Any], tokenizer: Tokenizer
) -> Template:
    """The format that ``preprocessor_config.json`` names as ``chat_format``, one of the layout's
    or ``shipped``; else what the layout says of the ``model_type``, see ``ChatFormats``."""
    asked = read_json_if_there(folder / "preprocessor_config.json").get("chat_format")
    config = read_json_if_there(folder / "config.json")
    chat = ChatFormats(TEMPLATES) if layout is None else layout.chat
    standard = chat.standard(str(config.get("model_type", "")))
    chosen = asked or (standard if standard in chat.fixed else "shipped")
    if not isinstance(chosen, str):
        raise UsageError(
            f"chat_format in {folder / 'preprocessor_config.json'} should be a name, not {chosen!r}"
        )
    if chosen != "shipped":
        return chat.template(chosen)
    own = template_in(folder, settings, tokenizer)
    if own is None and asked:
        raise UsageError(f"{folder} asks for its shipped chat template and ships none")
    return own or chat.template(standard)


def _exchanges(turns: Sequence[Turn]) -> tuple[list[Turn], list[list[Turn]]]:
    """The system turn, and the rest cut before every user turn."""
    head = [turn for turn in turns[:1] if turn.role == "system"]
    exchanges: list[list[Turn]] = []
    for turn in turns[len(head) :]:
        if turn.role == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(turn)
    return head, exchanges


def _shots(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """``pieces`` cut after every ``END_OF_CHUNK`` and the white space that follows it."""
    shots: list[list[Piece]] = [[]]
    ended = False
    for piece in pieces:
        if ended and isinstance(piece, str):
            text = piece.lstrip()
            shots[-1].append(piece[: len(piece) - len(text)])
            if not text:
                continue
            piece = text
        if ended:
            shots.append([])
        shots[-1].append(piece)
        ended = piece is END_OF_CHUNK
    return shots


def _tail(prompt: Sequence[Piece]) -> str:
    """The text after the last mark."""
    texts: list[str] = []
    for piece in reversed(prompt):
        if not isinstance(piece, str):
            break
        texts.append(piece)
    return "".join(reversed(texts))
