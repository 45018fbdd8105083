"""How a layout's checkpoints call the parameters of a model: data, and its reading in both ways.

Knows nothing of files or tensors.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class KeyMap:
    """Between a model's parameter names and the keys of a checkpoint.

    All but `tied` are regular expressions.  `names` turn a parameter's name into its key, every
    one that matches, in this order.  Where a key matches one of `split`, the checkpoint holds the
    parameter's rows in equal parts under those keys instead (queries, keys and values of a fused
    projection).  `aliases` turn other spellings of a key into the one above; keys that match one
    of `ignored` are passed over.  `tied` names the key that a key repeats in models which have no
    such parameter (an output table that is the embedding table).
    """

    names: tuple[tuple[str, str], ...] = ()
    split: tuple[tuple[str, tuple[str, ...]], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)

    def keys(self, name: str) -> tuple[str, ...]:
        """The key of a parameter, or those of its parts in the order of their rows."""
        for pattern, key in self.names:
            name = re.sub(pattern, key, name)
        for pattern, parts in self.split:
            if re.search(pattern, name):
                return tuple(re.sub(pattern, part, name) for part in parts)
        return (name,)

    def spelled(self, key: str) -> str:
        """The one spelling of a key."""
        for pattern, spelling in self.aliases:
            key = re.sub(pattern, spelling, key)
        return key

    def canonical(self, key: str, wanted: Container[str] = ()) -> str:
        """The one spelling of a key that `keys` knows, of which a model has `wanted`."""
        key = self.spelled(key)
        return key if key in wanted else self.tied.get(key, key)

    def ignores(self, key: str) -> bool:
        """Whether a checkpoint may hold that key for nothing."""
        return any(re.search(pattern, key) for pattern in self.ignored)
