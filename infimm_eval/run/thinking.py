"""What a reasoning model thinks aloud, taken off before anything is scored.

Knows the marks that models put around their thoughts; knows no model and no scorer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

Thinking: TypeAlias = Literal["removed", "kept"]

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
"""How thoughts begin and end; a prompt may have said the beginning already."""


def without_thinking(text: str) -> str:
    """What stands behind the last thought.  A thought that never ends leaves no answer.

    >>> without_thinking("<think>A or B?</think> B")
    ' B'
    """
    for begin, end in MARKS:
        if end in text:
            text = text.rpartition(end)[2]
        text = text.partition(begin)[0]
    return text


def reader(read: Callable[[str], str], thinking: Thinking) -> Callable[[str], str]:
    """From a raw answer to the text that is scored: thoughts taken off, then ``read``."""
    if thinking == "kept":
        return read
    return lambda raw: read(without_thinking(raw))
