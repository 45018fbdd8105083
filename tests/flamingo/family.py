"""Tiny checkpoints of OpenFlamingo's and Otter's layouts with random weights, as their owners would
lay them out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from infimm_eval.flamingo import LAYOUTS, Flamingo, save_pretrained
from infimm_eval.flamingo.layouts.languages import LANGUAGES
from tests.golden.recorded import FAMILY

BYTES = FAMILY / "openflamingo_llama_tiny" / "lm"
"""A byte-level tokenizer of 258 tokens, the last two of them <s> and </s>."""

TEXTS: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama",
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "max_position_embeddings": 1024,
        "bos_token_id": 256,
        "eos_token_id": 257,
    },
    "gpt_neox": {
        "model_type": "gpt_neox",
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "max_position_embeddings": 1024,
        "rotary_pct": 0.5,
        "use_parallel_residual": True,
        "bos_token_id": 257,
        "eos_token_id": 257,
    },
    "mpt": {
        "model_type": "mpt",
        "architectures": ["MPTForCausalLM"],
        "d_model": 48,
        "n_heads": 6,
        "n_layers": 4,
        "expansion_ratio": 2,
        "max_seq_len": 1024,
        "no_bias": True,
        "attn_config": {"alibi": True, "alibi_bias_max": 8},
        "use_cache": False,
    },
    "mosaic_gpt": {
        "model_type": "mosaic_gpt",
        "architectures": ["MosaicGPT"],
        "d_model": 48,
        "n_heads": 6,
        "n_layers": 4,
        "mlp_ratio": 2,
        "max_seq_len": 1024,
        "no_bias": True,
        "attn_qk_ln": True,
        "alibi": True,
        "alibi_bias_max": 8,
    },
}
KINDS = [kind for kind in TEXTS if kind in LANGUAGES]

VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def made(
    layout: str, text: str = "llama", *, words: int = 262, every: int = 2, seed: int = 0, **top: Any
) -> Flamingo:
    """A model whose every part counts, the gates open."""
    marks = {"image_token_id": 259, "eoc_token_id": 258, "pad_token_id": 260}
    description = {
        "model_type": layout,
        "text_config": TEXTS[text] | {"vocab_size": words},
        "vision_config": VISION,
        "cross_attn_every_n_layers": every,
        **marks,
        "tie_word_embeddings": False,
        "resampler": {"depth": 1, "latents": 5, "heads": 2, "dim_head": 64},
        "gated": {"heads": 1},
    } | top
    known = LAYOUTS["otter" if layout == "flamingo" else layout]
    torch.manual_seed(seed)
    model = known.build(known.read(description)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
            elif name.endswith("_gate"):
                parameter.fill_(0.8)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write_tokenizer(folder: Path, *, bos: bool = True) -> None:
    """The byte-level one; without `bos`, as MPT and NeoX have it, nothing opens a text."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(BYTES / file, folder / file)
    if not bos:
        told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        told["post_processor"] = None
        (folder / "tokenizer.json").write_text(json.dumps(told), encoding="utf-8")


def openflamingo(folder: Path, text: str = "llama", **how: Any) -> Flamingo:
    """As released: `checkpoint.pt` alone; beside it a language model of 258 words as it was before,
    and the whole of a CLIP, as open_clip has it.  Returns the model that it is, whose three added
    output rows, where the tables are two, stand in `extra.safetensors`, if anywhere."""
    model = made("openflamingo", text, words=261, **how)
    save_pretrained(model, folder)
    (folder / "config.json").unlink()
    language, tower = folder / "language_model", folder / "vision_tower"
    write_tokenizer(language, bos=text == "llama")
    state = load_file(language / "model.safetensors")
    (language / "model.safetensors").unlink()
    for key, table in state.items():
        if len(table) == 261:
            state[key] = torch.cat([table[:258], table.new_ones(50, table.shape[1])])
    if text == "llama":
        state = {key: table[:258] if len(table) == 308 else table for key, table in state.items()}
    torch.save(state, language / "pytorch_model.bin")
    told = json.loads((language / "config.json").read_text(encoding="utf-8"))
    told["vocab_size"] = 258 if text == "llama" else 308
    (language / "config.json").write_text(json.dumps(told), encoding="utf-8")
    eyes = load_file(tower / "open_clip_model.safetensors")
    (tower / "open_clip_model.safetensors").unlink()
    (tower / "config.json").unlink()
    others = {"logit_scale": torch.ones(()), "visual.proj": torch.ones(32, 8)}
    others["transformer.resblocks.0.ln_1.weight"] = torch.ones(16)
    torch.save(eyes | others, tower / "open_clip_pytorch_model.bin")
    vision = {"image_size": 28, "layers": 2, "width": 32, "head_width": 16, "patch_size": 14}
    described = {"quick_gelu": True, "vision_cfg": vision | {"mlp_ratio": 1.25}}
    (tower / "open_clip_config.json").write_text(json.dumps({"model_cfg": described}))
    return model


def otter(folder: Path, text: str = "llama", **how: Any) -> Flamingo:
    """As released: everything in one folder; the tokenizer, which is not, beside it."""
    model = made(how.pop("kind", "otter"), text, **how)
    save_pretrained(model, folder)
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for ours in ("image_token_id", "eoc_token_id", "pad_token_id", "resampler", "gated"):
        del told[ours]
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer").mkdir()
    write_tokenizer(folder / "tokenizer", bos=text == "llama")
    return model


def same(left: Flamingo, right: Flamingo) -> bool:
    """Bit for bit."""
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def differing(left: Flamingo, right: Flamingo) -> list[str]:
    """The parameters that are not the same."""
    ours, theirs = left.state_dict(), right.state_dict()
    return [k for k in ours if not torch.equal(ours[k], theirs[k])]


def change(path: Path, edit: Any) -> None:
    """A pickled state dict, edited by a function of it that changes it or returns another."""
    state: dict[str, Tensor] = torch.load(path)
    edited = edit(state)
    torch.save(edited if isinstance(edited, dict) else state, path)
