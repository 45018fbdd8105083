"""From a published checkpoint to a model, and back, in the original layout and names.

Knows nothing of the computation: it matches names and shapes, all of them or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.config import FlamingoConfig
from infimm_eval.flamingo.fetching import fetch
from infimm_eval.flamingo.files import read_json, write_json
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.shards import shapes, tensors, weight_files
from infimm_eval.flamingo.towers.eva import rotary_tables

# One parameter under several names: what the original registers twice, and what we call it.
_ALIASES = (
    (r"^model\.", ""),
    (r"^lang_encoder\.old_decoder_blocks\.(\d+)\.", r"lang_encoder.model.layers.\1.decoder_layer."),
    (
        r"^lang_encoder\.gated_cross_attn_layers\.(\d+)\.",
        r"lang_encoder.model.layers.\1.gated_cross_attn_layer.",
    ),
    (r"^vision_encoder\.blocks\.\d+\.attn\.rope\.", "vision_encoder.rope."),
)
_IGNORED = re.compile(r"\.rotary_emb\.inv_freq$")  # older saves hold it; it is recomputed
_LISTED = 10  # keys of each kind named in one message
_EMBEDDING, _HEAD = "lang_encoder.model.embed_tokens.weight", "lang_encoder.lm_head.weight"
_ROPE = ("vision_encoder.rope.freqs_cos", "vision_encoder.rope.freqs_sin")
_RESAMPLER_Q = "perceiver.layers.0.0.to_q.weight"
_GATED_Q = "lang_encoder.model.layers.{}.gated_cross_attn_layer.attn.to_q.weight"
# The original's default and the model card's figure; the head count itself is not in the weights.
_HEADS_OF_INNER_WIDTH = {512: 8, 1536: 16}


def load(
    folder_or_hub_id: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
    resampler_heads: int | None = None,
) -> Flamingo:
    """A checkpoint in the original layout: `config.json` beside safetensors or `.bin` files.

    Weights go one by one to `device` and `dtype`; stored rope tables are used as stored (a bf16
    save rounded them, which shows in the features), absent ones are computed.  `resampler_heads`
    is needed only where neither the config nor an inner width of 512 (8 heads) or 1536 (16) tells.

    UsageError, naming the file, for a folder that is not such a checkpoint, files cut off or
    missing, keys missing, unexpected, misshaped or contradicting each other, and weights that are
    no finite numbers of `dtype`.
    """
    folder = _local(folder_or_hub_id, revision)
    files = weight_files(folder) if (folder / "config.json").is_file() else []
    try:
        config = FlamingoConfig.from_dict(read_json(folder / "config.json"))
        found = {path: shapes(path) for path in files}
        merged = {canonical(k): s for table in found.values() for k, s in table.items()}
        config = _with_heads(config, merged, resampler_heads)
        with torch.device("meta"), _Unfilled():
            model = Flamingo(config)
        _check_keys(model, found)
    except UsageError as error:
        message = str(error)
        raise UsageError(message if str(folder) in message else f"{folder}: {message}") from None
    tied = config.language.tie_word_embeddings
    state = _read(files, torch.device(device), dtype, tied=tied)
    if config.visual.rope and _ROPE[0] not in state:
        for key, table in zip(_ROPE, rotary_tables(config.visual), strict=True):
            state[key] = table.to(device, dtype)
    model.load_state_dict(state, assign=True)
    return model.eval()


def save_pretrained(model: Flamingo, folder: str | Path) -> None:
    """Writes `config.json` and `model.safetensors` under the original names and layout.

    A dtype that the config states is the model's own now, whatever it was loaded from.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict()
    for key in {"dtype", "torch_dtype"} & config.keys():
        config[key] = str(model.dtype).removeprefix("torch.")
    write_json(folder / "config.json", config)
    state = {f"model.{key}": t.detach().contiguous() for key, t in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


class _Unfilled(TorchFunctionMode):
    """Leaves out the normal numbers of new weights: on the meta device nobody would see them, and
    torch imports its compiler for them, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.init.normal_:
            return kwargs["tensor"]
        return func(*args, **kwargs)


def canonical(key: str, *, tied: bool = False) -> str:
    """Our name of a parameter that a checkpoint holds under any of the original's names.

    `tied`: the output table is the embedding table.
    """
    for pattern, name in _ALIASES:
        key = re.sub(pattern, name, key)
    return _EMBEDDING if tied and key == _HEAD else key


def _local(folder_or_hub_id: str | Path, revision: str | None) -> Path:
    folder = Path(folder_or_hub_id)
    if folder.is_dir():
        return folder
    name = str(folder_or_hub_id)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UsageError(f"{name} is neither a folder nor a hub id of the form owner/name")
    return fetch(name, ["*.json", "tokenizer*", "*.model"], revision=revision)


def _with_heads(
    config: FlamingoConfig, found: Mapping[str, tuple[int, ...]], resampler_heads: int | None
) -> FlamingoConfig:
    """Attention widths, which the original's config does not state, from the weights' shapes."""
    inner = found.get(_RESAMPLER_Q, (0,))[0]
    given = config.resampler
    if inner and (resampler_heads or "resampler" not in config.extra):
        heads = resampler_heads or _HEADS_OF_INNER_WIDTH.get(inner)
        if heads is None or inner % heads:
            raise UsageError(
                f"the resampler's inner width is {inner}, which {heads or 'no known number of'} "
                "heads share; pass resampler_heads"
            )
        config = replace(config, resampler=replace(given, heads=heads, dim_head=inner // heads))
    inner = found.get(_GATED_Q.format(config.gated_layers[0]), (0,))[0]
    if (
        inner
        and "gated" not in config.extra
        and inner != config.gated.heads * config.gated.dim_head
    ):
        raise UsageError(
            f"the gated blocks' inner width is {inner}, not 8 heads of 64; say so in config.json: "
            '"gated": {"heads": ..., "dim_head": ...}'
        )
    return config


def _check_keys(model: Flamingo, found: Mapping[Path, Mapping[str, tuple[int, ...]]]) -> None:
    """One UsageError that counts the places without a key, the keys without a place and the keys
    of another shape, and names the first of each."""
    wanted = {key: tuple(t.shape) for key, t in model.state_dict().items()}
    tied = model.config.language.tie_word_embeddings
    stored = {
        f"{key} in {path.name}": (canonical(key, tied=tied), shape)
        for path, table in found.items()
        for key, shape in table.items()
        if not _IGNORED.search(key)
    }
    names = {name for name, _ in stored.values()}
    absent = set(wanted) - names
    if names.isdisjoint(_ROPE):  # both tables can be computed; one alone was torn from the other
        absent -= set(_ROPE)
    problems = {
        "missing": [f"model.{key}" for key in sorted(absent)],
        "unexpected": [where for where, (name, _) in stored.items() if name not in wanted],
        "of another shape": [
            f"{where} is {shape}, not {wanted[name]}"
            for where, (name, shape) in stored.items()
            if shape != wanted.get(name, shape)
        ],
    }
    if any(problems.values()):
        files = ", ".join(path.name for path in found)
        counted = "; ".join(_counted(kind, keys) for kind, keys in problems.items() if keys)
        raise UsageError(f"{files} and config.json do not belong together: {counted}")


def _counted(kind: str, keys: list[str]) -> str:
    more = [f"and {len(keys) - _LISTED} more"] if len(keys) > _LISTED else []
    return f"{len(keys)} {kind} ({', '.join(keys[:_LISTED] + more)})"


def _read(
    files: list[Path], device: torch.device, dtype: torch.dtype, *, tied: bool
) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    source: dict[str, str] = {}
    for path in files:
        for keys, stored in tensors(path):
            # Twins of one piece of memory are one parameter: it is looked at once.
            named = {canonical(k, tied=tied): k for k in keys if not _IGNORED.search(k)}
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
    if _finite(tensor):
        return tensor
    if _finite(stored):
        raise UsageError(f"{where} holds numbers too large for {dtype}; load it with another dtype")
    raise UsageError(f"{where} holds NaN or infinite numbers; download it again")


def _finite(tensor: Tensor) -> bool:
    return all(bound.isfinite() for bound in tensor.aminmax())
