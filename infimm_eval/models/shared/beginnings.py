"""Beginnings that several prompts share, found in token ids and picture digests.

Nobody has to say that examples are the same; computes nothing with a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

BLOCK = 16
"""Beginnings are compared in steps of so many tokens."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first ``length`` tokens of a prompt; equal ``name``, equal numbers inside the model."""

    name: bytes
    length: int


def beginnings(ids: Sequence[int], image_id: int, pictures: Sequence[str]) -> tuple[Prefix, ...]:
    """Every beginning in whole blocks that leaves at least one token to read.

    Each picture tag counts as its picture.  A prompt with a picture anywhere shares nothing with
    one that has none: its gated blocks act on text before the first tag too.
    """
    digest = blake2b(b"pictures" if pictures else b"text", digest_size=16)
    shown = iter(pictures)
    found = []
    for start in range(0, (len(ids) - 1) // BLOCK * BLOCK, BLOCK):
        for token in ids[start : start + BLOCK]:
            digest.update(token.to_bytes(4, "little"))
            if token == image_id:
                digest.update(next(shown).encode())
        found.append(Prefix(digest.digest(), start + BLOCK))
    return tuple(found)


def beginnings_around(
    ids: Sequence[int], pictures: Sequence[tuple[int, int, str]]
) -> tuple[Prefix, ...]:
    """The same where a picture is many tokens, of which none begins without the others: in whole
    blocks, and where a picture begins or ends.  ``pictures`` are from where to where each stands
    among the tokens, and its digest."""
    digest = blake2b(digest_size=16)
    inside = {place for start, end, _ in pictures for place in range(start + 1, end)}
    edges = {place for start, end, _ in pictures for place in (start, end)}
    shown = {start: name for start, _, name in pictures}
    found = []
    for place, token in enumerate(ids):
        if place and place not in inside and (place % BLOCK == 0 or place in edges):
            found.append(Prefix(digest.digest(), place))
        if place in shown:
            digest.update(shown[place].encode())
        digest.update(token.to_bytes(4, "little"))
    return tuple(found)


def shared(
    prompts: Iterable[Sequence[Prefix]], held: Container[bytes], *, worth: int
) -> list[Prefix | None]:
    """For each prompt, the beginning whose single reading saves the most tokens among them all;
    ``None`` where that is fewer than ``worth``.  One that is ``held`` need not be read at all."""
    prompts = list(prompts)
    times = Counter(prefix.name for prompt in prompts for prefix in prompt)

    def saved(prefix: Prefix) -> int:
        return (times[prefix.name] - (prefix.name not in held)) * prefix.length

    best = [max(prompt, key=saved, default=None) for prompt in prompts]
    return [prefix if prefix is not None and saved(prefix) >= worth else None for prefix in best]
