"""``evaluate``: benchmarks on a model from Python, as the command line runs them.

Turns names into a plan and a model, runs, and hands back what came of it; decides nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from weakref import finalize

from infimm_eval.errors import UsageError
from infimm_eval.run.plan import Options, Plan, PlanRequest, plan
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.results import Results
from infimm_eval.run.run import run, surely_short, warm

if TYPE_CHECKING:
    from typing import Unpack

    from infimm_eval.models import ModelOptions
    from infimm_eval.types import Model, Task
    from infimm_eval.workers.opening import Wanted

ModelLike: TypeAlias = "str | Model"
"""What ``--model`` takes, or any object with the ``Model`` protocol."""


def evaluate(
    model: ModelLike,
    tasks: Sequence[str | Task] | str,
    shots: Sequence[int] | int = (0,),
    *,
    data: str | Path | None = None,
    limit: int | None = None,
    seeds: Sequence[int] | int = (0,),
    output: str | Path | None = None,
    progress: bool | ProgressListener = True,
    **options: Unpack[Options],
) -> Results:
    """Run benchmarks on a model and return the figures; the same call again continues.

    ``model``: what ``--model`` takes, or an object with the ``Model`` protocol (``wrap`` makes one
    of a live ``torch.nn.Module``).  ``tasks``: names, paths of plugin files, ``Task``s.  ``data``:
    ``demo``, ``hub`` or a folder.  ``output``: the run's folder; without one the log lives as long
    as the results.  ``progress``: a bar on stderr, none, or whoever wants to be told.  ``options``
    as on the command line, with underscores.

    ``UsageError`` before anything is asked for what cannot be done; ``MachineryError`` where
    something gave way, with every answer kept in ``output``.
    """
    for name in options:
        if name not in Options.__annotations__:
            near = get_close_matches(name, Options.__annotations__, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"evaluate got an unexpected keyword argument {name!r}{hint}")
    request = PlanRequest(
        tasks=[tasks] if isinstance(tasks, str) else list(tasks),
        shots=[shots] if isinstance(shots, int) else list(shots),
        seeds=[seeds] if isinstance(seeds, int) else list(seeds),
        data=None if data is None else str(data),
        limit=limit,
        options=options,
    )
    listener = listener_of(progress)
    planned, loaded = prepare(model, request, listener)
    folder = Path(mkdtemp(prefix="infimm-eval-") if output is None else output)
    results = Results([], folder)
    if output is None:
        finalize(results, rmtree, folder, ignore_errors=True)
    try:
        results.cells.extend(run(planned, loaded, folder, listener))
    finally:
        close(loaded)
    return results


def prepare(
    model: ModelLike, request: PlanRequest, listener: ProgressListener | None = None
) -> tuple[Plan, Model]:
    """The plan and the loaded model; the plan is checked first, since it costs nothing.  The
    listener is told of workers, where there are any.  Programs of scorers that are slow to start
    do so while the model is loaded."""
    planned = planned_for(model, request)
    if surely_short(planned):
        warm(planned.tasks)
    return planned, opened(model, request.options, listener)


def planned_for(model: ModelLike, request: PlanRequest) -> Plan:
    """The plan alone, for whoever opens models later."""
    from infimm_eval.models import DEMOS

    data = request.data or ("demo" if model in DEMOS else "hub")
    options = request.options
    if data == "demo" and not options.get("judge"):
        options = cast("Options", {**options, "judge": "demo-judge"})
    _check_timeout(model, options)
    return plan(request, data=data, judge=load_judge(options))


def opened(model: ModelLike, options: Options, listener: ProgressListener | None = None) -> Model:
    """The loaded model; ``UsageError`` where nothing can be made of its name or object."""
    wanted = _workers(model, options)
    if not isinstance(model, str):
        return _adopt(model, options)
    return _load(model, options, wanted, listener or ProgressListener())


def opened_ahead(spec: str, options: Options, standing: Model | None) -> Callable[[], Model]:
    """Does of ``opened`` now what takes long, beside a model that may still be answering; what is
    returned does the rest when that one is done with, and closes it.  ``standing``: one that
    another may be made in the memory of (``models.stands_in``)."""
    from infimm_eval import models

    if _workers(spec, options) is not None:  # they want the accelerators that it holds
        made: Callable[[], Model] = partial(opened, spec, options)
    else:
        made = models.load_ahead(spec, _chosen(spec, options), standing)

    def taken() -> Model:
        model = made()
        if standing is not None:
            close(standing)
        return model

    return taken


def _adopt(model: Model, options: Options) -> Model:
    from infimm_eval import models

    for name in _OF_A_NAMED_MODEL:
        if options.get(name) not in (None, "auto", {}):
            raise UsageError(f"{name} is for models that are given by name, not for an object")
    return models.adopt(model)


_OF_A_NAMED_MODEL = (
    "model_revision",
    "model_option",
    "batch_size",
    "picture_cache",
    "device",
    "dtype",
    "device_map",
    "quantization",
)


def close(model: Model) -> None:
    """Give back what a model holds, where it says how."""
    done = getattr(model, "close", None)
    if done is not None:
        done()


def slug(model: str) -> str:
    """A folder's name for a model: the last folder of a path (with the one above it where it only
    counts steps), a hub id with its owner, a file of one's own without its ending."""
    if found := re.search(r"([^/]+)\.py(:\w+)?$", model):
        return re.sub(r"[^\w.-]+", "-", "".join(filter(None, found.groups())))
    if Path(model).is_dir():
        folder = Path(model).resolve()
        numbered = re.fullmatch(r"(checkpoint|step|epoch|global_step)[-_]?\d+", folder.name)
        return f"{folder.parent.name}-{folder.name}" if numbered else folder.name
    return re.sub(r"[^\w.-]+", "-", model)


def _workers(model: ModelLike, options: Options) -> Wanted | None:
    """The fleet that is asked for; ``None``: this process alone."""
    workers, address = options.get("workers"), options.get("ray")
    told = {"gpus": options.get("gpus_per_worker"), "patience": options.get("wait_for_workers")}
    if workers is None and address is None:
        if any(value is not None for value in told.values()):
            raise UsageError("--gpus-per-worker and --wait-for-workers are for --workers or --ray")
        return None
    if not isinstance(model, str):
        raise UsageError(
            f"a live {type(model).__name__} cannot be sent to workers; name the model as --model "
            "does: a checkpoint, or ./file.py with a function that makes it"
        )
    if workers != "auto" and workers is not None and (type(workers) is not int or workers < 1):
        raise UsageError(f"workers should be a number from 1, or 'auto', not {workers!r}")
    from infimm_eval.workers.opening import Wanted

    return Wanted(workers=workers or "auto", ray=address, **_given(**told))


def _load(spec: str, options: Options, wanted: Wanted | None, listener: ProgressListener) -> Model:
    from infimm_eval import models

    chosen = _chosen(spec, options)
    if wanted is None:
        return models.load(spec, chosen)
    from infimm_eval.workers.opening import open_fleet

    return open_fleet(spec, chosen, wanted, say=listener.note, count=listener.workers)


def _chosen(spec: str, options: Options) -> ModelOptions:
    # On a busy processor the threads of a small model wait longer than they work; OpenMP reads
    # this once, before torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from infimm_eval import models

    timeout = options.get("timeout") if _served(spec) else None
    return models.ModelOptions(
        device=options.get("device") or "auto",
        dtype=options.get("dtype") or "auto",
        batch_size=options.get("batch_size") or "auto",
        revision=options.get("model_revision"),
        base_url=None if _judges_address(spec, options) else options.get("base_url"),
        picture_cache=options.get("picture_cache"),
        device_map=options.get("device_map"),
        quantization=options.get("quantization"),
        options={
            **_given(timeout=timeout),
            **_given(chat_template_options=options.get("chat_template_option") or None),
            **(options.get("model_option") or {}),
        },
    )


def _judges_address(spec: str, options: Options) -> bool:
    """Whether ``base_url`` is where the judge answers, and not the model."""
    judged = _served(options.get("judge")) and not options.get("judge_base_url")
    return judged and not _served(spec)


def _check_timeout(model: ModelLike, options: Options) -> None:
    if options.get("timeout") and not (_served(model) or _served(options.get("judge"))):
        raise UsageError("--timeout is for openai:NAME, as the model or as the judge")


def _served(model: ModelLike | None) -> bool:
    return isinstance(model, str) and model.startswith("openai:")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def load_judge(options: Options) -> Model | None:
    """The model that grades, where one is named.

    A served judge has an address and a key of its own: ``judge_base_url``, else the model's
    ``base_url``; JUDGE_API_KEY, else the model's key, which goes to no other host than the model's.
    """
    judge = options.get("judge")
    if judge is None or not isinstance(judge, str):
        return judge
    from infimm_eval import models

    if not _served(judge):
        return models.load(
            judge, device=options.get("device") or "auto", dtype=options.get("dtype") or "auto"
        )
    from infimm_eval.models.openai.address import judges_key

    own, shared = options.get("judge_base_url"), options.get("base_url")
    return models.load(
        judge,
        base_url=own or shared,
        key_from=judges_key(own, shared),
        **_given(timeout=options.get("timeout")),
    )


def listener_of(progress: bool | ProgressListener) -> ProgressListener:
    """A bar on stderr, nobody, or whoever wants to be told."""
    if not isinstance(progress, bool):
        return progress
    if not progress:
        return ProgressListener()
    from infimm_eval.run.bar import Bar

    return Bar()
