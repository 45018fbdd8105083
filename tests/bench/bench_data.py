"""How fast and how lean official files are read: VQAv2 val's size, as JSON.

python tests/bench/bench_data.py [--questions 214354] [--pretty]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from infimm_eval.data import open_source
from infimm_eval.data.vqa import VqaFiles
from infimm_eval.types import Source

PER_PICTURE = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=214_354)
    parser.add_argument("--pretty", action="store_true", help="indent the files, as converters do")
    parser.add_argument("--shuffled", action="store_true", help="annotations in the reverse order")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, options.questions, 1 if options.pretty else None, options.shuffled)
        size = sum(file.stat().st_size for file in root.iterdir())
        before = peak()
        started, worked = time.perf_counter(), time.process_time()
        rows = open_source(source(), root, title="VQAv2 val").rows()
        next(rows)
        first = time.perf_counter() - started
        count = 1 + sum(1 for _ in rows)
        took, work = time.perf_counter() - started, time.process_time() - worked
    figures = {
        "bench": "data",
        "questions": count,
        "megabytes": round(size / 1e6, 1),
        "pretty": options.pretty,
        "shuffled": options.shuffled,
        "first_row_s": round(first, 3),
        "all_rows_s": round(took, 2),
        "all_rows_cpu_s": round(work, 2),
        "rows_per_s": round(count / took),
        "peak_rss_mb": round(peak(), 1),
        "grown_by_reading_mb": round(peak() - before, 1),
    }
    json.dump(figures, sys.stdout)
    print()


def source() -> Source:
    reader = VqaFiles(
        questions="questions.json",
        annotations="annotations.json",
        images="val2014/COCO_val2014_{:012d}.jpg",
    )
    return Source(demo=tuple, files=(reader,))


def write(root: Path, questions: int, indent: int | None, shuffled: bool) -> None:
    """Both files, one entry at a time, so that writing needs no memory of its own."""
    order = range(questions - 1, -1, -1) if shuffled else range(questions)
    with (root / "questions.json").open("w") as file:
        _array(file, "questions", (_question(n) for n in range(questions)), indent)
    with (root / "annotations.json").open("w") as file:
        _array(file, "annotations", (_annotation(n) for n in order), indent)


def peak() -> float:
    """Peak resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _array(file, key, entries, indent) -> None:  # type: ignore[no-untyped-def]
    file.write(f'{{"info": {{"version": "2.0"}}, "{key}": [')
    for number, entry in enumerate(entries):
        file.write(", " if number else "")
        file.write(json.dumps(entry, indent=indent))
    file.write("]}")


def _question(number: int) -> dict[str, object]:
    return {
        "image_id": number // PER_PICTURE + 1,
        "question": f"What is the thing number {number} on the table beside the window?",
        "question_id": number,
    }


def _annotation(number: int) -> dict[str, object]:
    people = [
        {"answer": f"thing {number % 97 + i % 3}", "answer_confidence": "maybe", "answer_id": i + 1}
        for i in range(10)
    ]
    return {
        "question_type": "what is the",
        "multiple_choice_answer": people[0]["answer"],
        "answers": people,
        "image_id": number // PER_PICTURE + 1,
        "answer_type": "other",
        "question_id": number,
    }


if __name__ == "__main__":
    main()
