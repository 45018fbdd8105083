"""Where a call's time goes: vision, resampler, prefill, decode.  Prints one JSON object.

Run by hand, never by the tests:
    python tests/bench/bench_flamingo.py [--images 5] [--beams 3] [--threads 2] [--reproject]

The default sizes are those in which the released code was measured: hidden 512, 8 layers, a gated
block before every second, vocabulary 32002, pictures of 224 px, tower of width 384 with 6 layers,
8 prompts, 32 new tokens, float32.  `--reproject` projects all pictures of all gated blocks again
at every step, as the released code does; the answer is the same.

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
from collections.abc import Callable
from datetime import date

import torch
from torch import Tensor

from infimm_eval.flamingo import Flamingo, GenerationConfig, generate, load
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


def add_shape(parser: argparse.ArgumentParser) -> None:
    """`--shape`, and an option for each of its sizes."""
    parser.add_argument("--shape", choices=SHAPES, default="small")
    for name in SHAPES["small"]:
        parser.add_argument(f"--{name}", type=int)


def take_shape(args: argparse.Namespace) -> None:
    """Fills in the sizes that were not given."""
    for name, size in SHAPES[args.shape].items():
        if getattr(args, name.replace("-", "_")) is None:
            setattr(args, name.replace("-", "_"), size)


def config(args: argparse.Namespace) -> infimm.Config:
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
    stage: Callable[[], Tensor], repeats: int, clock: Callable[[], float], sync: Callable[[], None]
) -> float:
    """Median seconds of `repeats` calls after one that warms up."""
    taken = []
    for _ in range(repeats + 1):
        sync()
        start = clock()
        stage()
        sync()
        taken.append(clock() - start)
    return statistics.median(taken[1:])


@torch.inference_mode()
def measure(model: Flamingo, args: argparse.Namespace) -> dict[str, float]:
    """Seconds in each stage, and of whole calls."""
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
        return torch.tensor(len(answers))

    stages: dict[str, Callable[[], Tensor]] = {
        "vision": lambda: model.tower(pixels),
        "resampler": lambda: model.resampler(features),
        "prefill": prefill,
        "decode": decode,
        "greedy_call": lambda: call(1),
    }
    if args.beams > 1:
        stages[f"beam{args.beams}_call"] = lambda: call(args.beams)
    chosen = [n for n in stages if not args.stages or n in args.stages.split(",")]
    return {name: timed(stages[name], args.repeats, clock, sync) for name in chosen}


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


def made(config: infimm.Config, device: str, dtype: torch.dtype) -> Flamingo:
    """Random weights, made where and as they are used: 7B in float32 would not fit twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = infimm.build(config).eval()
        model.fuse()  # as the engine does
        return model
    finally:
        torch.set_default_dtype(before)


def derived(
    model: Flamingo,
    args: argparse.Namespace,
    seconds: dict[str, float],
    steps: dict[str, float],
) -> dict[str, float]:
    """Tokens a second of a whole greedy call; what a step reads of the language model's weights,
    against the device's bandwidth; FLOPs of the prefill, two a weight and token, against the
    device's; the most memory that was in use."""
    found = {}
    words = args.batch * args.new_tokens
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
    table = model.decoder.embed_tokens.weight.numel()
    parts = (*model.decoder.parameters(), *model.gates.parameters())
    read = sum(p.numel() for p in parts) - table
    return read, read - table


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
    seconds = measure(model, args)
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
                **rates,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
