"""From a published checkpoint to a model, and back, in its layout's files and names.

Knows nothing of the computation or of families: it matches keys and shapes, all of them or none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.fetching import fetch
from infimm_eval.flamingo.files import read_json, write_json
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.layouts import layout_of
from infimm_eval.flamingo.meta import without_weights
from infimm_eval.flamingo.misfits import require_finite, require_fit, require_layers
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.shards import shapes, tensors, weight_files

_Shapes = Mapping[str, tuple[int, ...]]


def load(
    folder_or_hub_id: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    resampler_heads: int | None = None,
) -> Flamingo:
    """A checkpoint of any of the `LAYOUTS`: `config.json` beside safetensors or `.bin` files.

    Weights go one by one to `device` and `dtype`.  `resampler_heads` is needed only where neither
    the config nor an inner width of 512 (8 heads) or 1536 (16) tells.

    UsageError, naming the file, for a folder that is not such a checkpoint, files cut off or
    missing, keys missing, unexpected, misshaped or contradicting each other, and weights that are
    no finite numbers of `dtype`.
    """
    folder = _local(folder_or_hub_id, revision)
    files = weight_files(folder) if (folder / "config.json").is_file() else []
    try:
        given = read_json(folder / "config.json")
        layout = layout_of(given)
        found = {path: shapes(path) for path in files}
        merged = {layout.keys.canonical(k): s for table in found.values() for k, s in table.items()}
        require_layers(given, merged)
        config = layout.complete(layout.read(given), merged, resampler_heads)
        with without_weights():
            model = layout.build(config)
        computed = layout.computed(config)
        wanted = {key: tuple(t.shape) for key, t in _stored(model.state_dict(), layout.keys)}
        _check_keys(layout.keys, wanted, dict(_stored(computed, layout.keys)), found)
    except UsageError as error:
        message = str(error)
        raise UsageError(message if str(folder) in message else f"{folder}: {message}") from None
    tables = _read(files, layout.keys, wanted, torch.device(device), dtype)
    state = {name: table.to(device, dtype) for name, table in computed.items()}
    for name in model.state_dict():
        if parts := [tables.pop(k) for k in layout.keys.keys(name) if k in tables]:
            state[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
    model.load_state_dict(state, assign=True)
    return model.eval()


def save_pretrained(model: Flamingo, folder: str | Path) -> None:
    """Writes `config.json` and `model.safetensors` in the layout that the config is of.

    A dtype that the config states is the model's own now, whatever it was loaded from.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict()
    layout = layout_of(config)
    for key in {"dtype", "torch_dtype"} & config.keys():
        config[key] = str(model.dtype).removeprefix("torch.")
    write_json(folder / "config.json", config)
    state = {k: t.detach().contiguous() for k, t in _stored(model.state_dict(), layout.keys)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _local(folder_or_hub_id: str | Path, revision: str | None) -> Path:
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    name = str(folder_or_hub_id)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UsageError(f"{name} is neither a folder nor a hub id of the form owner/name")
    return fetch(name, ["*.json", "tokenizer*", "*.model"], revision=revision)


def _stored(state: Mapping[str, Tensor], keys: KeyMap) -> Iterator[tuple[str, Tensor]]:
    """Parameters by name -> as a checkpoint holds them, by key."""
    for name, tensor in state.items():
        match keys.keys(name):
            case (key,):
                yield key, tensor
            case parts:
                yield from zip(parts, tensor.chunk(len(parts)), strict=True)


def _check_keys(
    keys: KeyMap,
    wanted: _Shapes,
    computed: Collection[str],
    found: Mapping[Path, _Shapes],
) -> None:
    """One UsageError that counts the places without a key, the keys without a place and the keys
    of another shape, and names the first of each."""
    stored = {
        f"{key} in {path.name}": (keys.canonical(key, wanted), shape)
        for path, table in found.items()
        for key, shape in table.items()
        if not keys.ignores(key)
    }
    names = {name for name, _ in stored.values()}
    absent = set(wanted) - names
    if names.isdisjoint(computed):  # one alone was torn from the others
        absent -= set(computed)
    problems = {
        "missing": sorted(absent),
        "unexpected": [where for where, (name, _) in stored.items() if name not in wanted],
        "of another shape": [
            f"{where} is {shape}, not {wanted[name]}"
            for where, (name, shape) in stored.items()
            if shape != wanted.get(name, shape)
        ],
    }
    require_fit(found, problems)


def _read(
    files: list[Path], keys: KeyMap, wanted: _Shapes, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Every wanted key's tensor."""
    state: dict[str, Tensor] = {}
    source: dict[str, str] = {}
    for path in files:
        for twins, stored in tensors(path):
            # Twins of one piece of memory are one parameter: it is looked at once.
            named = {keys.canonical(k, wanted): k for k in twins if not keys.ignores(k)}
            for name, key in named.items():
                tensor = _converted(stored, device, dtype, f"{path}: {key}")
                if name not in state:
                    state[name], source[name] = tensor, key
                elif not torch.equal(state[name], tensor):
                    raise UsageError(
                        f"{path}: {key} and {source[name]} name one parameter and hold different "
                        "numbers; keep the right one"
                    )
    return state


def _converted(stored: Tensor, device: torch.device, dtype: torch.dtype, where: str) -> Tensor:
    tensor = stored.to(device, dtype)
    require_finite(tensor, stored, where)
    return tensor
