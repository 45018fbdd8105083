"""How a model's format frames a prompt: chat template, special tokens, line breaks.

What was read is the prompt's own words with something around them, and that something is the same
for thousands of prompts: it is kept once, with numbers for the words.  Unfolded it gives back what
was read to the letter, whatever it was.  Knows no format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from infimm_eval.types import Prompt

_RECENT = 8


class Frames:
    """Folds prompts one after another; a frame that fitted before is tried first, so that words
    which also occur around them do not make a frame of their own."""

    def __init__(self) -> None:
        self._recent: list[str] = []

    def of(self, prompt: Prompt, written: Sequence[str]) -> str | None:
        """The frame of a prompt that a model read as ``written``, cut at its pictures; ``None``
        of one that it keeps to itself."""
        if not written:
            return None
        words = [prompt.system, *_words(prompt)]
        known = (frame for frame in self._recent if unfold(frame, words) == tuple(written))
        frame = next(known, None) or fold(words, written)
        self._recent = [frame, *(other for other in self._recent if other != frame)][:_RECENT]
        return frame


def fold(words: Sequence[str], written: Sequence[str]) -> str:
    """JSON: texts as they are, ``n`` for the n-th of ``words`` (without white space around it),
    ``null`` for a picture.  Words are looked for from the end, since what is left out is shots at
    the beginning."""
    parts: list[str | int | None] = []
    left = [(number, word.strip()) for number, word in enumerate(words) if word.strip()]
    for at in reversed(range(len(written))):
        text = written[at]
        while left:
            number, word = left[-1]
            found = text.rfind(word)
            if found < 0 and any(word in earlier for earlier in written[:at]):
                break
            left.pop()
            if found >= 0:
                parts += [text[found + len(word) :], number]
                text = text[:found]
        parts += [text, None] if at else [text]
    kept = [part for part in reversed(parts) if part != ""]
    return json.dumps(kept, separators=(",", ":"))  # ASCII: no database takes half a pair


def unfold(frame: str, words: Sequence[str]) -> tuple[str, ...]:
    """What was read, cut at its pictures."""
    texts = [""]
    for part in json.loads(frame):
        if part is None:
            texts.append("")
        elif isinstance(part, str):
            texts[-1] += part
        else:  # a frame may be tried on a shorter prompt
            texts[-1] += words[part].strip() if part < len(words) else ""
    return tuple(texts)


def _words(prompt: Prompt) -> Iterator[str]:
    return (part for turn in prompt.turns for part in turn.content if isinstance(part, str))
