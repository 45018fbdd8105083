"""Conversations in the model card's form become tensors, and ids become text again.

It knows transformers' conventions; formats, tokens and pixels are the ``Processor``'s.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerFast

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.files import read_json_if_there, write_json
from infimm_eval.flamingo.hf.opening import folder_of, refuse
from infimm_eval.flamingo.pictures import Source
from infimm_eval.flamingo.processor import Encoded, Processor
from infimm_eval.flamingo.templates import TEMPLATES, Turn
from infimm_eval.flamingo.tokenizer import IMAGE, Mark, Piece

_ROLES = ("system", "user", "assistant")
_FILES = (
    "tokenizer*",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "preprocessor_config.json",
)


class InfiMMProcessor:
    """Conversations in the card's form become ``input_ids``, ``attention_mask``, ``batch_images``.

    ``faithful=True`` to ``from_pretrained`` gives the ids of the original processor, with what it
    did by mistake (see ``Processor.encode_chat``).
    """

    def __init__(
        self, processor: Processor, *, faithful: bool = False, folder: Path | None = None
    ) -> None:
        """``folder`` is where the processor's files are, for ``save_pretrained``."""
        self.processor = processor
        self.faithful = faithful
        self.folder = folder
        tokenizer = processor.tokenizer
        self.tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer.raw,
            eos_token=tokenizer.name(Mark.EOS),
            pad_token=tokenizer.raw.id_to_token(tokenizer.pad_id),
            padding_side="left",
            model_max_length=processor.context,
            clean_up_tokenization_spaces=False,
        )

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, faithful: bool = False, **hub: Any
    ) -> InfiMMProcessor:
        """From a checkpoint's own files; ``hub`` as for the model."""
        folder = folder_of(name_or_path, hub)
        return cls(Processor.load(folder), faithful=faithful, folder=folder)

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """The files it was read from, beside a model's or alone; ``faithful`` is not a file's.

        preprocessor_config.json is made to name the class and the chat format, which is otherwise
        known from the model's config.json.
        """
        refuse("a processor is saved without", options, "it takes the folder alone")
        if self.folder is None:
            raise UsageError("a processor that came from no checkpoint has no files to save")
        to = Path(folder)
        to.mkdir(parents=True, exist_ok=True)
        for file in {file for name in _FILES for file in self.folder.glob(name)}:
            if not (to / file.name).exists() or not file.samefile(to / file.name):
                copyfile(file, to / file.name)
        format_ = [name for name, t in TEMPLATES.items() if t is self.processor.template]
        settings = read_json_if_there(self.folder / "preprocessor_config.json") | {
            "processor_class": type(self).__name__,
            "chat_format": (format_ or ["shipped"])[0],
        }
        write_json(to / "preprocessor_config.json", settings)

    def __call__(
        self,
        prompts: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
        *,
        max_length: int | None = None,
        **options: Any,
    ) -> BatchEncoding:
        """One conversation, or several at once, padded on the left.

        A turn is ``{"role": ..., "content": ...}``; content is a string or a list of strings and
        ``{"image": a path, bytes or PIL.Image}``.  ``batch_images`` is float32 (B, I, 1, 3, H, W):
        I the most pictures of a row, slots beyond a row's own zero.  Without any picture, it is
        one black picture, as in the original; there is no tag for it and the model ignores it.

        ``max_length`` is the most tokens a prompt may have, by default the tokenizer's
        ``model_max_length``.  That can be all positions of the language model (LLaMA's 2048): then
        pass less, so that an answer fits behind it.  Of a longer conversation the oldest exchanges
        are left out, and a warning says so; with ``faithful``, its first tokens, without one.
        """
        refuse("a conversation is encoded without", options, "known: max_length")
        if max_length is not None and max_length < 1:
            raise UsageError(f"max_length is {max_length}; it counts from 1")
        rows = [self._row(said, max_length) for said in _conversations(prompts)]
        for number, (encoded, _) in enumerate(rows):
            if encoded.dropped_shots:
                warnings.warn(
                    f"conversation {number} is too long; left out from its beginning: "
                    f"{encoded.dropped_shots} exchange(s), {encoded.dropped_pictures} picture(s)",
                    stacklevel=2,
                )
        ids, mask = self.processor.batch([encoded for encoded, _ in rows], faithful=self.faithful)
        pictures = [[self.processor.pictures(s) for s in sources] for _, sources in rows]
        if not any(pictures):
            pictures[0] = [self.processor.pictures.black()]
        return BatchEncoding(
            {
                "input_ids": ids,
                "attention_mask": mask,
                "batch_images": _side_by_side(pictures),
            }
        )

    def batch_decode(self, ids: Any, skip_special_tokens: bool = False) -> list[str]:
        """The texts of rows of ids."""
        texts: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=skip_special_tokens)
        return texts

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        """The text of one row of ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    @property
    def model_input_names(self) -> list[str]:
        """What a call returns."""
        return ["input_ids", "attention_mask", "batch_images"]

    def _row(self, conversation: Sequence[Any], room: int | None) -> tuple[Encoded, list[Source]]:
        """Ids, and the pictures that are still part of them."""
        sources: list[Source] = []
        turns = [_turn(said, sources) for said in conversation]
        for turn in turns:
            # The original shows every role, as the user's; the chat formats know three.
            if turn.role not in _ROLES and not self.faithful:
                raise unknown("role", str(turn.role), _ROLES)
        encoded = self.processor.encode_chat(turns, max_tokens=room, faithful=self.faithful)
        return encoded, sources[encoded.dropped_pictures :]


def _conversations(prompts: Any) -> list[Sequence[Any]]:
    if not _is_list(prompts) or not prompts:
        raise UsageError(f"a conversation is a list of turns, not {reprlib.repr(prompts)}")
    several: list[Sequence[Any]] = [prompts] if isinstance(prompts[0], Mapping) else list(prompts)
    for conversation in several:
        if not _is_list(conversation):
            raise UsageError(f"a conversation is a list of turns, not {reprlib.repr(conversation)}")
    return several


def _turn(said: Any, sources: list[Source]) -> Turn:
    """Text and marks; the pictures go to ``sources``."""
    if not isinstance(said, Mapping) or said.keys() != {"role", "content"}:
        raise UsageError(f'a turn is {{"role": ..., "content": ...}}, not {reprlib.repr(said)}')
    role, content = said["role"], said["content"]
    if isinstance(content, str):
        return Turn(role, content)
    if not _is_list(content):
        raise UsageError(
            f"the content of a turn is a string or a list, not {reprlib.repr(content)}"
        )
    pieces: list[Piece] = []
    for piece in content:
        if isinstance(piece, str):
            pieces.append(piece)
        elif isinstance(piece, Mapping) and piece.keys() == {"image"}:
            pieces.append(IMAGE)
            sources.append(piece["image"])
        else:
            raise UsageError(
                f'a turn holds strings and {{"image": ...}}, not {reprlib.repr(piece)}'
            )
    return Turn(role, pieces)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _side_by_side(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Rows of (3, H, W) pictures as one (B, I, 1, 3, H, W); short rows end in zeros."""
    shape = next(picture.shape for row in rows for picture in row)
    together = torch.zeros(len(rows), max(map(len, rows)), 1, *shape)
    for row, slots in zip(rows, together, strict=True):
        for picture, slot in zip(row, slots, strict=False):
            slot[0] = picture
    return together
