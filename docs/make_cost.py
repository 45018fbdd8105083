"""Write ``docs/cost.md``: what whole benchmarks cost, computed from stages that were measured.

python docs/make_cost.py
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from infimm_eval import registry

# Seconds of each stage on an H100 80GB in bfloat16, 7 billion parameters in the decoder, from the
# load of 3,072 questions in tests/bench/README.md: 200 samples a second, 69 tokens a prompt.
LOAD = 3072 / 200
PREFILL = 0.529 * LOAD / (3072 * 69)
"""A token of a prompt."""
ENCODE = 0.272 * LOAD / 768
"""A distinct picture, by tower and resampler."""
DECODE = 0.103 * LOAD / (3072 * 5)
"""A token of an answer, in a batch of 256."""

# What one machine does for all of them, from the same page.
HARNESS = 3.607 / 20_000
"""CPU seconds of a sample from row to scored record: one process drives all workers."""
WRITER = 5.399 / 100_000
"""CPU seconds of an answer on its way into the log (``bench_harness.py --writers 1``, on a machine
that was busy with other work)."""
PICTURE = 150_000
"""Bytes of a picture's file: read once, by the worker that encodes it."""
DISK = 2e9
"""Bytes a second that shared storage gives to all workers together; an assumption."""

TOKENS_A_SHOT, TOKENS_ASKED, TOKENS_SAID = 14, 14, 5
GPU_BYTES = 80e9
PICTURES = {"vqav2": 40_504, "mme": 1_187}
"""Distinct pictures where several questions show one."""


@dataclass(frozen=True)
class Model:
    """A size of decoder, and what it holds: weights in two bytes, a token of the KV cache."""

    name: str
    billions: float
    token_bytes: int

    @property
    def gpus(self) -> int:
        """That hold one replica, a fifth of each left to caches and pictures."""
        return ceil(self.bytes / (0.8 * GPU_BYTES))

    @property
    def bytes(self) -> float:
        """Of its weights, with a third more in gated blocks and tower, as in InfiMM-Zephyr (9.84
        billion for 7.24)."""
        return self.billions * 1e9 * 2 * 1.36


MODELS = (
    Model("7B", 7.24, 131_072),
    Model("13B", 13.0, 819_200),
    Model("80B", 65.0, 2_621_440),  # IDEFICS-80B is LLaMA-65B with cross-attention
)


@dataclass(frozen=True)
class Cost:
    """Hours of one benchmark at so many shots, the gigabytes of one replica, the slowest stage."""

    hours: float
    gigabytes: float
    bottleneck: str


def cost(samples: int, pictures: int, shots: int, model: Model, gpus: int) -> Cost | None:
    """None where the GPUs do not hold the model.  A model on several GPUs has them take turns,
    layer by layer (`--device-map auto`): as a replica they are as fast as one."""
    replicas = gpus // model.gpus
    if not replicas:
        return None
    slower = model.billions / 7.24
    tokens = TOKENS_ASKED + shots * TOKENS_A_SHOT
    stages = {
        "reading prompts": samples * tokens * PREFILL * slower / replicas,
        "encoding pictures": pictures * ENCODE / replicas,
        "decoding": samples * TOKENS_SAID * DECODE * slower / replicas,
    }
    # Stages of a worker follow one another; the machine that drives them works beside them.
    beside = {
        "the driving process": samples * HARNESS,
        "the log's writer": samples * WRITER,
        "pictures from storage": pictures * PICTURE / DISK,
    }
    computing = sum(stages.values())
    slowest = max(beside, key=beside.__getitem__)
    found = slowest if beside[slowest] > computing else max(stages, key=stages.__getitem__)
    rows = 256 * tokens * model.token_bytes
    return Cost(max(computing, beside[slowest]) / 3600, (model.bytes + rows) / 1e9, found)


def page() -> str:
    """The whole page."""
    lines = [HEAD.format(PREFILL * 1e6, ENCODE * 1e3, DECODE * 1e6, HARNESS * 1e3, WRITER * 1e6)]
    for shots in (4, 32):
        lines += [f"## {shots} shots\n", f"| benchmark | samples |{_columns()}"]
        lines.append("|---|--:|" + "--:|" * len(MODELS) * len(GPUS))
        for name in registry.names():
            task = registry.load(name)
            if task.source.size:
                lines.append(_row(name, task.title, task.source.size, shots))
        lines.append("")
    return "\n".join([*lines, _memory(), _bottlenecks()])


GPUS = (1, 8, 64)
HEAD = """# What a whole benchmark costs

Computed by `docs/make_cost.py` from stages that were measured
([how](../tests/bench/README.md)), and not itself measured. On an H100 80GB in bfloat16, InfiMM with
a decoder of 7 billion parameters takes {:.0f} us for a token of a prompt, {:.2f} ms for a distinct
picture and {:.0f} us for a token of an
answer; reading and decoding are taken to grow with the decoder's parameters. The one process that
drives all workers takes {:.2f} ms of CPU a sample; {:.0f} us an answer, on a busy machine, are its
log's. A shot is taken to have 14 tokens, an answer 5, and every picture to be encoded once. Loading
the model, and METEOR, come on top.
"""


def _columns() -> str:
    return "".join(f" {model.name}, {gpus} GPU |" for model in MODELS for gpus in GPUS)


def _row(name: str, title: str, samples: int, shots: int) -> str:
    pictures = PICTURES.get(name, samples)
    cells = [cost(samples, pictures, shots, model, gpus) for model in MODELS for gpus in GPUS]
    times = " | ".join("-" if cell is None else _time(cell.hours) for cell in cells)
    return f"| {title} | {samples:,} | {times} |"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{ceil(hours * 60)} min" if hours > 1 / 60 else f"{ceil(hours * 3600)} s"


def _memory() -> str:
    lines = [
        "## Memory\n",
        "One replica with 256 rows at 4 shots; a dash above: it does not fit.\n",
    ]
    lines += ["| decoder | weights | with KV caches | GPUs of 80 GB |", "|---|--:|--:|--:|"]
    for model in MODELS:
        whole = cost(1, 1, 4, model, model.gpus)
        assert whole is not None
        sizes = f"{model.bytes / 1e9:.0f} GB | {whole.gigabytes:.0f} GB"
        lines.append(f"| {model.name} | {sizes} | {model.gpus} |")
    return "\n".join([*lines, "\n`--batch-size auto` takes fewer rows where 256 do not fit.\n"])


def _bottlenecks() -> str:
    lines = ["## The next bottleneck\n", "VQAv2 at 4 shots:\n"]
    lines += ["| decoder | " + " | ".join(f"{n} GPU" for n in GPUS) + " |", "|---|---|---|---|"]
    for model in MODELS:
        found = [cost(214_354, PICTURES["vqav2"], 4, model, gpus) for gpus in GPUS]
        lines.append(
            f"| {model.name} | "
            + " | ".join("-" if c is None else c.bottleneck for c in found)
            + " |"
        )
    rate = round(1 / HARNESS)
    lines.append(
        f"\nOne driving process gives {rate:,} samples a second, which is about {rate // 200} GPUs "
        "of the\n7B model at 4 shots. Beyond, runs over other benchmarks beside it are the way, "
        "not more workers.\nPictures from storage are next: 2 GB a second to all workers is an "
        "assumption of this page."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "cost.md").write_text(page(), encoding="utf-8")
