"""The demo model's measures and files: InfiMM-Zephyr in miniature, in the original layout.

Knows nothing of training.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer

from infimm_eval import flamingo
from infimm_eval.demo import vocabulary
from infimm_eval.flamingo import Flamingo, save_pretrained
from infimm_eval.flamingo.decoders.llama import LlamaConfig
from infimm_eval.flamingo.gated import GatedConfig
from infimm_eval.flamingo.layouts import infimm
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.resampler import ResamplerConfig
from infimm_eval.flamingo.towers.eva import EvaConfig

SIZE = 64
"""Pixels along a side of what the tower sees."""
GRID = 8
"""Patches along a side."""
CONTEXT = 1024


def config(tokenizer: Tokenizer) -> infimm.Config:
    """The shape of InfiMM-Zephyr in miniature: EVA-02 tower, resampler, gated Mistral."""
    return infimm.Config(
        visual=EvaConfig(
            image_size=SIZE,
            patch_size=SIZE // GRID,
            layers=3,
            width=128,
            head_width=32,
            mlp_ratio=8 / 3,
            rope=True,
            pt_hw_seq_len=8,
            intp_freq=True,
            naiveswiglu=True,
            subln=True,
            embed_dim=0,
        ),
        language=LlamaConfig.from_dict(
            {
                "model_type": "mistral",
                "vocab_size": tokenizer.get_vocab_size(),
                "hidden_size": 128,
                "intermediate_size": 352,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "max_position_embeddings": CONTEXT,
                "sliding_window": None,
                "rms_norm_eps": 1e-5,
                "bos_token_id": vocabulary.number(tokenizer, vocabulary.BOS),
                "eos_token_id": vocabulary.number(tokenizer, vocabulary.EOS),
                "pad_token_id": vocabulary.number(tokenizer, vocabulary.PAD),
            }
        ),
        cross_attn_every_n_layers=1,
        image_token_id=vocabulary.number(tokenizer, vocabulary.IMAGE),
        eoc_token_id=vocabulary.number(tokenizer, vocabulary.END_OF_CHUNK),
        resampler=ResamplerConfig(heads=4, dim_head=32, depth=2, latents=16, ff_mult=2),
        gated=GatedConfig(heads=4, dim_head=32, ff_mult=2),
        extra={"model_type": "infimm-demo"},
    )


CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {{ message['content'] }} "
    "{% elif message['role'] == 'assistant' %}ASSISTANT: {{ message['content'] }}</s>{% endif %}"
    "{% endfor %}ASSISTANT:"
)
"""Vicuna's turns without its system text, whose words the tokenizer does not know."""


def load(folder: Path) -> tuple[Flamingo, Tokenizer]:
    """A checkpoint that `save` wrote, in float32, to be trained on."""
    model = flamingo.load(folder, dtype=torch.float32)
    return model.requires_grad_(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def save(model: Flamingo, tokenizer: Tokenizer, folder: Path, *, chat: bool = False) -> None:
    """Write a checkpoint folder, weights in bfloat16; the model goes on as it is."""
    save_pretrained(copy.deepcopy(model).to(torch.bfloat16).eval(), folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": vocabulary.BOS,
            "eos_token": vocabulary.EOS,
            "pad_token": vocabulary.PAD,
            "unk_token": vocabulary.UNKNOWN,
            "model_max_length": CONTEXT,
            **({"chat_template": CHAT_TEMPLATE} if chat else {}),
        },
    )
    pictures = Pictures(SIZE)
    _write(
        folder / "preprocessor_config.json",
        {"image_size": SIZE, "image_mean": pictures.mean, "image_std": pictures.std},
    )


def _write(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
