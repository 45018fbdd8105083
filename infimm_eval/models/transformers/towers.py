"""What the vision towers of the transformers library take and give, picture by picture.

Knows kinds of arguments and outputs, not models; computes nothing with a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from hashlib import sha256
from typing import Any, TypeAlias

import torch
from torch import Tensor

Row: TypeAlias = dict[str, Tensor]
"""A picture, or one tile of it, as the tower takes it: its part of each tensor, by argument."""


def cut(arguments: Mapping[str, Any]) -> list[Row] | None:
    """A tower's arguments picture by picture; ``None`` where they are of no known kind.

    Known are patches of all pictures one after another with their grids (Qwen-VL); pictures
    prompt by prompt, the shorter prompts filled up with zeros, which is how their models find out
    (IDEFICS 2 and 3, SmolVLM); and one row after another in every tensor (all others).
    """
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    pixels = tensors.get("pixel_values")
    if pixels is None or not all(map(_plain, settings_of(arguments).values())):
        return None
    others = set(tensors) - {"pixel_values"}
    if pixels.dim() == 2 and others == {"image_grid_thw"}:
        grids = tensors["image_grid_thw"]
        patches = grids.prod(-1).tolist()
        if sum(patches) != len(pixels):
            return None
        parts = zip(torch.split(pixels, patches), grids, strict=True)
        return [{"pixel_values": part, "image_grid_thw": grid[None]} for part, grid in parts]
    if pixels.dim() == 5 and others <= {"pixel_attention_mask"}:
        flat = {name: tensor.flatten(0, 1)[:, None] for name, tensor in tensors.items()}
        return [row for row in _rows(flat) if row["pixel_values"].any()]
    if pixels.dim() > 2 and all(t.shape[:1] == pixels.shape[:1] for t in tensors.values()):
        return _rows(tensors)
    return None


_ASIDE = {"return_dict", "use_cache", "tokenizer"}
"""What changes no feature; some versions of the library hand all of a call's words on."""


def settings_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that are no tensors and may change what the tower makes of those that are."""
    return {
        name: value
        for name, value in arguments.items()
        if not isinstance(value, Tensor) and name not in _ASIDE and value is not None
    }


def _rows(tensors: Mapping[str, Tensor]) -> list[Row]:
    count = len(tensors["pixel_values"])
    return [{name: tensor[i : i + 1] for name, tensor in tensors.items()} for i in range(count)]


def joined(rows: Sequence[Row]) -> Row:
    """Rows of equal shapes as one call's arguments."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, int) for item in value)
    return isinstance(value, str | int | float)


def digest_of(row: Row, settings: Mapping[str, Any]) -> str:
    """A row's digest under these settings, without what it was padded with where another argument
    tells the tower how much of it is the picture: the padding depends on the company a picture is
    in."""
    digest = sha256(repr(sorted(settings.items())).encode())
    padded = bool({"pixel_attention_mask", "image_sizes"} & set(row))
    for name, tensor in sorted(row.items()):
        part = _unpadded(tensor.cpu()) if padded and name != "image_sizes" else tensor.cpu()
        digest.update(f"{name} {part.dtype} {tuple(part.shape)} ".encode())
        digest.update(part.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unpadded(tensor: Tensor) -> Tensor:
    """Without the zeros that it ends with, in every direction."""
    for dim in range(1, tensor.dim()):
        filled = tensor.ne(0).transpose(0, dim).flatten(1).any(1).nonzero()
        tensor = tensor.narrow(dim, 0, int(filled[-1]) + 1 if len(filled) else 0)
    return tensor


class Unfamiliar(Exception):
    """A tower that gives something else than one tensor, or one a layer, for each row."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a model wants its features: as a tensor or one by one, in which kind of output."""

    kind: type[Any]
    stacked: bool
    layers: int

    def output(self, features: Sequence[Tensor]) -> Any:
        """Of features (layers + 1, V, D), the first of which is the end of the tower."""
        pooled = [each[0] for each in features]
        fields: dict[str, Any] = {"pooler_output": torch.stack(pooled) if self.stacked else pooled}
        if self.layers:
            later = range(1, self.layers + 1)
            fields["deepstack_features"] = [[each[n] for each in features] for n in later]
        # Of some versions the kind has no such field, and models set it all the same.
        named = {field.name for field in dataclass_fields(self.kind)}
        output = self.kind(**{name: value for name, value in fields.items() if name in named})
        for name in fields.keys() - named:
            setattr(output, name, fields[name])
        return output


_UNUSED = {"last_hidden_state", "hidden_states", "attentions"}
"""What outputs hold beside what models use of them."""


def taken(output: Any, count: int) -> tuple[Form, list[Tensor]]:
    """The form of a tower's output for ``count`` rows, and each row's features (layers + 1, V, D);
    ``Unfamiliar`` where it holds anything else that could matter."""
    pooled = getattr(output, "pooler_output", None)
    if pooled is None or set(output) - _UNUSED - {"pooler_output", "deepstack_features"}:
        raise Unfamiliar
    later = list(getattr(output, "deepstack_features", None) or [])
    layers = [_by_row(layer, count) for layer in (pooled, *later)]
    each = list(zip(*layers, strict=True))
    if not all(map(_alike, each)):
        raise Unfamiliar
    form = Form(type(output), isinstance(pooled, Tensor), len(later))
    return form, [torch.stack(tensors) for tensors in each]


def _by_row(layer: Any, count: int) -> Sequence[Any]:
    """Features that come prompt by prompt are as many for every picture."""
    if len(layer) == count:
        return list(layer)
    tokens = torch.cat(list(layer)) if _tensors(layer) else torch.empty(0)
    if isinstance(layer, Tensor) or not len(tokens) or len(tokens) % count:
        raise Unfamiliar
    return list(torch.split(tokens, len(tokens) // count))


def _tensors(layer: Any) -> bool:
    return all(isinstance(part, Tensor) and part.dim() for part in layer)


def _alike(tensors: Sequence[Any]) -> bool:
    first = tensors[0]
    return all(isinstance(other, Tensor) and other.shape == first.shape for other in tensors)


def close(one: Tensor, other: Tensor) -> bool:
    """As close as the same numbers come in another order of summing; accelerators round what they
    convolve in float32 to ten bits by default."""
    exact = one.dtype == torch.float32 and one.device.type == "cpu"
    allowed = 1e-3 if exact else 0.05
    if one.shape != other.shape:
        return False
    return bool((one - other).abs().max() <= allowed * other.abs().max())
