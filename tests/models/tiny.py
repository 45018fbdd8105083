"""A very small Flamingo with random weights, its checkpoint folder, and prompts for it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import tokenizers
import torch
from PIL import Image as Pillow
from tokenizers import decoders, models, pre_tokenizers

from infimm_eval import flamingo
from infimm_eval.types import Decoding, Image, Prompt, Request, Style, Turn

WORDS = """<unk> <s> </s> <|endofchunk|> <image> Output : Question Short answer What is this ? a an
red blue green dog cat house tree on the beach two three yes no small large and of in who where
\n < > | image user assistant system"""

CONFIG: dict[str, Any] = {
    "model_type": "infimm",
    "visual": {
        "image_size": 28,
        "patch_size": 14,
        "width": 32,
        "head_width": 16,
        "layers": 2,
        "embed_dim": 8,
    },
    "language": {
        "model_type": "mistral",
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "eos_token_id": 2,
    },
    "cross_attn_every_n_layers": 2,
    "image_token_id": 4,
    "eoc_token_id": 3,
    "resampler": {"heads": 2, "dim_head": 16, "depth": 2, "latents": 4},
    "gated": {"heads": 2, "dim_head": 16},
}


def checkpoint(folder: Path, *, seed: int = 0, chat_format: str = "plain", **top: Any) -> Path:
    """A checkpoint in InfiMM's layout, as different from other seeds as can be."""
    torch.manual_seed(seed)
    model = flamingo.build(CONFIG | top)
    for name, parameter in model.named_parameters():
        if "gate" in name and parameter.numel() == 1:
            torch.nn.init.constant_(parameter, 0.7)
        elif parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    flamingo.save_pretrained(model, folder)
    write(folder / "preprocessor_config.json", {"image_size": 28, "chat_format": chat_format})
    write(folder / "tokenizer_config.json", {"model_max_length": 256})
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def tokenizer() -> tokenizers.Tokenizer:
    words = dict.fromkeys([*WORDS.replace("\n", " ").split(), "\n"])
    vocabulary = {word: i for i, word in enumerate(words)}
    made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Punctuation(),
        ]
    )
    made.decoder = decoders.Fuse()
    made.add_special_tokens(["<s>", "</s>", "<|endofchunk|>", "<image>"])
    made.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return made


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@dataclass(frozen=True)
class Painted(Image):
    """A picture of one colour, or, without one, a file that is no picture."""

    colour: tuple[int, int, int] | None
    name: str = "painted.png"
    size: tuple[int, int] = (40, 30)

    @property
    def key(self) -> str:
        return f"{self.name}:{self.colour}:{self.size}"

    def read(self) -> bytes:
        if self.colour is None:
            return b"no picture"
        out = BytesIO()
        picture = Pillow.new("RGB", self.size, self.colour)
        picture.putpixel((9, 9), (255, 255, 255))
        picture.save(out, "PNG")
        return out.getvalue()


def painted(n: int, size: tuple[int, int] = (40, 30)) -> Painted:
    return Painted((n * 37 % 256, n * 91 % 256, n * 53 % 256), f"{n}.png", size)


def request(
    id: str,
    *turns: Sequence[str | Image] | str,
    style: Style = "completion",
    options: tuple[str, ...] = (),
    system: str = "",
    **decoding: Any,
) -> Request:
    """Turns alternate between the two sides, the last being the user's."""
    said = tuple(
        Turn("assistant" if place % 2 else "user", (turn,) if isinstance(turn, str) else turn)
        for place, turn in enumerate(turns)
    )
    prompt = Prompt(style, said, system)
    return Request(id, prompt, Decoding(**{"max_new_tokens": 6, **decoding}), options)


def few_shot(n: int, *, pictures: int = 7, seed: int = 0, **rest: Any) -> list[Request]:
    """``n`` prompts with 0 to 3 examples, over a few pictures."""
    rng = random.Random(seed)
    words = ["red", "blue", "green", "dog", "cat", "house", "tree", "on", "the", "beach"]

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, 5)))

    made = []
    for i in range(n):
        turns: list[Any] = []
        for _ in range(rng.randint(0, 3)):
            turns += [(painted(rng.randrange(pictures)), "Output:"), text()]
        query = (painted(rng.randrange(pictures)), f"Question: {text()}? Short answer:")
        made.append(request(str(i), *turns, query, **rest))
    return made
