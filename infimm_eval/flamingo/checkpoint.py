"""From a published checkpoint to a model, and back, in its layout's files and names.

Knows nothing of the computation or of families: it matches keys and shapes, all of them or none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.fetching import fetch
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.layouts import Layout, describe, layout_of, name_of
from infimm_eval.flamingo.layouts.layout import NOTHING, Parts, Source, Told
from infimm_eval.flamingo.meta import without_weights
from infimm_eval.flamingo.misfits import require_finite, require_fit, require_layers
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.shards import Wanted, shapes, tensors, weight_files

_Shapes = Mapping[str, tuple[int, ...]]


class Found(NamedTuple):
    """A checkpoint before its weights are read: its folder, its layout and where the parts lie."""

    folder: Path
    layout: Layout[Any]
    parts: Parts
    told: Told


class Weights(NamedTuple):
    """A checkpoint's weights, read and checked, before they are a model's."""

    model: Flamingo
    """What they are for, without numbers of its own."""
    state: dict[str, Tensor]


def find(
    folder_or_hub_id: str | Path, *, revision: str | None = None, told: Told = NOTHING
) -> Found:
    """A checkpoint of any of the `LAYOUTS`, fetched where it is a hub id; UsageError for none."""
    folder = _local(folder_or_hub_id, revision)
    with _named(folder):
        try:
            given = describe(folder)
        except UsageError:
            if (folder / "config.json").is_file():
                weight_files(folder)  # without any, that is what there is to say
            raise
        layout = layout_of(given)
        told.require(layout.takes, name_of(layout))
        return Found(folder, layout, layout.find(folder, given, told), told)


def load(
    folder_or_hub_id: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    **told: Any,
) -> Flamingo:
    """A checkpoint of any of the `LAYOUTS`: `config.json` beside safetensors or `.bin` files, or
    OpenFlamingo's `checkpoint.pt`.

    Weights go one by one to `device` and `dtype`.  `told` are the fields of `Told`, what the files
    do not say: `resampler_heads`, for InfiMM, is needed only where neither the config nor an inner
    width of 512 (8 heads) or 1536 (16) tells.

    UsageError, naming the file, for a folder that is not such a checkpoint, files cut off or
    missing, keys missing, unexpected, misshaped or contradicting each other, and weights that are
    no finite numbers of `dtype`.
    """
    found = find(folder_or_hub_id, revision=revision, told=Told(**told))
    return load_found(found, device=device, dtype=dtype)


def load_found(found: Found, *, device: torch.device | str, dtype: torch.dtype) -> Flamingo:
    """The model of a checkpoint that was found; see `load`."""
    return assembled(read(found, device=device, dtype=dtype))


def assembled(weights: Weights) -> Flamingo:
    """The model, of these very tensors."""
    weights.model.load_state_dict(weights.state, assign=True)
    return weights.model.eval()


def fit(model: Flamingo, weights: Weights) -> bool:
    """Whether a model is what they are for but for its numbers."""
    alike = model.config is not None and model.config == weights.model.config
    state = model.state_dict()
    return alike and all(
        name in weights.state
        and (tensor.shape, tensor.dtype) == (weights.state[name].shape, weights.state[name].dtype)
        for name, tensor in state.items()
    )


@torch.no_grad()
def refill(model: Flamingo, weights: Weights) -> None:
    """Copies weights that `fit` into a model, tensor by tensor, where its own stand: what knows
    their addresses (fused products, recorded steps) stays right.  The weights are used up."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(weights.state.pop(name))


def read(found: Found, *, device: torch.device | str, dtype: torch.dtype) -> Weights:
    """All of a checkpoint's weights, none of them in a model yet; see `load`."""
    layout, sources = found.layout, found.parts.sources
    with _named(found.folder):
        config = layout.read(found.parts.description)
        keys = layout.key_map(config)
        sources = tuple(s if s.keys else replace(s, keys=keys) for s in sources)
        tables = [{path: shapes(path, _wanted(s)) for path in s.files} for s in sources]
        merged = {
            _keys(s).spelled(key): shape
            for s, table in reversed(list(zip(sources, tables, strict=True)))
            for each in table.values()
            for key, shape in each.items()
        }
        require_layers(found.parts.description, merged)
        config = layout.complete(config, merged, found.told)
        with without_weights():
            model = layout.build(config)
        computed = layout.computed(config)
        wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
        _check_keys(sources, tables, wanted, computed)
    state = {name: table.to(device, dtype) for name, table in computed.items()}
    missing = set(wanted)
    for source in sources:
        parameters = {name: wanted[name] for name in missing if source.holds(name)}
        given = _read(source, parameters, torch.device(device), dtype)
        state |= given
        missing -= given.keys()
    return Weights(model, state)


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Errors say which checkpoint they are about."""
    try:
        yield
    except UsageError as error:
        message = str(error)
        raise UsageError(message if str(folder) in message else f"{folder}: {message}") from None


def save_pretrained(model: Flamingo, folder: str | Path) -> None:
    """Writes the model in the layout that its config is of, under the original's keys and in the
    model's own dtype, whatever it was loaded from."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    layout = layout_of(model.config.to_dict())
    layout.save(model, folder, layout.key_map(model.config))


def _local(folder_or_hub_id: str | Path, revision: str | None) -> Path:
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    name = str(folder_or_hub_id)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UsageError(f"{name} is neither a folder nor a hub id of the form owner/name")
    return fetch(name, ["*.json", "tokenizer*", "*.model"], revision=revision)


def _keys(source: Source) -> KeyMap:
    assert source.keys is not None
    return source.keys


def _wanted(source: Source) -> Wanted:
    return Wanted(_keys(source).ignores, source.within)


def _by_key(source: Source, parameters: _Shapes) -> dict[str, tuple[int, ...]]:
    """Parameters' shapes by name -> by the keys of a source."""
    by_key: dict[str, tuple[int, ...]] = {}
    for name, shape in parameters.items():
        match _keys(source).keys(name):
            case (key,):
                by_key[key] = shape
            case parts:
                by_key |= dict.fromkeys(parts, (shape[0] // len(parts), *shape[1:]))
    return by_key


def _check_keys(
    sources: Sequence[Source],
    tables: Sequence[Mapping[Path, _Shapes]],
    wanted: _Shapes,
    computed: Collection[str],
) -> None:
    """One UsageError for the first source that does not fit, which counts the places without a key,
    the keys without a place and the keys of another shape, and names the first of each."""
    left = dict(wanted)  # what no earlier source has
    given: set[str] = set()
    for place, (source, found) in enumerate(zip(sources, tables, strict=True)):
        by_key = _by_key(source, {n: shape for n, shape in wanted.items() if source.holds(n)})
        needed = _by_key(source, {n: shape for n, shape in left.items() if source.holds(n)})
        stored = {
            f"{key} in {path.name}": (_keys(source).canonical(key, by_key), shape)
            for path, table in found.items()
            for key, shape in table.items()
        }
        held = {key for key, _ in stored.values()}
        absent: set[str] = set()
        for name in [name for name in left if source.holds(name)]:
            if lacking := set(_keys(source).keys(name)) - held:
                absent |= lacking if _is_last(sources[place + 1 :], name) else set()
            else:
                del left[name]
                given.add(name)
        if given.isdisjoint(computed):  # one alone was torn from the others
            absent -= {key for name in computed for key in _keys(source).keys(name)}
        problems = {
            "missing": sorted(absent),
            "unexpected": [where for where, (key, _) in stored.items() if key not in by_key],
            "of another shape": [
                f"{where} is {shape}, not {needed[key]}"
                for where, (key, shape) in stored.items()
                if key in needed and not source.fits(key, shape, needed[key])
            ],
        }
        require_fit(found, problems, source.beside)


def _is_last(later: Sequence[Source], name: str) -> bool:
    """Whether a parameter can be in none of those that come after."""
    return not any(each.holds(name) for each in later)


def _read(
    source: Source, parameters: _Shapes, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Those of the parameters that a source has in full."""
    keys, wanted = _keys(source), _by_key(source, parameters)
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for path in source.files:
        for twins, stored in tensors(path, _wanted(source), kept=dtype):
            # Twins of one piece of memory are one parameter: it is looked at once.
            named = {keys.canonical(k, wanted): k for k in twins}
            for name, key in named.items():
                if name not in wanted:  # an earlier source had it
                    continue
                tensor = _converted(stored, device, dtype, f"{path}: {key}")
                if name not in found:
                    found[name], origin[name] = tensor, key
                elif not torch.equal(found[name], tensor):
                    raise UsageError(
                        f"{path}: {key} and {origin[name]} name one parameter and hold different "
                        "numbers; keep the right one"
                    )
    state: dict[str, Tensor] = {}
    for name, shape in parameters.items():
        parts = [found.pop(key) for key in keys.keys(name) if key in found]
        if len(parts) == len(keys.keys(name)):
            whole = parts[0] if len(parts) == 1 else torch.cat(parts)
            state[name] = with_rows(whole, shape[0]) if shape else whole
    return state


def with_rows(table: Tensor, rows: int) -> Tensor:
    """A table cut to so many rows, or with rows added that are the mean of its own: of an output
    table, such a token's score is the mean of all others' and never the best."""
    if len(table) >= rows:
        return table if len(table) == rows else table[:rows].clone()
    mean = table.float().mean(dim=0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(rows - len(table), *table.shape[1:])])


def _converted(stored: Tensor, device: torch.device, dtype: torch.dtype, where: str) -> Tensor:
    tensor = stored.to(device, dtype)
    require_finite(tensor, stored, where)
    return tensor
