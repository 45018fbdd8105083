"""How long exact retrieval takes and how much memory, on made-up features of real sizes, as JSON.

    python -m tests.bench.bench_retrieval [--full]

5,000 queries over 82,783 x 768 features, a picture each; with ``--full`` also VQAv2's sizes:
214,354 questions about 40,504 pictures over 443,757 rows about 82,783 pictures, picks included.
Each case has a process of its own, and its features lie in a feature store.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infimm_eval.types import Image, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infimm_eval.shots.encoders import Kept

WIDTH, TRAIN, SHOTS = 768, 82_783, 32
CASES = {"coco": (5_000, 5_000, TRAIN), "vqav2": (40_504, 214_354, 443_757)}
"""Query pictures, queries, rows."""


class Made(Image):
    """A picture that is only named."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def key(self) -> str:
        return self._name

    def read(self) -> bytes:
        return self._name.encode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self._name)


def samples(split: str, pictures: int, count: int) -> Iterator[Sample]:
    for number in range(count):
        picture = f"{split}/COCO_{number * pictures // count:012d}.jpg"
        yield Sample(
            id=f"{split}{number}",
            images=(Made(picture),),
            question=(f"What is the thing number {number % 150_000} in this picture?",),
            target="yes",
            references=("yes",) * 10,
            group=picture,
            tags={"answer_type": "yes/no", "question_type": "what is the"},
        )


def measure(case: str) -> None:
    """One case, in this process."""
    from infimm_eval.shots import Shots, retrieval
    from infimm_eval.shots.encoders import PictureEncoder, kept_pictures
    from infimm_eval.shots.split import Split

    class Random:
        identity = {"encoder": "made up"}  # noqa: RUF012

        def encode_pictures(self, images: Sequence[Image]) -> Any:
            raise AssertionError("every picture is there already")

    pictures, queries, rows = CASES[case]
    encoder: PictureEncoder = Random()
    with tempfile.TemporaryDirectory() as folder:
        kept = kept_pictures(encoder, Path(folder), lambda done, total: None)
        fill(kept, samples("train", TRAIN, TRAIN))
        fill(kept, samples("val", pictures, pictures))
        marks = [(time.perf_counter(), time.process_time())]
        split = Split(samples("train", TRAIN, rows))
        asked = retrieval.Queries(samples("val", pictures, queries), split)
        marks.append((time.perf_counter(), time.process_time()))
        space = retrieval.picture_space(split, asked, kept, SHOTS)
        marks.append((time.perf_counter(), time.process_time()))
        chosen = retrieval.Retrieved(
            support="rices",
            split=split,
            ranked=space.rows,
            otherwise=Shots("made-up", 0, ()),
            needs_picture=True,
        )
        for sample in samples("val", pictures, queries):
            assert len(chosen.pick(sample, 4)) == 4
        marks.append((time.perf_counter(), time.process_time()))
    names = ("split_read", "searched", "picked_4_shots")
    spans = {
        name: {"seconds": round(b[0] - a[0], 1), "cpu_seconds": round(b[1] - a[1], 1)}
        for name, a, b in zip(names, marks, marks[1:], strict=False)
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"case": case, **spans, "peak_gib": round(peak, 2), "load": os.getloadavg()}))


def fill(kept: Kept, found: Iterator[Sample]) -> None:
    """Unit vectors for the pictures, without encoding any."""
    from infimm_eval.shots.search import unit

    rng = np.random.default_rng(0)
    while digests := [sample.images[0].digest() for sample in islice(found, 4096)]:
        kept.store.add(digests, unit(rng.standard_normal((len(digests), WIDTH), np.float32)))


def main() -> None:
    if sys.argv[1:2] == ["--case"]:
        measure(sys.argv[2])
        return
    for case in CASES if "--full" in sys.argv else ["coco"]:
        command = [sys.executable, "-m", "tests.bench.bench_retrieval", "--case", case]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
