"""A finished run with secrets and paths planted wherever a person may have left them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infimm_eval import registry
from infimm_eval.run import Plan, ProgressListener
from infimm_eval.run import run as run_plan
from infimm_eval.types import Answer, Request, Style

SECRETS = (
    "hf_abcdefghijklmnopqrstuvwx",
    "sk-proj-0123456789abcdefghij",
    "s3cr3t-from-the-environment",
    "AKIAABCDEFGHIJKLMNOP",
    "hunter2pass",
    "alice",
    "gpu-node-17",
)
"""What must not leave, in whatever format."""

ANSWERS = (
    "yes",
    "red",
    "2",
    'tricky, "quoted"\nsecond line \\ & % $ # _ { } ~ ^ <b>',
    "B",
    "",
    "my key is hf_abcdefghijklmnopqrstuvwx and sk-proj-0123456789abcdefghij",
    "see /home/alice/data/picture.png or s3cr3t-from-the-environment",
    "no",
    "=1+1",
)


class Model:
    """Answers by turns; its settings and its name say too much."""

    name = "/home/alice/checkpoints/step-100"
    style: Style = "completion"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "fingerprint": "feed",
            "path": "/home/alice/checkpoints/step-100",
            "api_key": "hunter2pass",
            "base_url": "http://alice:hunter2pass@gpu-node-17:8000/v1",
            "options": {"aws": "AKIAABCDEFGHIJKLMNOP"},
        }

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for number, request in enumerate(requests):
            yield Answer(request.id, ANSWERS[number % len(ANSWERS)])


def make(folder: Path) -> Path:
    """VQAv2 at 0 and 1 shots over two seeds, ScienceQA and MME, of the demo's rows."""
    tasks = registry.select(["vqav2", "scienceqa", "mme"])
    templates = {"vqav2": {"ask": "/home/alice/x/y {{ images }}Q:{{ question }} Short answer:"}}
    plan = Plan(
        tasks=tasks, shots=(0, 1), seeds=(0, 1), limit=40, samples_shown=0, templates=templates
    )
    run_plan(plan, Model(), folder, ProgressListener())
    return folder
