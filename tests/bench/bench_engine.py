"""What the engine gains over the straightforward loop, in one process.  Prints one JSON object.

Run by hand, never by the tests:
    python tests/bench/bench_engine.py [--questions 512] [--pictures 128] [--threads 1]

The load is 4-shot VQA: every question shows one of the pictures, four others with their answers
before it, drawn anew for each question.  The straightforward loop takes questions as they come,
`--batch` at a time, encodes every picture of every question and projects all of them again in all
gated blocks at every step; it shares the model's code otherwise, and both must say the same.  The
model is the one of `bench_flamingo.py` with random weights, of any `--family` there.

`joining` compares the two ways of greedy decoding on answers of 2 to 24 tokens: rows that join a
running batch, and batches that shrink as rows end.  `fixed_support` shows all questions the same
four examples, with and without reading them once.  `recording` is greedy decoding with and without
recorded steps.  `load` and `load_beams` are the engine alone, with `--batch-size` as users have it
(`auto`): samples a second, the share of the wall time in each stage, what the prefill and the steps
reach of `--tflops` and `--bandwidth`, the most memory in use.  `batching` asks `--alone` questions
again, each alone, and counts the answers that differ.

`--shape zephyr --device cuda --dtype bfloat16` is for an accelerator; the README here has commands.
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
from bench_flamingo import add_shape, config, made, on_gpu, take_shape, weights
from PIL import Image as Pillow
from tokenizers import decoders, models, pre_tokenizers

from infimm_eval.flamingo import Flamingo, GenerationConfig, generate
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.processor import Processor
from infimm_eval.flamingo.templates import TEMPLATES
from infimm_eval.flamingo.tokenizer import Tokenizer
from infimm_eval.models.flamingo.engine import EngineOptions
from infimm_eval.models.flamingo.model import FlamingoModel
from infimm_eval.types import Decoding, Image, Prompt, Request, Turn

SPECIAL = ["<unk>", "<s>", "</s>", "<|endofchunk|>", "<image>"]
WORDS = [f"w{i}" for i in range(32002 - len(SPECIAL))]


def model(args: argparse.Namespace) -> Flamingo:
    torch.manual_seed(0)
    ours = replace(config(args), image_token_id=4, eoc_token_id=3)
    return made(ours, args.device, getattr(torch, args.dtype))


def processor(pixels: int) -> Processor:
    raw = tokenizers.Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>")
    )
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    raw.add_special_tokens(SPECIAL[1:])
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return Processor(Tokenizer(raw), Pictures(pixels), TEMPLATES["plain"])


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
def straightforward(
    args: argparse.Namespace, answerer: FlamingoModel, asked: Sequence[Request]
) -> Any:
    """Every picture of every question encoded, batches in order, media projected at each step."""
    flamingo, processor = answerer.engine.model, answerer.processor
    gated = list(flamingo.gates.values())
    step, said = flamingo.step, {}
    for start in range(0, len(asked), args.batch):
        batch = asked[start : start + args.batch]
        encoded, shown = zip(
            *(answerer.formatter.encode(r.prompt, 4000) for r in batch), strict=True
        )
        pixels = [processor.pictures(image.read()) for images in shown for image in images]
        shown = torch.stack(pixels).to(flamingo.device, flamingo.dtype)
        latents = flamingo.encode_images(shown).unflatten(0, (len(batch), -1))

        def reprojecting(*given: Any, latents: torch.Tensor = latents, **named: Any) -> Any:
            for block in gated:
                block.attn.project(latents)
            return step(*given, **named)

        flamingo.step = reprojecting  # type: ignore[method-assign]
        ids, mask = processor.batch(encoded)
        decoding = batch[0].decoding
        answers = generate(
            flamingo,
            ids.to(flamingo.device),
            mask.to(flamingo.device),
            latents,
            config=GenerationConfig(
                max_new_tokens=[r.decoding.max_new_tokens for r in batch],
                num_beams=decoding.num_beams,
                length_penalty=decoding.length_penalty,
                eos_ids={2, 3},
            ),
            graphs=CudaGraphs(after=None),
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
    add_shape(parser)
    defaults = {"questions": 512, "pictures": 128, "shots": 4, "new-tokens": 5, "batch": 16}
    for name, default in {**defaults, "threads": 1, "beams": 3, "alone": 64}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--batch-size", default="auto", help="of `load` and `batching`")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--bandwidth", type=float, help="the device's, in GB a second")
    parser.add_argument("--tflops", type=float, help="the device's in the dtype, in 10^12 a second")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--parts", default="greedy,beams,joining,fixed_support")
    args = parser.parse_args()
    take_shape(args)
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    flamingo, reads = model(args), processor(args.pixels)

    def answerer(**options: Any) -> FlamingoModel:
        # A fresh one for every run: nothing that an earlier one encoded is left.
        given = {"batch_size": args.batch, "workers": args.workers, **options}
        made = EngineOptions(**given)
        return FlamingoModel(flamingo, reads, name="bench", fingerprint="bench", options=made)

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
            "different_answers": different(found, expected),
            "statistics": statistics,
        }

    def with_and_without(option: str, asked: Sequence[Request]) -> dict[str, Any]:
        without, expected, _ = through(asked, **{option: False})
        seconds, found, statistics = through(asked)
        return {
            f"seconds_without_{option}": round(without, 2),
            f"seconds_with_{option}": round(seconds, 2),
            "times": round(without / seconds, 2),
            "different_answers": different(found, expected),
            "statistics": statistics,
        }

    def joining() -> dict[str, Any]:
        asked = [
            replace(r, decoding=replace(r.decoding, max_new_tokens=2 + 22 * (i * 7 % 10) // 9))
            for i, r in enumerate(requests(args, 1))
        ]
        return with_and_without("streaming", asked)

    def load(beams: int) -> dict[str, Any]:
        size: Any = "auto" if args.batch_size == "auto" else int(args.batch_size)
        asked = requests(args, beams)
        if on_gpu(args):
            torch.cuda.reset_peak_memory_stats()
        seconds, _, statistics = through(asked, batch_size=size)
        return {
            "seconds": round(seconds, 2),
            "samples_per_second": round(len(asked) / seconds, 2),
            **reached(args, flamingo, statistics, seconds),
            "statistics": statistics,
        }

    def batching() -> dict[str, Any]:
        size: Any = "auto" if args.batch_size == "auto" else int(args.batch_size)
        asked = requests(args, 1)
        _, together, _ = through(asked, batch_size=size)
        one = answerer()
        alone = {a.id: a.text for r in asked[: args.alone] for a in one.generate([r])}
        return {"asked_alone": len(alone), "different_answers": different(alone, together)}

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "greedy": lambda: gain(1),
        "beams": lambda: gain(args.beams),
        "joining": joining,
        "fixed_support": lambda: with_and_without("sharing", requests(args, 1, support="fixed")),
        "recording": lambda: with_and_without("recording", requests(args, 1)),
        "load": lambda: load(1),
        "load_beams": lambda: load(args.beams),
        "batching": batching,
    }
    straightforward(args, answerer(), requests(args, 1)[: args.batch])  # warm up
    measured = {name: parts[name]() for name in args.parts.split(",")}
    about = {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if on_gpu(args) else "cpu",
        "processor": platform.machine(),
        "torch": torch.__version__,
        "sizes": vars(args),
    }
    print(json.dumps({**about, **measured}, indent=2))


def different(found: dict[str, str], expected: dict[str, str]) -> int:
    return sum(expected[i] != text for i, text in found.items())


def reached(
    args: argparse.Namespace, flamingo: Flamingo, statistics: Any, seconds: float
) -> dict[str, float]:
    """Each stage's share of the wall time; the prefill's operations, two a weight and token, and
    what the steps read of the weights, against the device's; the most memory in use."""
    read, body = weights(flamingo)
    shares = {
        f"share_{name.removeprefix('seconds_')}": round(spent / seconds, 4)
        for name, spent in statistics.items()
        if name.startswith("seconds_")
    }
    found: dict[str, float] = {**shares}
    tokens = statistics["tokens_in"] - statistics.get("prefix_tokens_saved", 0)
    flops = 2 * body * tokens / statistics["seconds_prefill"]
    rate = read * flamingo.dtype.itemsize * statistics["steps"] / statistics["seconds_decode"]
    found["prefill_tflops"] = round(flops / 1e12, 2)
    found["steps_read_gb_per_second"] = round(rate / 1e9, 1)
    if args.tflops:
        found["prefill_mfu"] = round(flops / 1e12 / args.tflops, 3)
    if args.bandwidth:
        found["steps_share_of_bandwidth"] = round(rate / 1e9 / args.bandwidth, 3)
    if on_gpu(args):
        found["peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return found


if __name__ == "__main__":
    main()
