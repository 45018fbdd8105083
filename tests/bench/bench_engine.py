"""What the engine gains over the straightforward loop, in one process.  Prints one JSON object.

Run by hand, never by the tests:
    python tests/bench/bench_engine.py [--questions 512] [--pictures 128] [--threads 1]

The load is 4-shot VQA: every question shows one of the pictures, four others with their answers
before it, drawn anew for each question.  The straightforward loop takes questions as they come,
`--batch` at a time, encodes every picture of every question and projects all of them again in all
gated blocks at every step; it shares the model's code otherwise, and both must say the same.  The
model is the one of `bench_flamingo.py` with random weights.

`joining` and `static` compare the two ways of greedy decoding on answers of 2 to 24 tokens: rows
that join a running batch, and batches that shrink as rows end.  `fixed_support` shows all questions
the same four examples, with and without reading them once.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import tokenizers
import torch
from PIL import Image as Pillow
from tokenizers import decoders, models, pre_tokenizers

from infimm_eval.flamingo import DecoderConfig, EvaConfig, Flamingo, FlamingoConfig
from infimm_eval.flamingo.generation import generate
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.processor import Processor
from infimm_eval.flamingo.templates import TEMPLATES
from infimm_eval.flamingo.tokenizer import Tokenizer
from infimm_eval.models.infimm import Infimm
from infimm_eval.types import Decoding, Image, Prompt, Request, Turn

SPECIAL = ["<unk>", "<s>", "</s>", "<|endofchunk|>", "<image>"]
WORDS = [f"w{i}" for i in range(32002 - len(SPECIAL))]


def model() -> Flamingo:
    torch.manual_seed(0)
    config = FlamingoConfig(
        visual=EvaConfig(
            image_size=224,
            layers=6,
            width=384,
            patch_size=14,
            mlp_ratio=2.6667,
            rope=True,
            intp_freq=True,
            naiveswiglu=True,
            subln=True,
        ),
        language=DecoderConfig(
            model_type="mistral",
            vocab_size=32002,
            hidden_size=512,
            intermediate_size=1408,
            num_hidden_layers=8,
            num_attention_heads=8,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            sliding_window=4096,
        ),
        cross_attn_every_n_layers=2,
        image_token_id=4,
        eoc_token_id=3,
    )
    made = Flamingo(config).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("_gate"):
            torch.nn.init.constant_(parameter, 0.5)
    return made


def processor() -> Processor:
    raw = tokenizers.Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>")
    )
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    raw.add_special_tokens(SPECIAL[1:])
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return Processor(Tokenizer(raw), Pictures(224), TEMPLATES["plain"])


@dataclass(frozen=True)
class Photo(Image):
    """Noise, 320 x 240, as a JPEG file."""

    number: int

    @property
    def name(self) -> str:
        return f"{self.number}.jpg"

    key = name

    def read(self) -> bytes:
        return _jpeg(self.number)


def _jpeg(number: int, made: dict[int, bytes] = {}) -> bytes:  # noqa: B006
    if number not in made:
        out = io.BytesIO()
        noise = random.Random(number).randbytes(16 * 12 * 3)
        small = Pillow.frombytes("RGB", (16, 12), noise)
        small.resize((320, 240)).save(out, "JPEG")
        made[number] = out.getvalue()
    return made[number]


def requests(args: argparse.Namespace, beams: int, *, support: str = "random") -> list[Request]:
    rng = random.Random(0)
    decoding = Decoding(max_new_tokens=args.new_tokens, num_beams=beams, length_penalty=0.0)

    def words(least: int, most: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))

    def example() -> tuple[Turn, Turn]:
        asked = (Photo(rng.randrange(args.pictures)), words(8, 14))
        return Turn("user", asked), Turn("assistant", (words(1, 3),))

    fixed = [turn for _ in range(args.shots) for turn in example()]
    made = []
    for i in range(args.questions):
        shown = fixed if support == "fixed" else [t for _ in range(args.shots) for t in example()]
        query = Turn("user", (Photo(i % args.pictures), words(8, 14)))
        made.append(Request(str(i), Prompt("completion", (*shown, query)), decoding))
    return made


@torch.inference_mode()
def straightforward(args: argparse.Namespace, answerer: Infimm, asked: Sequence[Request]) -> Any:
    """Every picture of every question encoded, batches in order, media projected at each step."""
    flamingo, processor = answerer.engine.model, answerer.processor
    blocks = [b.gated_cross_attn_layer for b in flamingo.lang_encoder.model.layers]
    gated = [block for block in blocks if block is not None]
    step, said = flamingo.step, {}
    for start in range(0, len(asked), args.batch):
        batch = asked[start : start + args.batch]
        encoded, shown = zip(*(answerer._encode(r.prompt, 4000) for r in batch), strict=True)
        pixels = [processor.pictures(image.read()) for images in shown for image in images]
        latents = flamingo.encode_images(torch.stack(pixels)).unflatten(0, (len(batch), -1))

        def reprojecting(*given: Any, latents: torch.Tensor = latents, **named: Any) -> Any:
            for block in gated:
                block.attn.project(latents)
            return step(*given, **named)

        flamingo.step = reprojecting  # type: ignore[method-assign]
        ids, mask = processor.batch(encoded)
        decoding = batch[0].decoding
        answers = generate(
            flamingo,
            ids,
            mask,
            latents,
            max_new_tokens=[r.decoding.max_new_tokens for r in batch],
            num_beams=decoding.num_beams,
            length_penalty=decoding.length_penalty,
            eos_ids={2, 3},
        )
        flamingo.step = step  # type: ignore[method-assign]
        for request, answer in zip(batch, answers, strict=True):
            said[request.id] = processor.tokenizer.decode(answer.ids)
    return said


def timed(work: Callable[[], Any], clock: Callable[[], float]) -> tuple[float, Any]:
    start = clock()
    result = work()
    return clock() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = {"questions": 512, "pictures": 128, "shots": 4, "new-tokens": 5, "batch": 16}
    for name, default in {**defaults, "threads": 1, "beams": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--parts", default="greedy,beams,joining,fixed_support")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    flamingo, reads = model(), processor()

    def answerer(**options: Any) -> Infimm:
        # A fresh one for every run: nothing that an earlier one encoded is left.
        given = {"batch_size": args.batch, "workers": 1, **options}
        return Infimm(flamingo, reads, name="bench", fingerprint="bench", **given)

    def through(asked: Sequence[Request], **options: Any) -> tuple[float, dict[str, str], Any]:
        one = answerer(**options)
        seconds, found = timed(lambda: {a.id: a.text for a in one.generate(asked)}, clock)
        return seconds, found, one.statistics

    def gain(beams: int) -> dict[str, Any]:
        asked = requests(args, beams)
        base, expected = timed(lambda: straightforward(args, answerer(), asked), clock)
        seconds, found, statistics = through(asked)
        return {
            "straightforward_seconds": round(base, 2),
            "engine_seconds": round(seconds, 2),
            "times": round(base / seconds, 2),
            "samples_per_second": round(len(asked) / seconds, 2),
            "different_answers": sum(found[i] != text for i, text in expected.items()),
            "statistics": statistics,
        }

    def joining() -> dict[str, Any]:
        asked = [
            replace(r, decoding=replace(r.decoding, max_new_tokens=2 + 22 * (i * 7 % 10) // 9))
            for i, r in enumerate(requests(args, 1))
        ]
        apart, expected, _ = through(asked, streaming=False)
        together, found, _ = through(asked)
        return {
            "static_seconds": round(apart, 2),
            "joining_seconds": round(together, 2),
            "times": round(apart / together, 2),
            "different_answers": sum(found[i] != text for i, text in expected.items()),
        }

    def fixed_support() -> dict[str, Any]:
        asked = requests(args, 1, support="fixed")
        apart, expected, _ = through(asked, sharing=False)
        together, found, statistics = through(asked)
        return {
            "apart_seconds": round(apart, 2),
            "shared_seconds": round(together, 2),
            "times": round(apart / together, 2),
            "prefix_tokens_saved": statistics.get("prefix_tokens_saved", 0),
            "different_answers": sum(found[i] != text for i, text in expected.items()),
        }

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "greedy": lambda: gain(1),
        "beams": lambda: gain(args.beams),
        "joining": joining,
        "fixed_support": fixed_support,
    }
    straightforward(args, answerer(), requests(args, 1)[: args.batch])  # warm up
    measured = {name: parts[name]() for name in args.parts.split(",")}
    about = {
        "date": date.today().isoformat(),
        "device": "cpu",
        "processor": platform.machine(),
        "torch": torch.__version__,
        "sizes": vars(args),
    }
    print(json.dumps({**about, **measured}, indent=2))


if __name__ == "__main__":
    main()
