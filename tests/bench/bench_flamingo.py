"""Where a call's time goes: vision, resampler, prefill, decode.  Prints one JSON object.

Run by hand, never by the tests:
    python tests/bench/bench_flamingo.py [--images 5] [--beams 3] [--threads 2] [--reproject]

The default sizes are those in which the released code was measured: hidden 512, 8 layers, a gated
block before every second, vocabulary 32002, pictures of 224 px, tower of width 384 with 6 layers,
8 prompts, 32 new tokens, float32.  `--reproject` projects all pictures of all gated blocks again
at every step, as the released code does; the answer is the same.

`--family` names the model: InfiMM's, or OpenFlamingo's with one of its language models, the same
number of layers and widths, and a CLIP tower.  Every call is also timed as the released codes
compute it, `original_...`, on the same weights in the same process (`original.py`); `times` is what
ours gains, and `different_answers` how many of the answers are not the same.

`--shape zephyr` has the sizes of a 7B model.  On an accelerator `--bandwidth` and `--tflops`, the
device's own, add what share of them a step and the prefill reach; steps are recorded there, as
`generate` does, and `computed` is one that is not.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import original
import torch
from torch import Tensor

from infimm_eval.flamingo import LAYOUTS, Flamingo, GenerationConfig, generate, load
from infimm_eval.flamingo.cuda_graphs import CudaGraphs, Steps
from infimm_eval.flamingo.decoders.llama import LlamaConfig
from infimm_eval.flamingo.layouts import infimm
from infimm_eval.flamingo.towers.eva import EvaConfig

IMAGE, EOC = 32001, 32000
SHAPES = {
    "small": {
        "hidden": 512,
        "intermediate": 1408,
        "layers": 8,
        "heads": 8,
        "kv-heads": 2,
        "every": 2,
        "pixels": 224,
        "vision-width": 384,
        "vision-layers": 6,
    },
    "zephyr": {
        "hidden": 4096,
        "intermediate": 14336,
        "layers": 32,
        "heads": 32,
        "kv-heads": 8,
        "every": 2,
        "pixels": 336,
        "vision-width": 1024,
        "vision-layers": 24,
    },
}


LANGUAGES = {
    "openflamingo-llama": ("llama", {}),
    "openflamingo-neox": ("gpt_neox", {"rotary_pct": 1.0, "use_parallel_residual": False}),
    "openflamingo-mpt7b": ("mpt", {}),
    "openflamingo-mpt1b": ("mosaic_gpt", {"alibi": True, "attn_qk_ln": True, "no_bias": True}),
}
"""OpenFlamingo's families: `model_type` and what is its own."""


def add_shape(parser: argparse.ArgumentParser) -> None:
    """`--shape`, and an option for each of its sizes."""
    parser.add_argument("--family", choices=["infimm", *LANGUAGES], default="infimm")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    for name in SHAPES["small"]:
        parser.add_argument(f"--{name}", type=int)


def take_shape(args: argparse.Namespace) -> None:
    """Fills in the sizes that were not given."""
    for name, size in SHAPES[args.shape].items():
        if getattr(args, name.replace("-", "_")) is None:
            setattr(args, name.replace("-", "_"), size)


def config(args: argparse.Namespace) -> Any:
    """The family's own configuration, of these sizes."""
    return config_of_infimm(args) if args.family == "infimm" else config_of_openflamingo(args)


def config_of_openflamingo(args: argparse.Namespace) -> Any:
    kind, own = LANGUAGES[args.family]
    ratio = {"expansion_ratio": 4, "mlp_ratio": 4}
    mosaic = {"d_model": args.hidden, "n_heads": args.heads, "n_layers": args.layers, **ratio}
    hugging_face = {
        "hidden_size": args.hidden,
        "intermediate_size": args.intermediate if kind == "llama" else 4 * args.hidden,
        "num_attention_heads": args.heads,
        "num_hidden_layers": args.layers,
    }
    sizes = mosaic if kind in ("mpt", "mosaic_gpt") else hugging_face
    longest = {"max_seq_len": 4096, "max_position_embeddings": 4096}
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": args.vision_width,
        "intermediate_size": 4 * args.vision_width,
        "num_hidden_layers": args.vision_layers,
        "num_attention_heads": args.vision_width // 64,
        "image_size": args.pixels,
        "patch_size": 14,
    }
    return LAYOUTS["openflamingo"].read(
        {
            "model_type": "openflamingo",
            "text_config": {"model_type": kind, "vocab_size": 32002, **sizes, **longest, **own},
            "vision_config": vision,
            "cross_attn_every_n_layers": args.every,
            "image_token_id": IMAGE,
            "eoc_token_id": EOC,
        }
    )


def config_of_infimm(args: argparse.Namespace) -> infimm.Config:
    return infimm.Config(
        visual=EvaConfig(
            image_size=args.pixels,
            layers=args.vision_layers,
            width=args.vision_width,
            patch_size=14,
            mlp_ratio=2.6667,
            rope=True,
            intp_freq=True,
            naiveswiglu=True,
            subln=True,
        ),
        language=LlamaConfig(
            model_type="mistral",
            vocab_size=32002,
            hidden_size=args.hidden,
            intermediate_size=args.intermediate,
            num_hidden_layers=args.layers,
            num_attention_heads=args.heads,
            num_key_value_heads=args.kv_heads,
            max_position_embeddings=4096,
            sliding_window=4096,
        ),
        cross_attn_every_n_layers=args.every,
        image_token_id=IMAGE,
        eoc_token_id=EOC,
    )


def prompt(args: argparse.Namespace, images: int) -> Tensor:
    """Per picture: end of chunk, tag and `--words` words; then one more word (B, T)."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(args.batch):
        row = [1]
        for _ in range(images):
            words = torch.randint(3, EOC, (args.words,), generator=generator).tolist()
            row += [EOC, IMAGE, *words]
        rows.append(row)
    return torch.tensor(rows)


def timed(
    stages: Mapping[str, Callable[[], Tensor]],
    repeats: int,
    clock: Callable[[], float],
    sync: Callable[[], None],
) -> dict[str, float]:
    """Median seconds of `repeats` calls of each after one that warms up, in turns: whatever else
    the machine does meets them all."""
    taken: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(repeats + 1):
        for name, stage in stages.items():
            sync()
            start = clock()
            stage()
            sync()
            taken[name].append(clock() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


@torch.inference_mode()
def measure(model: Flamingo, args: argparse.Namespace) -> tuple[dict[str, float], int]:
    """Seconds in each stage, and of whole calls; how many answers differ from the original's."""
    device = model.device
    clock, sync = clocks(args)
    B, new = args.batch, args.new_tokens
    ids_BT = prompt(args, args.images).to(device)
    pixels = torch.randn(B * args.images, 3, args.pixels, args.pixels, device=device).to(
        model.dtype
    )
    features = model.tower(pixels)
    latents_BIVD = model.resampler(features).unflatten(0, (B, args.images))
    lengths = [ids_BT.shape[1]] * B

    def prefill() -> Tensor:
        cache = model.new_cache(B, lengths[0] + new)
        return model.prefill(cache, ids_BT, lengths, latents_BIVD)

    cache = model.new_cache(B, lengths[0] + new)
    model.prefill(cache, ids_BT, lengths, latents_BIVD)
    step = Steps(model, cache, CudaGraphs())

    def decode() -> Tensor:
        cache.lengths = list(lengths)
        token = ids_BT[:, -1:]
        for _ in range(new - 1):
            if args.reproject:
                project(model, latents_BIVD)
            token = step(token)[:, 0].argmax(-1, keepdim=True)
        return token

    def call(beams: int) -> Tensor:
        latents = model.encode_images(pixels).unflatten(0, (B, args.images))
        search = GenerationConfig(max_new_tokens=new, min_new_tokens=new, num_beams=beams)
        answers = generate(model, ids_BT, None, latents, config=search)
        return torch.tensor([answer.ids for answer in answers], device=device)

    def originally(beams: int) -> Tensor:
        shown = pixels.unflatten(0, (B, args.images))
        return original.generate(model, shown, ids_BT, new, beams)

    stages: dict[str, Callable[[], Tensor]] = {
        "vision": lambda: model.tower(pixels),
        "resampler": lambda: model.resampler(features),
        "prefill": prefill,
        "decode": decode,
        "greedy_call": lambda: call(1),
        "original_greedy_call": lambda: originally(1),
    }
    if args.beams > 1:
        stages[f"beam{args.beams}_call"] = lambda: call(args.beams)
        stages[f"original_beam{args.beams}_call"] = lambda: originally(args.beams)
    chosen = [n for n in stages if not args.stages or n in args.stages.split(",")]
    differ = sum(
        int((call(beams) != originally(beams)).any(dim=1).sum())
        for beams in sorted({1, args.beams})
        if any(name.startswith("original") for name in chosen)
    )
    return timed({name: stages[name] for name in chosen}, args.repeats, clock, sync), differ


def project(model: Flamingo, latents_BIVD: Tensor) -> None:
    """All pictures through every gated block's keys and values, as the released code at a step."""
    for block in model.gates.values():
        block.attn.project(latents_BIVD)


@torch.inference_mode()
def measure_steps(model: Flamingo, args: argparse.Namespace) -> dict[str, float]:
    """Median milliseconds of one decode step with one picture, with all, and with all projected
    again; they take turns, so that a busy machine slows them alike.  Where steps are recorded,
    also of one that is not."""
    clock, sync = clocks(args)
    all_images = f"{args.images} images"
    variants = {
        "1 image": (1, CudaGraphs(), False),
        all_images: (args.images, CudaGraphs(), False),
        f"{all_images}, projected again": (args.images, CudaGraphs(after=None), True),
    }
    if on_gpu(args):
        variants[f"{all_images}, computed"] = (args.images, CudaGraphs(after=None), False)
    ready = {}
    for name, (images, recorder, again) in variants.items():
        ids_BT = prompt(args, images).to(model.device)
        latents_BIVD = torch.randn(
            args.batch,
            images,
            len(model.resampler.latents),
            model.tower.width,
            device=model.device,
            dtype=model.dtype,
        )
        cache = model.new_cache(args.batch, ids_BT.shape[1] + args.new_tokens)
        model.prefill(cache, ids_BT, [ids_BT.shape[1]] * args.batch, latents_BIVD)
        ready[name] = (Steps(model, cache, recorder), latents_BIVD, again)
    taken: dict[str, list[float]] = {name: [] for name in ready}
    token = torch.ones(args.batch, 1, dtype=torch.long, device=model.device)
    for _ in range(args.new_tokens):
        for name, (step, latents_BIVD, again) in ready.items():
            sync()
            start = clock()
            if again:
                project(model, latents_BIVD)
            step(token)
            sync()
            taken[name].append(clock() - start)
    return {name: round(1000 * statistics.median(t), 2) for name, t in taken.items()}


def made(config: Any, device: str, dtype: torch.dtype) -> Flamingo:
    """Random weights, the gates half open, made where and as they are used: 7B in float32 would not
    fit twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            layout = "infimm" if isinstance(config, infimm.Config) else "openflamingo"
            model = LAYOUTS[layout].build(config).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                torch.nn.init.constant_(parameter, 0.5)
        model.fuse()  # as the engine does
        return model
    finally:
        torch.set_default_dtype(before)


def derived(
    model: Flamingo,
    args: argparse.Namespace,
    seconds: dict[str, float],
    steps: dict[str, float],
) -> dict[str, Any]:
    """Tokens a second of a whole greedy call; what a step reads of the language model's weights,
    against the device's bandwidth; FLOPs of the prefill, two a weight and token, against the
    device's; the most memory that was in use."""
    found: dict[str, Any] = {}
    words = args.batch * args.new_tokens
    found["times"] = {
        name: round(seconds[f"original_{name}"] / seconds[name], 2)
        for name in seconds
        if f"original_{name}" in seconds
    }
    if "greedy_call" in seconds:
        found["tokens_per_second"] = round(words / seconds["greedy_call"], 1)
    read, body = weights(model)
    rate = read * model.dtype.itemsize / (steps[f"{args.images} images"] / 1000) / 1e9
    found["step_reads_gb_per_second"] = round(rate, 1)
    if args.bandwidth:
        found["share_of_bandwidth"] = round(rate / args.bandwidth, 3)
    if "prefill" in seconds:
        flops = 2 * body * prompt(args, args.images).numel() / seconds["prefill"]
        found["prefill_tflops"] = round(flops / 1e12, 3)
        if args.tflops:
            found["prefill_mfu"] = round(flops / 1e12 / args.tflops, 3)
    if on_gpu(args):
        found["peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return found


def weights(model: Flamingo) -> tuple[int, int]:
    """How many weights a decode step reads, and how many work on every token of a prefill: not
    the table of words, nor, as the last token alone is scored, the scores."""
    decoder = model.decoder
    parts = (*decoder.parameters(), *model.gates.parameters())
    tables = [p for p in parts if p.shape == (decoder.vocab_size, decoder.width)]
    whole, table = sum(p.numel() for p in parts), tables[0].numel()
    body = whole - len(tables) * table
    return body + table, body


def on_gpu(args: argparse.Namespace) -> bool:
    return bool(args.device.startswith("cuda"))


def clocks(args: argparse.Namespace) -> tuple[Callable[[], float], Callable[[], None]]:
    """The clock asked for, and what to wait for before reading it."""
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    return clock, torch.cuda.synchronize if on_gpu(args) else lambda: None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_shape(parser)
    for name, default in {
        "batch": 8,
        "images": 5,
        "words": 20,
        "new-tokens": 32,
        "beams": 3,
        "repeats": 3,
        "threads": 2,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bandwidth", type=float, help="the device's, in GB a second")
    parser.add_argument("--tflops", type=float, help="the device's in the dtype, in 10^12 a second")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: CPU seconds")
    parser.add_argument("--stages", default="", help="comma-separated; all by default")
    parser.add_argument("--reproject", action="store_true")
    parser.add_argument("--checkpoint", help="a folder to load instead of random weights")
    args = parser.parse_args()
    take_shape(args)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    dtype = getattr(torch, args.dtype)
    if args.checkpoint:
        model = load(args.checkpoint, device=args.device, dtype=dtype)
    else:
        model = made(config(args), args.device, dtype)
    steps = measure_steps(model, args)
    seconds, differ = measure(model, args)
    rates = derived(model, args, seconds, steps)
    print(
        json.dumps(
            {
                "date": date.today().isoformat(),
                "device": torch.cuda.get_device_name() if on_gpu(args) else "cpu",
                "processor": platform.machine(),
                "torch": torch.__version__,
                "sizes": vars(args),
                "parameters": sum(p.numel() for p in model.parameters()),
                "seconds": {name: round(s, 4) for name, s in seconds.items()},
                "ms_per_step": steps,
                "different_answers": differ,
                **rates,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
