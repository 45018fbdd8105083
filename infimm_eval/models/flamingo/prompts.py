"""A prompt as a Flamingo reads it: interleaved document or chat, in token ids.

Knows the processor; loads nothing and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from infimm_eval.flamingo.processor import Encoded, Processor
from infimm_eval.flamingo.templates import TEMPLATES
from infimm_eval.flamingo.templates import Turn as Said
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Piece
from infimm_eval.types import Content, Image, Prompt, Style


class PromptFormatter:
    """Writes prompts for one checkpoint's processor."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    @property
    def chat_format(self) -> str:
        """The name of the checkpoint's chat format; ``plain``: it has none."""
        template = self.processor.template
        named = [name for name, known in TEMPLATES.items() if known is template]
        return named[0] if named else "custom"

    @property
    def style(self) -> Style:
        """The style that the checkpoint comes with a format for."""
        return "completion" if self.chat_format == "plain" else "instruct"

    def encode(self, prompt: Prompt, room: int) -> tuple[Encoded, list[Image]]:
        """The prompt in ids, within ``room`` tokens, and the pictures its tags stand for.

        ``PromptTooLong`` where the question alone does not fit.
        """
        room = min(room, self.processor.context)
        images = [p for turn in prompt.turns for p in turn.content if isinstance(p, Image)]
        if prompt.style == "completion":
            head, pieces = document(prompt, self.processor.tokenizer.marked)
            encoded = self.processor.encode_completion(pieces, head=head, max_tokens=room)
        else:
            encoded = self.processor.encode_chat(conversation(prompt), max_tokens=room)
        return encoded, images[encoded.dropped_pictures :]


def document(
    prompt: Prompt, marked: Callable[[str], Piece] = str
) -> tuple[list[Piece], list[Piece]]:
    """A prompt as OpenFlamingo writes it: head line, then ``<image>text answer<|endofchunk|>``
    and a line break for every example, then the question; or with other words between its parts,
    of which ``marked`` knows those that are tokens."""
    between = prompt.document
    pieces: list[Piece] = []
    for turn in prompt.turns:
        pieces += _marked(turn.content)
        if turn.role == "assistant":
            pieces += [END_OF_CHUNK, between.after_answer]
        elif between.before_answer:
            pieces.append(marked(between.before_answer))
    return ([prompt.system, "\n"] if prompt.system else []), pieces


def conversation(prompt: Prompt) -> list[Said]:
    """A prompt as turns of the model's chat format."""
    turns = [Said(turn.role, _marked(turn.content)) for turn in prompt.turns]
    return [Said("system", prompt.system), *turns] if prompt.system else turns


def _marked(content: Content) -> list[Piece]:
    return [IMAGE if isinstance(piece, Image) else piece for piece in content]
