"""What is wrong with the weights of a checkpoint, as one line.

Knows names and numbers of tensors; which a model needs is for its loader to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from infimm_eval.errors import UsageError

LISTED = 4
"""Keys of each kind named in one message."""

_COUNTS = re.compile(r"(num_hidden|num|n|encoder|decoder)_layers?|layers|depth")


def require_layers(config: Mapping[str, Any], keys: Iterable[str]) -> None:
    """UsageError for a count of layers in a parsed config.json far beyond those that the ``keys``
    of the weights number, before a model is built that no memory holds.  What is a little too
    much is for ``require_fit``, which names what is missing."""
    numbered = 1 + max((int(n) for key in keys for n in re.findall(r"\b\d{1,9}\b", key)), default=0)
    for name, count in _layer_counts(config):
        if count > 4 * numbered + 64:
            raise UsageError(
                f"config.json: {name} is {count}, and the weights number {numbered} layers"
            )


def _layer_counts(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", count) for inner, count in _layer_counts(value))
        elif isinstance(value, int) and _COUNTS.fullmatch(name):
            yield name, value


def require_fit(
    files: Iterable[Path], problems: Mapping[str, Sequence[str]], beside: str = "config.json"
) -> None:
    """UsageError that counts the problems of each kind (``missing``, ``unexpected``, ...) and names
    the first of them, where there are any."""
    if any(problems.values()):
        names = ", ".join(path.name for path in files)
        counted = "; ".join(_counted(kind, them) for kind, them in problems.items() if them)
        raise UsageError(f"{names} and {beside} do not belong together: {counted}")


def require_finite(tensor: Tensor, stored: Tensor, where: str) -> None:
    """UsageError for weights that are no finite numbers, as they are ``stored`` or as the dtype of
    ``tensor`` has them."""
    if finite(tensor):
        return
    if tensor is not stored and finite(stored):
        raise UsageError(
            f"{where} holds numbers too large for {tensor.dtype}; load it with another dtype"
        )
    raise UsageError(f"{where} holds NaN or infinite numbers; download it again")


def finite(tensor: Tensor) -> bool:
    """Whether all of its numbers are; true of none."""
    return not tensor.numel() or all(bound.isfinite() for bound in tensor.aminmax())


def _counted(kind: str, keys: Sequence[str]) -> str:
    more = [f"and {len(keys) - LISTED} more"] if len(keys) > LISTED else []
    return f"{len(keys)} {kind} ({', '.join([*keys[:LISTED], *more])})"
