"""Another harness's log as figures of ours: its answers under our scorers, beside its own scores.

    open_log   which benchmark it is     score   the figures of one file
    as_run     a run folder of it, for whoever reads runs

What the tool gave stays evidence: it is shown, and where it differs the reason is said as far as
it can be known.  Knows no tool and no benchmark by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infimm_eval import __version__, logs, registry, stats
from infimm_eval.errors import UsageError, named
from infimm_eval.logs.foreign import ForeignLog, open_foreign
from infimm_eval.run import cells
from infimm_eval.run.foreign_join import Joined, Joiner
from infimm_eval.run.score_file import How, Matched, Result, matched, result, samples_of, scored
from infimm_eval.run.scoring import Scored, facts
from infimm_eval.scorers import score_one
from infimm_eval.types import (
    Answer,
    Foreign,
    Outcome,
    Prompt,
    Record,
    Rubric,
    Sample,
    Score,
    Submission,
    Task,
    Turn,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a person says about a log."""

    task: str | None = None
    """``None``: the log names it."""
    references: Path | None = None
    """``None``: the right answers that the log carries, or the tool's scores alone."""
    part: str | None = None
    """Which part of a file that has several: a filter, an epoch, a result."""
    by_row: bool = False
    """Row numbers count the rows of the references."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignResult(Result):
    """The figures of another harness's log."""

    tool: str = ""
    part: str = ""
    theirs: Mapping[str, float] | None = None
    """The same headline as the tool has it, by the name of its score."""
    reasons: Sequence[str] = ()
    """Why the two differ, as far as that is known."""

    def as_json(self) -> dict[str, Any]:
        """What ``score --json`` prints."""
        return {
            **super(ForeignResult, self).as_json(),
            "tool": self.tool,
            "part": self.part,
            "theirs": dict(self.theirs or {}),
            "reasons": list(self.reasons),
        }


def score(log: ForeignLog, reading: Reading, how: How) -> ForeignResult:
    """Score one part of a log; ``UsageError`` where its questions cannot be told or scored."""
    task, foreign = _task(log, reading)
    task = task if how.scorer is None else registry.scored_by(task, how.scorer)
    part = _chosen(log, _joined(log, task, foreign, reading, how), reading.part)
    if not part.samples:
        raise UsageError(
            f"{log.path} holds no right answers of {task.title}; name them by --references: a data "
            f"folder, demo, hub or the authors' answer file ({log.tool} says "
            f"{_listed(_theirs(task, foreign, log, part)) or 'nothing of it'})"
        )
    found, scores = _scored(log, task, part, how)
    ours = result(task, found, scores)
    return ForeignResult(
        **{name: getattr(ours, name) for name in Result.__dataclass_fields__},
        tool=log.said,
        part=part.part,
        theirs=_theirs(task, foreign, log, part),
        reasons=list(_reasons(task, foreign, log, part, found, scores)),
    )


@contextmanager
def as_runs(
    paths: Sequence[Path], reading: Reading, how: How | None = None
) -> Iterator[list[Path]]:
    """The same paths, each log of another harness among them as a run folder that lasts as long
    as the context."""
    how = how or How()
    with TemporaryDirectory(prefix="infimm_eval-") as place:
        found = []
        for number, path in enumerate(paths):
            log = open_foreign(path) if path.is_file() else None
            if log is not None:
                folder = Path(place) / str(number) / path.stem
                write_run(log, folder, reading, how)
                path = folder
            found.append(path)
        yield found


def write_run(log: ForeignLog, folder: Path, reading: Reading, how: How) -> list[logs.Cell]:
    """Write a log as a run: a cell a part.  Where it holds no right answers and none are named,
    the tool's own scores make the figure, which the protocol says."""
    task, foreign = _task(log, reading)
    parts = _joined(log, task, foreign, reading, how)
    if reading.part is not None or len({(p.shots, p.seed) for p in parts}) < len(parts):
        parts = [_chosen(log, parts, reading.part)]
    folder.mkdir(parents=True)
    with logs.Log(folder, writing=True) as run:
        made = [_write(run, log, task, foreign, part, how) for part in parts]
        logs.write_results(folder, run.shown())
    return made


# -- which benchmark, which part -----------------------------------------------------------------


def _task(log: ForeignLog, reading: Reading) -> tuple[Task, Foreign]:
    name = reading.task or _named(log)
    task = registry.load(name)
    return task, task.foreign.get(log.tool, Foreign())


def _named(log: ForeignLog) -> str:
    """The benchmark that a log means by one of the names it has."""
    tasks = registry.select(["all"])
    for name in log.names:
        for task in tasks:
            foreign = task.foreign.get(log.tool, Foreign())
            if any(fnmatch(name.lower(), pattern) for pattern in foreign.names):
                return task.name
        # ours, as we publish them: "vqav2, 4-shot"
        begun = name.replace(" ", ",").partition(",")[0]
        if begun.partition(":")[0] in {task.name for task in tasks}:
            return begun
    called = named(log.names[0]) if log.names else "nothing"
    raise UsageError(
        f"{log.path} is a log of {log.tool} that calls its benchmark {called}; say by --task whose "
        "questions these are, e.g. --task vqav2"
    )


def _joined(
    log: ForeignLog, task: Task, foreign: Foreign, reading: Reading, how: How
) -> list[Joined]:
    references = None if reading.references is None else samples_of(task, reading.references)
    if foreign.note:
        how.note(f"{log.tool}: {foreign.note}")
    declared = log.tool in task.foreign
    parts = Joiner(log, foreign, declared, reading.by_row, how.note).join(references)
    if not parts:
        raise UsageError(f"{log.path} holds no answers")
    for part in parts:
        if references is not None:
            part.samples = references
        if part.twice:
            how.note(f"{log.path}: {part.twice} answers stand there twice and count once")
        if part.errors:
            how.note(f"{log.path}: {part.errors} answers could not be had by {log.tool}")
    return parts


def _chosen(log: ForeignLog, parts: Sequence[Joined], wanted: str | None) -> Joined:
    names = [part.part for part in parts]
    if wanted is not None and wanted not in names:
        raise UsageError(f"{log.path} has no part {wanted!r}; it has {', '.join(map(repr, names))}")
    if wanted is None and len(parts) > 1:
        raise UsageError(
            f"{log.path} has {len(parts)} parts with different answers; choose one by --part: "
            f"{', '.join(map(repr, names[:8]))}"
        )
    return parts[0 if wanted is None else names.index(wanted)]


# -- scores --------------------------------------------------------------------------------------


def _scored(log: ForeignLog, task: Task, part: Joined, how: How) -> tuple[Matched, Scored]:
    if isinstance(task.scorers[0].function, Rubric) and how.judge is None:
        raise UsageError(f"{task.name} is graded by a judge; name one by --judge")
    base = task.submission or Submission(filename="", write=lambda *_: None, read=lambda _: {})
    given = replace(
        base,
        read=lambda _: part.texts,
        references=lambda _: part.samples,
        carries_answers=lambda _: True,
        field=None,
    )
    found = matched(task, given, log.path, None, how)
    return found, scored(task, found, how)


def _theirs(
    task: Task, foreign: Foreign, log: ForeignLog, part: Joined
) -> dict[str, float]:
    """The headline as the tool has it: of its scores of every sample, and of its table."""
    tags = {sample.id: sample for sample in part.samples}
    names = list(dict.fromkeys(n for said in part.said.values() for n in said.values))
    found = {}
    meant = [name for name in names if name in foreign.value] or names
    for group in [meant] if foreign.value and len(meant) > 1 else [[name] for name in meant]:
        outcomes = list(_outcomes(part, tags, group))
        value = task.metrics(outcomes, {}).metrics.get(task.headline)
        if value is not None:
            found[" and ".join(group)] = value
    for name in foreign.figure or foreign.value:
        if name in log.figures:
            found[f"{name}, as in its table"] = log.figures[name] * foreign.scale
    if not foreign.figure and not foreign.value:
        for name, value in log.figures.items():
            if "stderr" not in name and name != "sample_len":
                found[f"{name}, as in its table"] = value
    return found


def _outcomes(
    part: Joined, known: Mapping[str, Sample], names: Sequence[str]
) -> Iterator[Outcome]:
    for id, said in part.said.items():
        value = next((said.values[name] for name in names if name in said.values), None)
        sample = known.get(id, Sample(id=id))
        yield Outcome(id, sample.group or id, sample.tags, Score(value))


def _reasons(
    task: Task,
    foreign: Foreign,
    log: ForeignLog,
    part: Joined,
    found: Matched,
    scores: Scored,
) -> Iterator[str]:
    """Why the two figures differ, as far as the log tells."""
    if found.lacking:
        yield f"{len(found.lacking)} questions of the references are not in the log"
    if found.strangers:
        yield f"{found.strangers} answers of the log are to questions the references do not have"
    if part.errors:
        yield f"{part.errors} answers could not be had, which {log.tool} may count as wrong"
    yield from _differing(task, foreign, log, part, found, scores)
    theirs = list(_theirs(task, foreign, log, part).values())
    for scorer in task.scorers[1:]:
        if isinstance(scorer.function, Rubric) or not theirs:
            continue
        other = _headline(task, scorer.name, found)
        if other is not None and any(abs(other - value) < 1e-3 for value in theirs):
            yield f"another rule: under our scorer {scorer.name!r} it is {other:.3f}, as theirs"


def _headline(task: Task, name: str, found: Matched) -> float | None:
    """The headline under another scorer that looks at one answer at a time."""
    scorer = registry.scored_by(task, name).scorers[0]
    try:
        one = score_one(scorer)
        outcomes = [
            Outcome(s.id, s.group or s.id, s.tags, one(Record(s, answer, answer.text)))
            for s, answer in found.pairs
        ]
    except (UsageError, TypeError):  # it looks at all together, or needs a package that is lacking
        return None
    return task.metrics(outcomes, {}).metrics.get(task.headline)


def _differing(
    task: Task,
    foreign: Foreign,
    log: ForeignLog,
    part: Joined,
    found: Matched,
    scores: Scored,
) -> Iterator[str]:
    """Samples that the two score differently, by what else differs in them."""
    kinds: dict[str, list[str]] = {}
    for outcome in scores.outcomes:
        said = part.said.get(outcome.id)
        if said is None or outcome.score.value is None:
            continue
        names = [n for n in said.values if n in foreign.value] or list(said.values)
        if not names or abs(said.values[names[0]] - outcome.score.value) < 1e-9:
            continue
        if said.heard == "nan" and said.text in ("", "nan"):
            kind = "an empty answer that has become the text nan"
        elif said.heard is not None and said.heard.strip() != said.text.strip():
            kind = "another extraction"
        else:
            kind = "another rule or normalisation"
        kinds.setdefault(kind, []).append(outcome.id)
    for kind, ids in kinds.items():
        yield (
            f"{len(ids)} of {len(found.pairs)} answers are scored differently by {kind} "
            f"({', '.join(map(named, ids[:3]))})"
        )


def _listed(theirs: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in theirs.items())


# -- a run ---------------------------------------------------------------------------------------


def _write(
    run: logs.Log, log: ForeignLog, task: Task, foreign: Foreign, part: Joined, how: How
) -> logs.Cell:
    shots = next((n for n in (part.shots, log.shots) if n is not None), 0)
    if part.samples:
        found, scores = _scored(log, task, part, how)
        pairs: Sequence[tuple[Sample, Answer]] = found.pairs
        texts = list(scores.texts)
        values = list(scores.outcomes.scores)
        figures = cells.figures(task, scores, limit=None, n_of=task.source.size)
        told = facts(task, how.judge)
        units = scores.summary.units
    else:
        pairs = [(Sample(id=id), Answer(id, said.text)) for id, said in part.said.items()]
        texts = [answer.text for _, answer in pairs]
        values = [outcome.score for outcome in _outcomes(part, {}, list(foreign.value) or _names(part))]
        figures, units = _their_figures(task, part, pairs, values, log)
        told = {"scorer": {"name": f"as scored by {log.tool}", "version": 1, "digest": None}}
    theirs = {f"{task.headline}:{log.tool} {name}": v for name, v in _theirs(task, foreign, log, part).items()}
    cell = logs.Cell(
        task=task.name,
        title=task.title,
        shots=shots,
        seed=part.seed,
        model=log.model or log.path.stem,
        support=None,
        n_of=task.source.size,
        settings={
            "protocol": {
                "task": task.name,
                "task_version": task.version,
                "asked_by": log.tool,
                "asked_as": log.names[0] if log.names else None,
                "shots": shots,
                **told,
            },
            "model": {"name": log.model or log.path.stem, "log": log.path.name},
            "code": {"infimm_eval": __version__, "harness": log.said},
        },
        **{**figures, "metrics": {**figures["metrics"], **theirs}},
    )
    roster = run.begin(logs.fingerprint([log.path.name, part.part]), task.name, shots, part.seed)
    for position, (sample, answer) in enumerate(pairs):
        said = part.said.get(sample.id)
        prompt = Prompt("completion", (Turn("user", (said.prompt if said else "",)),))
        key = logs.fingerprint([part.part, sample.id], 32)
        run.add_entry(roster, position, sample, logs.dump_prompt(prompt), (), key)
        if said is not None:
            run.add_answer(key, replace(answer, id=""))
    run.finish(roster, cell, texts, _with_theirs(pairs, values, part, log.tool), units)
    return cell


def _names(part: Joined) -> list[str]:
    return list(dict.fromkeys(n for said in part.said.values() for n in said.values))[:1]


def _with_theirs(
    pairs: Sequence[tuple[Sample, Answer]], values: Sequence[Score], part: Joined, tool: str
) -> Iterator[Score]:
    """Our scores, with the tool's of the same answer beside."""
    for (sample, _), value in zip(pairs, values, strict=True):
        said = part.said.get(sample.id)
        theirs = {f"{tool} {n}": v for n, v in said.values.items()} if said else {}
        yield replace(value, parts={**value.parts, **theirs})


def _their_figures(
    task: Task,
    part: Joined,
    pairs: Sequence[tuple[Sample, Answer]],
    values: Sequence[Score],
    log: ForeignLog,
) -> tuple[dict[str, Any], Any]:
    """A cell's fields of the tool's own scores."""
    outcomes = [Outcome(s.id, s.id, {}, v) for (s, _), v in zip(pairs, values, strict=True)]
    summary = task.metrics(outcomes, {})
    if task.headline not in summary.metrics:
        raise UsageError(
            f"{log.path} holds neither right answers of {task.title} nor scores of {log.tool}; "
            "name the answers by --references"
        )
    unscored = sum(value.value is None for value in values)
    return {
        "headline": task.headline,
        "columns": {},
        "value": summary.metrics[task.headline],
        "ci95": stats.interval(summary.units, summary.scale) if summary.units else None,
        "n": len(pairs),
        "unscored": unscored,
        "unparsed": 0,
        "missing": unscored,
        "complete": not unscored and len(pairs) >= (task.source.size or 1),
        "metrics": summary.metrics,
        "breakdown": summary.breakdown,
        "scale": summary.scale,
    }, summary.units
