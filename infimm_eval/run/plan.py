"""What to run: the choices behind a run, and the cells they make.

Everything that a person may choose comes in by the names of the command line (``Options``) and
leaves as a ``Plan``; nothing is opened, loaded or asked here but the benchmarks' own files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, get_args

from infimm_eval import formats, registry
from infimm_eval.data import checking
from infimm_eval.errors import UsageError, unknown
from infimm_eval.formats import FORMATS, PromptFormat
from infimm_eval.models.options import Quantization
from infimm_eval.run.thinking import Thinking
from infimm_eval.shots import FILE, RETRIEVED, SEEDLESS, controls, kind
from infimm_eval.types import CorpusFunction, Model, Scorer, Style, Task

T = TypeVar("T")

Choice: TypeAlias = Literal["generate", "rank"]

ZERO_SHOT_DEMOS: Mapping[Style, int] = {"completion": 2, "instruct": 0}
"""Flamingo's zero-shot prompt shows two examples without their pictures; chat models get none."""


class Options(TypedDict, total=False):
    """What may be chosen about a run beside model, tasks, shots, seeds, data and limit: by the
    names and with the defaults of the command line."""

    revision: str | None
    support: str
    """``random``, ``fixed``, ``rices``, ``text``, ``mmices``, ``oracle`` or ``file:PATH``."""
    distinct_pictures: bool
    nearest_last: bool
    retrieval_model: str | None
    retrieval_cache: Path | None
    controls: Sequence[str] | str
    """Names of ``shots.controls``, ``blind`` or ``all``."""
    zero_shot_demos: int | None
    prompt_style: Style | None
    prompt_format: str | None
    choice: Choice
    ocr: bool
    keep_thinking: bool
    no_companions: bool
    max_new_tokens: Mapping[str, int]
    """``{task: limit}``; ``""`` stands for every task."""
    scorer: Mapping[str, str]
    """``{task: name}``: another scorer for the headline."""
    prompts: Mapping[str, Mapping[str, str]]
    """``{task: {"ask": template, "answer": ..., "system": ...}}``."""
    judge: str | Model | None
    judge_runs: int
    judge_base_url: str | None
    check_batching: int
    samples_shown: int
    model_revision: str | None
    model_option: Mapping[str, Any]
    chat_template_option: Mapping[str, Any]
    """What a chat template is rendered with, as ``enable_thinking``."""
    base_url: str | None
    timeout: float | None
    """Seconds for a whole reply of a served model or judge."""
    batch_size: int | Literal["auto"]
    picture_cache: Path | None
    device: str
    dtype: str
    device_map: Literal["auto"] | None
    quantization: Quantization | None
    workers: int | Literal["auto"] | None
    """Replicas of the model that answer side by side; ``auto``: one an accelerator."""
    ray: str | None
    """The address of the Ray cluster on which they run; ``None``: on this machine."""
    gpus_per_worker: float | None
    wait_for_workers: float | None
    """Seconds without any worker before the run ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run.  Everything here that can move a number ends up in the cell's settings."""

    tasks: Sequence[Task]
    shots: Sequence[int] = (0,)
    seeds: Sequence[int] = (0,)
    data: str = "demo"
    """``demo``, ``hub`` or a folder."""
    revision: str | None = None
    limit: int | None = None
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By task, the ids of the samples to ask where that is not all, or not the first."""
    support: str = "random"
    distinct_pictures: bool = False
    """Whether no prompt shows a picture in two of its shots."""
    nearest_last: bool = False
    """Whether MMICES too puts the most similar shot next to the question."""
    retrieval_model: str | None = None
    """``None``: the model's own eyes."""
    retrieval_device: str = "auto"
    retrieval_cache: Path | None = None
    """Where features are kept; ``None``: in the user's cache folder."""
    controls: Sequence[str] = ()
    """Each makes a further cell beside every plain one that it applies to."""
    zero_shot_demos: int | None = None
    """``None``: two for ``completion``, none for ``instruct``."""
    style: Style | None = None
    """``None``: the model's own."""
    prompt_format: PromptFormat | None = None
    """``None``: the model's own."""
    choice: Choice = "generate"
    judge: Model | None = None
    judge_runs: int = 1
    thinking: Thinking = "removed"
    """Whether thoughts of a reasoning model are scored with its answer."""
    max_new_tokens: Mapping[str, int] = field(default_factory=dict)
    """Other limits than the benchmarks' own, by task; ``""`` stands for every task."""
    ocr: bool = False
    """Put OCR tokens into the questions of benchmarks that bring them."""
    templates: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """``{task: {"ask": template, "answer": ..., "system": ...}}`` in place of the plugin's."""
    check_batching: int = 0
    """Ask so many samples again, each alone, and report answers that the batch has changed."""
    samples_shown: int = 200
    """Samples of a cell whose pictures are kept as thumbnails for the report."""

    def template_of(self, task: Task) -> Mapping[str, str]:
        """What stands in place of parts of the plugin's prompt template; a split's is its
        benchmark's."""
        return self.templates.get(task.name, self.templates.get(_benchmark(task.name), {}))

    def limit_of(self, task: Task) -> int | None:
        """The most new tokens of an answer, where it is not the benchmark's own."""
        names = (task.name, _benchmark(task.name), "")
        return next((self.max_new_tokens[n] for n in names if n in self.max_new_tokens), None)

    def cells(self) -> list[tuple[Task, int, int]]:
        """Task, shots and seed of each, in order.  Zero-shot benchmarks have one cell, at 0 shots
        and the first seed; shots that are not drawn at random are those of the first seed."""
        drawn = kind(self.support) not in SEEDLESS
        return [
            (task, count, seed)
            for task in self.tasks
            for count in (dict.fromkeys(self.shots) if task.shots else [0])
            for seed in dict.fromkeys(
                self.seeds if _has_seeds(task, count, drawn) else self.seeds[:1]
            )
        ]

    def support_of(self, shots: int) -> str | None:
        """What cells call the choice of shots; a file by its name."""
        if not shots:
            return None
        if self.support.startswith(FILE):
            return FILE + Path(self.support.removeprefix(FILE)).name
        return self.support

    def controls_of(self, task: Task, shots: int) -> list[str]:
        """The controls that apply to a benchmark at so many shots: without shots the query alone
        can be changed, and a benchmark's own shots are no foreign ones."""
        names = controls.at_shots(self.controls, shots)
        return [name for name in names if controls.foreign_task(name) != task.name]

    @property
    def skipped_controls(self) -> list[str]:
        """Controls that do not run at 0 shots, where something does."""
        bare = any(not shots for _, shots, _ in self.cells())
        left = controls.at_shots(self.controls, 0)
        return [name for name in self.controls if name not in left] if bare else []

    @property
    def zero_shot_only(self) -> list[str]:
        """Benchmarks that run at 0 shots although shots were asked for."""
        return [task.name for task in self.tasks if task.shots is None and any(self.shots)]


def _has_seeds(task: Task, shots: int, drawn: bool) -> bool:
    """Whether another seed is another cell."""
    return task.shots is not None and (drawn or not shots)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a person asks for, before anything is looked up."""

    tasks: Sequence[str | Task]
    shots: Sequence[int] = (0,)
    seeds: Sequence[int] = (0,)
    data: str | None = None
    """``None``: ``demo`` for the demo model, else ``hub``."""
    limit: int | None = None
    options: Options = field(default_factory=Options)


def plan(request: PlanRequest, *, data: str, judge: Model | None) -> Plan:
    """Typed choices from a person's words.  ``UsageError`` for a task, scorer or prompt template
    that nobody knows, and for choices that do not go together."""
    if not request.tasks:
        raise UsageError("name the benchmarks: --tasks coco,vqav2, or --tasks all")
    _check(request)
    options = request.options
    tasks = _scored_by(registry.select(request.tasks), options.get("scorer") or {})
    if options.get("no_companions"):
        tasks = [_alone(task) for task in tasks]
    for task in tasks:
        checking.check_templates(task, f"the task {task.name}")
    if without_effect := _without_effect(tasks, request, data):
        raise UsageError(without_effect)
    chosen = controls.named(_words(options.get("controls") or ()))
    given: dict[str, Any] = {
        name: value for name in _AS_GIVEN if (value := options.get(name)) is not None
    }
    planned = Plan(
        tasks=tasks,
        shots=tuple(request.shots),
        seeds=tuple(request.seeds),
        data=data,
        limit=request.limit,
        style=options.get("prompt_style"),
        prompt_format=formats.find(named) if (named := options.get("prompt_format")) else None,
        thinking="kept" if options.get("keep_thinking") else "removed",
        judge=judge,
        templates=_by_name(tasks, _prompts(options.get("prompts") or {}), "[prompts]"),
        max_new_tokens=_by_name(tasks, options.get("max_new_tokens") or {}, "--max-new-tokens"),
        retrieval_device=options.get("device") or "auto",
        controls=chosen,
        **given,
    )
    _check_controls(planned)
    return planned


_AS_GIVEN = (
    *("revision", "zero_shot_demos", "choice", "ocr"),
    *("support", "distinct_pictures", "nearest_last", "retrieval_model", "retrieval_cache"),
    *("judge_runs", "check_batching", "samples_shown"),
)
"""Options that a plan takes as they are."""


def _check(request: PlanRequest) -> None:
    """``UsageError`` for a choice that is none, whoever made it."""
    for name, given in (("shots", request.shots), ("seeds", request.seeds)):
        if not given or not all(type(n) is int and n >= 0 for n in given):
            raise UsageError(
                f"{name} should be whole numbers from 0, such as [0, 4]; not {given!r}"
            )
    if request.limit is not None and (type(request.limit) is not int or request.limit < 1):
        raise UsageError(f"limit should be a whole number from 1, not {request.limit!r}")
    options: Mapping[str, Any] = {**request.options}
    for name, known in _ONE_OF.items():
        if options.get(name) is not None and options[name] not in known:
            raise unknown(name, str(options[name]), known)
    _check_support(options)
    for name in ("scorer", "max_new_tokens", "model_option", "prompts"):
        if not isinstance(options.get(name) or {}, Mapping):
            raise UsageError(f"{name} should be a mapping by task or name, not {options[name]!r}")


def _without_effect(tasks: Sequence[Task], request: PlanRequest, data: str) -> str:
    """Which choice would change nothing, and why; "": every one has something to act on."""
    options = request.options
    few_shot = any(task.shots for task in tasks)
    if options.get("ocr") and not any(task.ocr for task in tasks):
        able = ", ".join(name for name in registry.names() if registry.load(name).ocr)
        return f"--ocr: none of these benchmarks brings OCR tokens; {able} does"
    if options.get("choice") == "rank" and not any(task.rankable for task in tasks):
        able = ", ".join(name for name in registry.names() if registry.load(name).rankable)
        return f"--choice rank: none of these benchmarks has options to rank; {able} do"
    if options.get("revision") and data != "hub":
        return f"--revision pins a commit of the hub's data, and the data is {data}; use --data hub"
    if options.get("zero_shot_demos") is not None and not (few_shot and 0 in request.shots):
        return "--zero-shot-demos: no few-shot benchmark is asked at 0 shots; add 0 to --shots"
    support = options.get("support") or "random"
    if support != "random" and not few_shot:
        return f"--support {support}: these benchmarks are asked without examples; leave it out"
    return ""


def _words(names: Sequence[str] | str) -> list[str]:
    """Names in a list, or separated by commas or spaces."""
    if isinstance(names, str):
        return names.replace(",", " ").split()
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"controls should be names such as ['blind'], not {names!r}")
    return list(names)


def _check_controls(planned: Plan) -> None:
    """``UsageError`` where no control applies, or one takes shots that cannot be had."""
    names = planned.controls
    for other in filter(None, map(controls.foreign_task, names)):
        lending = registry.load(other)
        if lending.shots is None or lending.support is not None:
            lacks = "no shots to show" if lending.shots is None else "a rule of its own for shots"
            raise UsageError(f"--controls {controls.FOREIGN}{other}: {other} has {lacks}")
    if names and not any(planned.controls_of(task, shots) for task, shots, _ in planned.cells()):
        raise UsageError(
            f"--controls {', '.join(names)}: nothing to run; at 0 shots only {controls.BLIND} "
            f"(blind) and {controls.TEXT_QUERY} do, since the others change the shots, and a "
            "benchmark's own shots are not foreign; add --shots 4, or another benchmark"
        )


_ONE_OF: Mapping[str, tuple[str, ...]] = {
    "choice": get_args(Choice),
    "prompt_style": get_args(Style),
    "prompt_format": tuple(FORMATS),
    "device_map": ("auto",),
    "quantization": get_args(Quantization),
}


def _check_support(options: Mapping[str, Any]) -> None:
    """``UsageError`` for a support that is none, and for choices that say nothing about it."""
    support = str(options.get("support") or "random")
    chosen = kind(support)
    if options.get("nearest_last") and chosen not in RETRIEVED:
        raise UsageError(f"--nearest-last orders shots that are retrieved, not --support {support}")
    if options.get("distinct_pictures") and chosen == "file":
        raise UsageError("--distinct-pictures: --support file:PATH names the shots itself")
    if options.get("retrieval_model") and chosen not in RETRIEVED:
        raise UsageError(
            f"--retrieval-model is for --support {', '.join(sorted(RETRIEVED))}, not {support}"
        )


def _prompts(given: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """Parts of prompt templates by task; ``UsageError`` for what is no text."""
    for task, parts in given.items():
        if not isinstance(parts, Mapping):
            raise UsageError(f"[prompts.{task}] should be a table with ask, answer or system")
        for part, text in parts.items():
            if not isinstance(text, str):
                raise UsageError(f"[prompts.{task}] {part} should be a text, not {text!r}")
    return given


def _benchmark(name: str) -> str:
    """``vqav2`` of ``vqav2:test2015``."""
    return name.partition(":")[0]


def _alone(task: Task) -> Task:
    """The task without the figures that stand beside its scores."""

    def alone(scorer: Scorer) -> Scorer:
        function = scorer.function
        if isinstance(function, CorpusFunction) and function.alone is not None:
            return replace(scorer, function=function.alone)
        return scorer

    return replace(task, scorers=tuple(map(alone, task.scorers)))


def _scored_by(tasks: Sequence[Task], scorers: Mapping[str, str]) -> list[Task]:
    """The tasks, each with the scorer first that is named for it or for its benchmark."""
    scorers = _by_name(tasks, scorers, "--scorer")
    chosen = ((task, scorers.get(task.name, scorers.get(_benchmark(task.name)))) for task in tasks)
    return [registry.scored_by(task, name) if name else task for task, name in chosen]


def _by_name(tasks: Sequence[Task], given: Mapping[str, T], where: str) -> dict[str, T]:
    """What is given by task, under the tasks' own names; a benchmark's stands for its splits too,
    and ``""`` for every task.  ``UsageError`` for a task that is not asked."""
    benchmarks = {registry.plain(name): name for name in (_benchmark(task.name) for task in tasks)}
    found: dict[str, T] = {}
    for said, value in given.items():
        name = said and (registry.named(tasks, said) or benchmarks.get(registry.plain(said)))
        if name is None:
            raise unknown(f"task in {where}", said, [task.name for task in tasks])
        found[name] = value
    return found
