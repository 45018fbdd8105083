"""Nearest neighbours: exact search by cosine, in blocks.

Knows vectors and the rows of a split that share them; has never seen a picture or a text.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""(N, D), each of length 1; may lie in a file that is mapped into memory."""
Numbers: TypeAlias = NDArray[np.int32]

QUERIES, ROWS = 512, 16384
"""How many queries and vectors meet at once: 32 MiB of similarities."""

SPARE = 8
"""Neighbours found beyond those wanted, since a product of blocks rounds in its own way."""


def unit(features: Any) -> Vectors:
    """Vectors (N, D) made as long as 1 (L2).  Those of nothing but zeros stay."""
    array = np.asarray(features, np.float32)
    length = np.linalg.norm(array, axis=1, keepdims=True)
    return np.asarray(array / np.where(length > 0, length, 1), np.float32)


class Neighbours:
    """The rows of a split by the similarity of their vectors to a query's, most similar first.

    Similarity is the dot product in float32.  Of equally similar rows the lower one counts as more
    similar; rows of equal vectors are equally similar, whatever block they came up in.
    """

    def __init__(self, base: Vectors, vector_of_row: Numbers) -> None:
        """``base`` holds the vectors of all rows and queries; ``vector_of_row`` says which is each
        row's, -1 where it has none."""
        self.base = base
        rows = np.flatnonzero(vector_of_row >= 0)
        merged, self._which = _distinct(base, vector_of_row[rows])
        # Rows by vector, ascending: those of vector v are rows[starts[v] : starts[v + 1]].
        self._rows = rows[np.argsort(merged, kind="stable")].astype(np.int32)
        self._starts = np.searchsorted(np.sort(merged), np.arange(len(self._which) + 1))
        self.vector_of = np.full(len(vector_of_row), -1, np.int32)
        """The distinct vector of each row."""
        self.vector_of[rows] = merged
        self._table: dict[int, tuple[Vectors, Numbers]] = {}

    def __len__(self) -> int:
        return len(self._which)

    def search(self, queries: Numbers, width: int) -> None:
        """Find the ``width`` nearest vectors of each query, a row of ``base``; afterwards ``rows``
        knows them."""
        found = nearest(self.base, self._which, queries, min(width, len(self)))
        for query, similar, vectors in zip(queries.tolist(), *found, strict=True):
            self._table[query] = similar, vectors

    def rows(self, query: int) -> Numbers:
        """The rows of the vectors that ``search`` found for a query, most similar first."""
        similar, vectors = self._table[query]
        each = [self._rows[self._starts[v] : self._starts[v + 1]] for v in vectors.tolist()]
        rows = np.concatenate(each) if each else np.empty(0, np.int32)
        alike = np.repeat(similar, [len(some) for some in each])
        ranked: Numbers = rows[np.lexsort((rows, -alike))]
        return ranked

    def sorted(self, query: int, rows: Numbers) -> Numbers:
        """These rows by similarity, most similar first; of equals the order stays."""
        vectors, back = np.unique(self.vector_of[rows], return_inverse=True)
        which = self._which[np.maximum(vectors, 0)][None]
        alike = _products(self.base, which, np.array([query]))[0]
        alike[vectors < 0] = -np.inf
        return rows[np.argsort(-alike[back], kind="stable")]


def nearest(base: Vectors, which: Numbers, queries: Numbers, width: int) -> tuple[Vectors, Numbers]:
    """Of the vectors ``base[which]`` the ``width`` nearest to each of ``base[queries]``: their
    similarities (Q, width) and their places in ``which``, most similar first, of equals the first.
    """
    wide = min(width + SPARE, len(which))
    best = torch.full((len(queries), wide), -torch.inf)
    where = torch.full((len(queries), wide), len(which))
    for start in range(0, len(which), ROWS):
        some = torch.from_numpy(_read(base, which[start : start + ROWS]))
        for first in range(0, len(queries), QUERIES):
            asked = torch.from_numpy(_read(base, queries[first : first + QUERIES]))
            alike = asked @ some.T
            values, places = alike.topk(min(wide, len(some)), dim=1)
            here = slice(first, first + QUERIES)
            merged = torch.cat([best[here], values], 1)
            kept = merged.topk(wide, dim=1)
            best[here] = kept.values
            where[here] = torch.cat([where[here], places + start], 1).gather(1, kept.indices)
    return _ranked(base, which, queries, where.numpy().astype(np.int32), width)


def _ranked(
    base: Vectors, which: Numbers, queries: Numbers, found: Numbers, width: int
) -> tuple[Vectors, Numbers]:
    """The same candidates, compared anew in one and the same order of summing."""
    found = np.sort(found, axis=1)
    similar = np.empty(found.shape, np.float32)
    for part in _parts(len(queries), found.shape[1], base.shape[1]):
        similar[part] = _products(base, which[found[part]], queries[part])
        _unmap(base)
    order = np.argsort(-similar, axis=1, kind="stable")[:, :width]
    return np.take_along_axis(similar, order, 1), np.take_along_axis(found, order, 1)


def _products(base: Vectors, which: Numbers, queries: Numbers) -> Vectors:
    """Similarities (Q, K) of base vectors ``which`` (Q, K) to those of ``queries``: a sum of its
    own for each pair, so that equal vectors are equally similar to the last bit."""
    product = np.asarray(base[which]) * np.asarray(base[queries])[:, None]
    return np.asarray(product.sum(-1), np.float32)


def _parts(count: int, width: int, size: int) -> Iterator[slice]:
    """Slices of queries whose candidates take 16 MiB together."""
    step = max(1, (1 << 22) // max(1, width * size))
    return (slice(start, start + step) for start in range(0, count, step))


def _read(base: Vectors, places: Numbers) -> Vectors:
    """A copy of some vectors, of which nothing stays mapped."""
    copied = np.asarray(base[places])
    _unmap(base)
    return copied


def _unmap(base: Vectors) -> None:
    """Let go of the pages of a mapped file that were read: they stay in the system's cache, and
    count as nobody's memory."""
    mapped = getattr(base, "_mmap", None)
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def _distinct(base: Vectors, vectors: Numbers) -> tuple[Numbers, Numbers]:
    """Which distinct vector each row has, numbered by first rows, and where in ``base`` each is:
    two places with equal numbers are one vector."""
    met: dict[bytes, int] = {}
    number: dict[int, int] = {}
    which: list[int] = []
    places = np.array(list(dict.fromkeys(vectors.tolist())), np.int32)
    for start in range(0, len(places), QUERIES):
        some = places[start : start + QUERIES]
        # -0 and 0 are equal numbers.
        for place, vector in zip(some.tolist(), _read(base, some) + np.float32(0), strict=True):
            digest = blake2b(vector.tobytes(), digest_size=16).digest()
            number[place] = met.setdefault(digest, len(met))
            if len(met) > len(which):
                which.append(place)
    merged = np.fromiter((number[place] for place in vectors.tolist()), np.int32, len(vectors))
    return merged, np.array(which, np.int32)
