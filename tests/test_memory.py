"""What a run leaves in memory of every sample."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infimm_eval import logs, registry
from infimm_eval.logs import NamedImage
from infimm_eval.models.fake import Fake
from infimm_eval.types import Row, Source, Task

Run = Callable[..., list[logs.Cell]]


def questions(count: int) -> Task:
    """VQAv2 with so many questions, five about a picture."""

    def rows() -> Iterator[Row]:
        for number in range(count):
            name = f"{number // 5:012d}.jpg"
            yield {
                "image": NamedImage(name, name),
                "image_id": number // 5,
                "question_id": 262_148_000 + number,
                "question": f"What is beside thing {number}?",
                "answers": ["yes", "no", "2", "a bus", "red"] * 2,
                "question_type": "what is",
                "answer_type": "other",
            }

    return replace(registry.load("vqav2"), source=Source(demo=rows), shots=None)


@pytest.mark.slow
def test_a_cell_of_many_samples_leaves_little_in_memory(run: Run, tmp_path: Path) -> None:
    """Objects for every sample, its outcome, scores and units would be a thousand bytes."""
    few, many = 1000, 5000

    def peak(count: int) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        (cell,) = run(questions(count), model=Fake("yes"), folder=tmp_path / str(count))
        assert (cell.n, cell.complete) == (count, True)
        return tracemalloc.get_traced_memory()[1] - before

    run(questions(10), folder=tmp_path / "first")  # imports and caches are of no interest
    tracemalloc.start()
    try:
        a_sample = (peak(many) - peak(few)) / (many - few)
    finally:
        tracemalloc.stop()
    assert a_sample < 300, f"{a_sample:.0f} bytes a sample"
