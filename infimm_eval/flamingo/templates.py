"""A conversation becomes the pieces that a chat model was trained on.

It knows formats, not tokens: nothing here has an id, and no model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Mark, Piece

Content: TypeAlias = str | Sequence[Piece]
"""Text, or text and ``IMAGE`` marks in reading order, joined without separators."""


Pieces: TypeAlias = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said: ``user``, ``assistant`` or, in the first turn, ``system``."""

    role: str
    content: Content

    @property
    def pieces(self) -> Pieces:
        """The content as text and marks."""
        return (self.content,) if isinstance(self.content, str) else tuple(self.content)


@dataclass(frozen=True, slots=True)
class Template:
    """A chat format: ``render`` writes the system text (None: there is none) and the turns,
    up to where the model is to speak; ``media`` is what stands for a picture."""

    render: Callable[[Pieces | None, Sequence[Turn]], Iterator[Piece]]
    media: tuple[Mark, ...] = (END_OF_CHUNK, IMAGE)


@dataclass(frozen=True)
class ChatFormats:
    """How the models of a layout are spoken to.

    `named` are the formats that a checkpoint may ask for.  `of_model_type` says which is the
    standard one for models whose `model_type` contains a word, `otherwise` which for all others.
    A template that the checkpoint ships comes before the standard one, but not before the `fixed`.
    """

    named: Mapping[str, Template]
    of_model_type: tuple[tuple[str, str], ...] = ()
    otherwise: str = "plain"
    fixed: tuple[str, ...] = ()

    def standard(self, model_type: str) -> str:
        """The name of the standard format (``infimm-zephyr`` -> ``zephyr``)."""
        kind = model_type.lower()
        return next((name for word, name in self.of_model_type if word in kind), self.otherwise)

    def template(self, name: str) -> Template:
        """The format of that name.  UsageError where there is none."""
        if name not in self.named:
            raise unknown("chat template", name, self.named)
        return self.named[name]


def with_media(pieces: Iterable[Piece], media: tuple[Mark, ...]) -> Iterator[Piece]:
    """Write ``media`` for every picture."""
    for piece in pieces:
        if piece is IMAGE:
            yield from media
        else:
            yield piece


def doubled(turns: Iterable[Turn]) -> list[Turn]:
    """Every turn that is not the user's, followed by itself as the user's.

    The original processor does this by a missing ``else``: a system text is repeated as a
    question, an answer comes back as if the user had said it.  Content that is not text fails
    there, and here.
    """
    heard: list[Turn] = []
    for turn in turns:
        if turn.role != "user":
            if not isinstance(turn.content, str):
                raise UsageError(
                    f"the original processor allows only text in the {turn.role}'s turns; "
                    "leave out faithful=True to show more"
                )
            heard.append(turn)
        heard.append(Turn("user", turn.content))
    return heard


def _zephyr(system: Pieces | None, turns: Sequence[Turn]) -> Iterator[Piece]:
    """The template in infimm-zephyr's tokenizer_config.json.

    An empty system turn stands where there is none; the role names are plain text to the
    tokenizer; a turn of any other role is not shown, which is what the template does with it.
    """
    for turn in (Turn("system", system or ""), *turns):
        if turn.role in ("system", "user", "assistant"):
            yield from (f"<|{turn.role}|>\n", *turn.pieces, Mark.EOS, "\n")
    yield "<|assistant|>\n"


def _llama2(system: Pieces | None, turns: Sequence[Turn]) -> Iterator[Piece]:
    """LLaMA-2 chat (Touvron et al. 2023, appendix A.3.3): one ``<s> ... </s>`` per exchange."""
    if not turns or turns[0].role != "user":
        raise UsageError("LLaMA-2's chat format begins with a user turn")
    for place, turn in enumerate(turns):
        if _is_users(turn):
            yield from (Mark.BOS, "[INST] ") if place else ("[INST] ",)
            if place == 0 and system is not None:
                yield from ("<<SYS>>\n", *system, "\n<</SYS>>\n\n")
            yield from (*_stripped(turn.pieces), " [/INST]")
        else:
            yield from (" ", *_stripped(turn.pieces), " ", Mark.EOS)


def _stripped(pieces: Pieces) -> Pieces:
    """Without white space at either end, as Meta's own code has it."""
    trimmed = list(pieces)
    if trimmed and isinstance(trimmed[0], str):
        trimmed[0] = trimmed[0].lstrip()
    if trimmed and isinstance(trimmed[-1], str):
        trimmed[-1] = trimmed[-1].rstrip()
    return tuple(trimmed)


_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def _vicuna(system: Pieces | None, turns: Sequence[Turn]) -> Iterator[Piece]:
    """Vicuna 1.1 to 1.5, with the system text it was trained on where none is given."""
    yield from (*((_VICUNA_SYSTEM,) if system is None else system), " ")
    for turn in turns:
        if _is_users(turn):
            yield from ("USER: ", *turn.pieces, " ")
        else:
            yield from ("ASSISTANT: ", *turn.pieces, Mark.EOS)
    yield "ASSISTANT:"


def _plain(system: Pieces | None, turns: Sequence[Turn]) -> Iterator[Piece]:
    """An interleaved document: what a model without a chat format continues."""
    yield from (*system, "\n") if system else ()
    for turn in turns:
        yield from turn.pieces
        if not _is_users(turn):
            yield from (END_OF_CHUNK, "\n")


def _is_users(turn: Turn) -> bool:
    if turn.role not in ("user", "assistant"):
        raise unknown("role", turn.role, ("user", "assistant"))
    return turn.role == "user"


TEMPLATES = {
    "zephyr": Template(_zephyr),
    "llama2": Template(_llama2),
    "vicuna": Template(_vicuna),
    "plain": Template(_plain, media=(IMAGE,)),
}
"""Chat formats by name.

``zephyr`` is InfiMM-Zephyr's own.  The templates of InfiMM's two 13B models were never seen: where
their checkpoints ship none, ``llama2`` and ``vicuna`` are the standard ones of their language
models, with InfiMM's marks for a picture.  ``plain`` writes an answer as Flamingo's completions do,
``<|endofchunk|>`` after it.
"""
