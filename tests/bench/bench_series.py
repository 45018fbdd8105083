"""What ten checkpoints of one training cost beside ten separate runs.  Prints one JSON object.

Run by hand, never by the tests:
    python tests/bench/bench_series.py [--checkpoints 10] [--questions 48] [--separate 10]
    python tests/bench/bench_series.py --parts first_figure

The checkpoints share tower and language model; what is `--trained` (resampler and gated blocks, as
where the card freezes the rest) is other random numbers in each.  All are asked the same 4-shot
VQAv2 questions of the demo data, once by `watch`, and each by a `run` of its own in a process of
its own, without a picture cache.  Seconds are CPU seconds of the processes, all threads; with fewer
`--separate` runs than checkpoints the sum is scaled up.  Sizes are those of `bench_engine.py`.

`encoded` counts pictures that went through the tower over the whole series, `distinct` those that
there are.  `first_figure` is the time from a new checkpoint being there to its figure on 20
samples, by a watch that waits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
from bench_engine import model, processor
from bench_flamingo import add_shape, take_shape

from infimm_eval import flamingo
from infimm_eval.models.flamingo.build import DEMO

ROOT = Path(__file__).parents[2]


def training(args: argparse.Namespace, folder: Path) -> None:
    """The checkpoints of a run that trains some parts of the model."""
    made = model(args)
    for step in range(1, args.checkpoints + 1):
        torch.manual_seed(step)
        for part in args.trained:
            for parameter in made.get_submodule(part).parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, std=0.02)
        here = folder / f"checkpoint-{step}"
        flamingo.save_pretrained(made, here)
        settings = {"image_size": args.pixels, "chat_format": "plain"}
        (here / "preprocessor_config.json").write_text(json.dumps(settings))
        (here / "tokenizer_config.json").write_text('{"model_max_length": 4096}')
        processor(args.pixels).tokenizer.raw.save(str(here / "tokenizer.json"))


def cpu(command: list[str]) -> float:
    """CPU seconds of a command and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def command(verb: str, *words: str, questions: int) -> list[str]:
    asked = ["--tasks", "vqav2", "--shots", "4", "--data", "demo", "--limit", str(questions)]
    return [sys.executable, "-m", "infimm_eval", verb, *words, *asked, "--device", "cpu", "-q"]


def counted(folder: Path) -> list[dict[str, Any]]:
    """The statistics of every cell of the series."""
    found = []
    for file in sorted(folder.glob("*/run.db")):
        with sqlite3.connect(file) as db:
            bodies = db.execute("SELECT body FROM cell").fetchall()
        found += [json.loads(body)["statistics"] for (body,) in bodies]
    return found


def first_figure(place: Path) -> float:
    """Seconds from a whole checkpoint of the demo to its first figure."""
    run, output = place / "demo-run", place / "demo-series"
    run.mkdir()
    words = [str(run), "--output", str(output), "--first", "20"]
    watching = subprocess.Popen(
        command("watch", *words, questions=300), cwd=ROOT, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not (output / "index.html").exists():
            time.sleep(0.05)
        shutil.copytree(DEMO, run / "checkpoint-1")
        began = time.perf_counter()
        while '"value"' not in (output / "series.json").read_text():
            time.sleep(0.05)
        return time.perf_counter() - began
    finally:
        watching.kill()
        watching.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_shape(parser)
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--separate", type=int, default=10)
    for name, usual in (("trained", "resampler,gates"), ("parts", "series,first_figure")):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=usual)
    parser.set_defaults(device="cpu", dtype="float32")
    args = parser.parse_args()
    take_shape(args)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        if "series" in args.parts:
            found |= shared(args, Path(scratch))
        if "first_figure" in args.parts:
            found["first_figure"] = round(first_figure(Path(scratch)), 1)
    about = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "date": date.today().isoformat(),
    }
    print(json.dumps(found | about, indent=2))


def shared(args: argparse.Namespace, place: Path) -> dict[str, Any]:
    """CPU seconds of one series, and of a run for each checkpoint."""
    training(args, place / "run")
    words = [str(place / "run"), "--output", str(place / "series"), "--once"]
    series = cpu(command("watch", *words, questions=args.questions))
    apart = 0.0
    for step in range(1, args.separate + 1):
        words = ["--model", str(place / "run" / f"checkpoint-{step}")]
        words += ["--no-companions", "--output", str(place / f"apart-{step}")]
        apart += cpu(command("run", *words, questions=args.questions))
    apart *= args.checkpoints / args.separate
    statistics = counted(place / "series")
    return {
        "trained": args.trained,
        "checkpoints": args.checkpoints,
        "questions": args.questions,
        "separate_runs": args.separate,
        "distinct": max(s.get("pictures_distinct", 0) for s in statistics),
        "encoded": sum(s.get("pictures_encoded", 0) for s in statistics),
        "cpu_series": round(series, 1),
        "cpu_separate": round(apart, 1),
        "share": round(series / apart, 3),
    }


if __name__ == "__main__":
    main()
