"""What controls cost beside their plain cell: CPU seconds in one process, pictures encoded.

    python tests/bench/bench_controls.py [--questions 120] [--all]

Runs the plain cell alone, then in fresh models the plain cell with four controls that show no new
picture, and with ``--all`` the plain cell with every control.  Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from infimm_eval import models, registry
from infimm_eval.run import Plan, ProgressListener, run
from infimm_eval.shots import controls

FOUR = ("pictures=none", "pictures=swapped", "answers=shuffled", "order=reversed")


def measured(names: tuple[str, ...], questions: int) -> dict[str, Any]:
    """One run with a model that has seen nothing yet."""
    model = models.load("demo")
    plan = Plan(
        tasks=[registry.load("vqav2")],
        shots=(4,),
        limit=questions,
        controls=names,
        samples_shown=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        cells = run(plan, model, Path(folder), ProgressListener())
        spent = time.process_time() - began
    encoded = sum(cell.statistics.get("pictures_encoded", 0) for cell in cells)
    new = {cell.control or "plain": cell.statistics.get("pictures_new") for cell in cells}
    return {"cpu_seconds": round(spent, 2), "pictures_encoded": encoded, "pictures_new": new}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--all", action="store_true")
    given = parser.parse_args()
    measured((), 4)  # whatever is slow the first time
    found = {"plain": measured((), given.questions), "four": measured(FOUR, given.questions)}
    if given.all:
        found["all"] = measured(controls.named(["all"]), given.questions)
    plain = found["plain"]["cpu_seconds"]
    times = {f"times_{name}": round(one["cpu_seconds"] / plain, 2) for name, one in found.items()}
    print(json.dumps({"questions": given.questions, **found, **times}, indent=2))


if __name__ == "__main__":
    main()
