"""From what a person asks for to a fleet: how many workers, on what, and what cannot be had.

Imports Ray only once all of that is clear.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from infimm_eval import models
from infimm_eval.errors import UsageError
from infimm_eval.models import Backend, ModelOptions
from infimm_eval.workers.cluster import Cluster, visible_gpus
from infimm_eval.workers.recipe import Recipe

if TYPE_CHECKING:
    from infimm_eval.workers.fleet import Fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The fleet that a person asks for."""

    workers: int | Literal["auto"] = "auto"
    ray: str | None = None
    """The address of a cluster; ``None``: this machine alone."""
    gpus: float | None = None
    """Accelerators of each worker; ``None``: one, where there are any and the model uses them."""
    patience: float = 300.0
    """Seconds without any worker before the run ends."""


def open_fleet(
    spec: str,
    options: ModelOptions,
    wanted: Wanted,
    *,
    say: Callable[[str], None],
    count: Callable[[int], None],
) -> Fleet:
    """The fleet of the model that ``spec`` names, its first worker ready.  UsageError for what
    cannot be had, before anything is started where that can be told."""
    found = models.backend(spec, options.revision)
    options = _spread(spec, found and found[0], options, wanted)
    computes = (found is None or found[0].computes) and options.device != "cpu"
    recipe = Recipe.of(spec, options, shared=_shared(found and found[0], options, wanted))
    cluster = _cluster(wanted, computes)
    try:
        from infimm_eval.workers.crew import FleetOptions
        from infimm_eval.workers.fleet import Fleet

        gpus = _gpus(wanted, computes, cluster.resources.get("GPU", 0.0))
        workers = None if wanted.workers == "auto" else wanted.workers
        own = FleetOptions(
            workers=workers,
            cpus=1 if wanted.ray else _threads(workers),
            gpus=gpus,
            patience=wanted.patience,
        )
        return Fleet(recipe, cluster, own, say=say, count=count)
    except BaseException:
        cluster.close()
        raise


def _spread(
    spec: str, backend: Backend | None, options: ModelOptions, wanted: Wanted
) -> ModelOptions:
    """The options of each worker's model, spread over its accelerators where it has several."""
    if backend is not None and backend.name == "openai":
        raise UsageError(f"--workers is for models that run here; {spec} is served elsewhere")
    if ":" in options.device:
        raise UsageError(
            f"--device {options.device} is one accelerator; with --workers each has its own: write "
            "--device cuda, or leave it out"
        )
    if (wanted.gpus or 0) <= 1 or backend is None or options.device_map is not None:
        return options
    if "device_map" not in backend.takes:
        raise UsageError(
            f"--gpus-per-worker {wanted.gpus:g}: {spec} runs on one accelerator; hf: models and "
            "your own can have several"
        )
    return replace(options, device_map="auto")


def _shared(backend: Backend | None, options: ModelOptions, wanted: Wanted) -> str | None:
    """The name of a folder for what the workers of a machine encode, where they are several and a
    person has not chosen one."""
    keeps = backend is not None and "picture_cache" in backend.takes
    if not keeps or options.picture_cache is not None or wanted.workers == 1:
        return None
    return f"latents-{secrets.token_hex(8)}"


def _cluster(wanted: Wanted, computes: bool) -> Cluster:
    if wanted.ray is not None:
        return Cluster(wanted.ray, cpus=0, gpus=0)
    there = visible_gpus()
    gpus = _gpus(wanted, computes, there)
    count = 1 if wanted.workers == "auto" else wanted.workers
    if count * gpus > there:
        raise UsageError(
            f"--workers {count} with {gpus:g} accelerators each, and this machine has {there}; "
            "ask for fewer, for a share of one with --gpus-per-worker 0.5, or for --device cpu"
        )
    return Cluster(None, cpus=max(_processors(), count), gpus=there)


def _gpus(wanted: Wanted, computes: bool, there: float) -> float:
    if wanted.gpus is not None:
        return wanted.gpus
    return 1.0 if computes and there >= 1 else 0.0


def _threads(workers: int | None) -> int:
    """Of each worker on this machine."""
    return max(1, _processors() // (workers or max(1, visible_gpus())))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
