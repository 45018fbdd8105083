"""One run of the demo's VQAv2, alone or by a fleet quick to give up: what chaos.py drives."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from infimm_eval import models
from infimm_eval.models import ModelOptions
from infimm_eval.run import run as run_plan
from infimm_eval.run.plan import PlanRequest, plan
from infimm_eval.run.progress import ProgressListener
from infimm_eval.types import Model

MOODY = Path(__file__).with_name("moody.py")


class Telling(ProgressListener):
    """Notes go to stderr."""

    def note(self, text: str) -> None:
        """A line."""
        print(text, file=sys.stderr, flush=True)


def main() -> None:
    """``chaos_driver.py OUTPUT FOLDER --model fake|demo [--ray ADDRESS] [--delay SECONDS]``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("folder")
    parser.add_argument("--model", default="fake")
    parser.add_argument("--ray")
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--limit", type=int, default=600)
    said = parser.parse_args()
    asked = PlanRequest(tasks=["vqav2"], shots=(0,), limit=said.limit)
    chosen, told = plan(asked, data="demo", judge=None), Telling()
    if said.ray is None:
        run_plan(chosen, models.load(said.model), said.output, told)
        return
    model = _fleet(said, told)
    try:
        print("up", flush=True)
        run_plan(chosen, model, said.output, told)
    finally:
        model.close()  # type: ignore[attr-defined]


def _fleet(said: argparse.Namespace, told: Telling) -> Model:
    os.environ["RAY_AUTH_MODE"] = "token"
    from infimm_eval.workers import crew
    from infimm_eval.workers.cluster import Cluster
    from infimm_eval.workers.fleet import Fleet
    from infimm_eval.workers.recipe import Recipe

    own = {"folder": said.folder, "delay": said.delay, "model": said.model}
    # As of a checkpoint in a folder: what it is, is known before anybody says so.
    known = models.known_settings(said.model, ModelOptions())
    crew.models.known_settings = lambda *_: known  # type: ignore[assignment]
    return Fleet(
        Recipe.of(f"{MOODY}:load", ModelOptions(options=own)),
        Cluster(said.ray, cpus=0, gpus=0),
        crew.FleetOptions(workers=said.workers, seconds=1.0, floor=3.0, patience=90.0),
        say=told.note,
    )


if __name__ == "__main__":
    main()
