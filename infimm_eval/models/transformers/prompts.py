"""A prompt as one of transformers' processors wants to read it: chat template or interleaved text.

Knows processors and chat templates; loads nothing and computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from PIL import Image as Pillow

from infimm_eval.models.shared.refusals import ASTRAY
from infimm_eval.models.transformers.templates import ChatTemplate
from infimm_eval.types import Content, Document, Image, Prompt, Style, Turn

Pieces = tuple[str | Image, ...]
"""Text with its marks in it as one piece, or text and pictures in turn, as the processor likes."""


class PromptFormatter(Protocol):
    """How one family of models is written to."""

    @property
    def style(self) -> Style:
        """The style that the checkpoint comes with a format for."""
        ...

    @property
    def prompt_format(self) -> str:
        """The prompt format that the family is evaluated in."""
        ...

    @property
    def marks(self) -> Sequence[str]:
        """What stands for a picture and must not be generated."""
        ...

    @property
    def ends(self) -> Sequence[str]:
        """The tokens that end what the model says in that format."""
        ...

    @property
    def settings(self) -> Mapping[str, str]:
        """How the checkpoint's format is used, where that is not as all others are."""
        ...

    def write(self, prompt: Prompt) -> Pieces:
        """The prompt in the checkpoint's format, pictures in their places.  ``UsageError`` where
        the format has none for a prompt of this kind, ``PromptRefused`` where it has none for this
        one."""
        ...

    def spell(self, written: Pieces) -> tuple[str, ...]:
        """What was written in letters, its opening token too, cut where pictures stand."""
        ...

    def encode(self, written: Sequence[Pieces], shown: Sequence[Sequence[Pillow.Image]]) -> Any:
        """The processor's tensors for a batch, padded on the left; each prompt's pictures in
        order.  No end token stands after the words that are to be continued."""
        ...

    def takes(self, picture: Pillow.Image) -> bool:
        """Whether the processor takes a picture at all."""
        ...


def prompt_formatter(
    processor: Any, template_options: Mapping[str, Any] | None = None
) -> PromptFormatter:
    """IDEFICS-1 takes pictures among its text and has no chat template; all others have marks, and
    a chat template that is rendered with ``template_options`` (``enable_thinking``, say)."""
    if type(processor).__name__ == "IdeficsProcessor":
        return InterleavedFormatter(processor)
    return MarkedFormatter(processor, template_options or {})


def neutral(text: str, special: Sequence[str]) -> str:
    """``text`` with a space inside everything that a tokenizer would take for a special token.

    Processors count picture marks in the text, and one that a question spells out
    (``what does <image> mean?``) fails its whole batch.
    """
    for token in special:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def specials(processor: Any) -> list[str]:
    """Everything longer than a character that the tokenizer takes for a special token."""
    tokenizer = processor.tokenizer
    added = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
    marks = [str(getattr(processor, "image_token", "<image>")), *tokenizer.all_special_tokens]
    return sorted({t for t in [*added, *marks] if len(t) > 1}, key=len, reverse=True)


def closing(tokenizer: Any) -> list[int]:
    """The ids that a tokenizer puts after every text (``add_eos_token``): after a prompt they would
    tell the model that all is said."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a")
    for start in range(len(whole) - len(plain) + 1):
        if plain and whole[start : start + len(plain)] == plain:
            return list(whole[start + len(plain) :])
    return []


def opening(tokenizer: Any) -> str:
    """The token that a tokenizer puts before every text, in letters; "" where it puts none."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a")
    return str(tokenizer.bos_token) if whole[:1] == [tokenizer.bos_token_id] != plain[:1] else ""


def unclosed(inputs: Any, ends: Sequence[int]) -> Any:
    """The processor's tensors without the closing ids of every row, in all that are as long as
    these."""
    ids = inputs["input_ids"]
    count = len(ends)
    if count and all(row == list(ends) for row in ids[:, -count:].tolist()):
        for name, tensor in inputs.items():
            if tensor.shape[:2] == ids.shape:
                inputs[name] = tensor[:, :-count]
    return inputs


def takes(processor: Any, picture: Pillow.Image) -> bool:
    """Whether a processor takes a picture by itself."""
    try:
        processor.image_processor([picture], return_tensors="pt")
    except ASTRAY:
        return False
    return True


class MarkedFormatter:
    """Chat template where the prompt asks for ``instruct``; else text and marks one after
    another, a line break between examples, as the base models of this kind were trained."""

    prompt_format = "infimm"

    def __init__(self, processor: Any, template_options: Mapping[str, Any]) -> None:
        self.processor = processor
        tokenizer = processor.tokenizer
        mark = self._image = str(getattr(processor, "image_token", "<image>"))
        self.marks = tuple(
            token
            for token in (mark, "<fake_token_around_image>", "<|vision_start|>", "<|vision_end|>")
            if token in tokenizer.get_vocab()
        )
        framed = f"<|vision_start|>{mark}<|vision_end|>"
        self._mark = framed if "<|vision_start|>" in self.marks else mark
        self._special = specials(processor)
        self._opening, self._closing = opening(tokenizer), closing(tokenizer)
        self._template = ChatTemplate(
            processor, self._mark, partial(neutral, special=self._special), template_options
        )
        self.takes = partial(takes, processor)

    @property
    def ends(self) -> Sequence[str]:
        """The end of a turn in the chat template."""
        end = self._template.end if self.style == "instruct" else None
        return (end,) if end else ()

    @property
    def settings(self) -> Mapping[str, str]:
        """How the chat template is filled in."""
        return self._template.settings if self.style == "instruct" else {}

    @property
    def style(self) -> Style:
        """``instruct`` where there is a chat template."""
        template = self.processor.chat_template or self.processor.tokenizer.chat_template
        return "instruct" if template else "completion"

    def write(self, prompt: Prompt) -> Pieces:
        """One text with marks in it."""
        if prompt.style == "instruct" and self.style == "instruct":
            said = [(turn.role, turn.content) for turn in prompt.turns]
            return (self._template.write(said, prompt.system),)
        return (self._document(prompt),)

    def spell(self, written: Pieces) -> tuple[str, ...]:
        """As ``PromptFormatter.spell``."""
        text = "".join(map(str, written))
        opened = self._opening and text.startswith(self._opening)
        return tuple(f"{'' if opened else self._opening}{text}".split(self._image))

    def encode(self, written: Sequence[Pieces], shown: Sequence[Sequence[Pillow.Image]]) -> Any:
        """As ``PromptFormatter.encode``."""
        texts = [str(piece) for (piece,) in written]
        opening = self.processor.tokenizer.bos_token
        opened = opening is not None and all(text.startswith(opening) for text in texts)
        inputs = self.processor(
            text=texts,
            images=[list(pictures) for pictures in shown] if any(shown) else None,
            padding=True,
            add_special_tokens=not opened,
            return_tensors="pt",
        )
        return inputs if opened else unclosed(inputs, self._closing)

    def _document(self, prompt: Prompt) -> str:
        text = f"{prompt.system}\n" if prompt.system else ""
        for turn in prompt.turns:
            for piece in turn.content:
                is_mark = isinstance(piece, Image)
                text += self._mark if is_mark else neutral(str(piece), self._special)
            text += _after(turn, prompt.document)
        return text


class InterleavedFormatter:
    """IDEFICS-1: ``User:`` and ``Assistant:`` lines where its tokenizer has the end-of-utterance
    token (the instruct checkpoints), else the bare document."""

    prompt_format = "idefics"

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        special = specials(processor)
        self.marks = ("<image>", "<fake_token_around_image>")
        self._special = sorted({*special, *self.marks}, key=len, reverse=True)
        self._end = "<end_of_utterance>"
        self._opening, self._closing = opening(processor.tokenizer), closing(processor.tokenizer)
        self.takes = partial(takes, processor)
        self.settings: Mapping[str, str] = {}

    @property
    def ends(self) -> Sequence[str]:
        """The end-of-utterance token."""
        return (self._end,) if self.style == "instruct" else ()

    @property
    def style(self) -> Style:
        """``instruct`` where the tokenizer has the end-of-utterance token."""
        known = self._end in self.processor.tokenizer.get_vocab()
        return "instruct" if known else "completion"

    def write(self, prompt: Prompt) -> Pieces:
        """Texts and pictures in turn."""
        chat = prompt.style == "instruct" and self.style == "instruct"
        pieces: list[str | Image] = [f"{prompt.system}\n"] if prompt.system else []
        for turn in prompt.turns:
            if chat:
                pieces += self._said(turn)
            else:
                pieces += [*self._content(turn.content), _after(turn, prompt.document)]
        return _joined([*pieces, "\nAssistant:"] if chat else pieces)

    def spell(self, written: Pieces) -> tuple[str, ...]:
        """As ``PromptFormatter.spell``."""
        texts = [self._opening]
        for piece in written:
            if isinstance(piece, str):
                texts[-1] += piece
            else:
                texts.append("")
        return tuple(texts)

    def encode(self, written: Sequence[Pieces], shown: Sequence[Sequence[Pillow.Image]]) -> Any:
        """As ``PromptFormatter.encode``."""
        prompts = []
        for pieces, pictures in zip(written, shown, strict=True):
            left = iter(pictures)
            prompts.append([p if isinstance(p, str) else next(left) for p in pieces])
        inputs = self.processor(
            text=prompts, padding="longest", add_end_of_utterance_token=False, return_tensors="pt"
        )
        return unclosed(inputs, self._closing)

    def _said(self, turn: Turn) -> list[str | Image]:
        name = "\nUser: " if turn.role == "user" else "\nAssistant: "
        return [name, *self._content(turn.content), self._end]

    def _content(self, content: Content) -> list[str | Image]:
        return [p if isinstance(p, Image) else self._neutral(p) for p in content]

    def _neutral(self, text: str) -> str:
        # The processor would fetch a text that is an address and nothing else.
        return neutral(text, self._special).replace("://", ":// ")


def _after(turn: Turn, document: Document) -> str:
    """What a document has behind a turn, special tokens and all."""
    return document.after_answer if turn.role == "assistant" else document.before_answer


def _joined(pieces: Sequence[str | Image]) -> Pieces:
    """Neighbouring texts as one."""
    joined: list[str | Image] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return tuple(joined)
