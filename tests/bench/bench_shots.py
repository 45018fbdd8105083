"""What many shots cost beside few, with the engine as users have it.  Prints one JSON object.

Run by hand, never by the tests:
    python tests/bench/bench_shots.py [--questions 256] [--pictures 128] [--few 4] [--many 32]
        [--clock cpu]

The load and the model are those of `bench_engine.py`: VQA over `--pictures` distinct pictures, with
examples drawn anew for each question (`random`) or the same before all of them (`fixed`).  `times`
is the time of `--many` shots over that of `--few`; the seconds of each stage say where it goes.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from bench_engine import model, processor, requests, timed
from bench_flamingo import add_shape, take_shape

from infimm_eval.models.flamingo.engine import EngineOptions
from infimm_eval.models.flamingo.model import FlamingoModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_shape(parser)
    defaults = {"questions": 256, "pictures": 128, "few": 4, "many": 32, "new-tokens": 5}
    for name, default in {**defaults, "batch": 16, "threads": 1, "workers": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    take_shape(args)
    torch.set_num_threads(args.threads)
    flamingo, reads = model(args), processor(args.pixels)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter

    def asked(support: str, shots: int, questions: int) -> tuple[float, Any]:
        sizes = argparse.Namespace(**{**vars(args), "shots": shots, "questions": questions})
        options = EngineOptions(batch_size=args.batch, workers=args.workers)
        answerer = FlamingoModel(flamingo, reads, name="b", fingerprint="b", options=options)
        seconds, _ = timed(
            lambda: list(answerer.generate(requests(sizes, 1, support=support))), clock
        )
        return seconds, answerer.statistics

    asked("random", args.few, 8)  # warm up
    report: dict[str, Any] = {"bench": "shots", **vars(args), "torch": torch.__version__}
    for support in ("fixed", "random"):
        few, few_statistics = asked(support, args.few, args.questions)
        many, many_statistics = asked(support, args.many, args.questions)
        report[support] = {
            "times": round(many / few, 2),
            "few": {"seconds": round(few, 2), **few_statistics},
            "many": {"seconds": round(many, 2), **many_statistics},
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
