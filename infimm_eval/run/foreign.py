"""Another harness's log as figures of ours: its answers under our scorers, beside its own scores.

    score      the figures of one file
    as_runs    run folders of logs, for whoever reads runs

What the tool gave stays evidence: it is shown, and where it differs the reason is said as far as
it can be known.  Knows no tool and no benchmark by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infimm_eval import __version__, logs, registry, stats
from infimm_eval.errors import UsageError, named
from infimm_eval.logs.foreign import ForeignLog, open_foreign
from infimm_eval.run import cells
from infimm_eval.run.foreign_join import Joined, Joiner, Said
from infimm_eval.run.score_file import How, Matched, Result, matched, result, samples_of, scored
from infimm_eval.run.scoring import Scored, facts
from infimm_eval.scorers import score_one
from infimm_eval.types import (
    Answer,
    Content,
    CorpusFunction,
    Foreign,
    Outcome,
    Prompt,
    Record,
    Rubric,
    Sample,
    Score,
    Scorer,
    Submission,
    Task,
    Turn,
    Unit,
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
            # a dataclass with slots is a class of its own, which super() alone does not know
            **super(ForeignResult, self).as_json(),
            "tool": self.tool,
            "part": self.part,
            "theirs": dict(self.theirs or {}),
            "reasons": list(self.reasons),
        }


def score(log: ForeignLog, reading: Reading, how: How) -> ForeignResult:
    """Score one part of a log; ``UsageError`` where its questions cannot be told or scored."""
    one = _chosen(log, _read(log, reading, how), reading.part)
    if not one.part.samples:
        raise UsageError(
            f"{log.path} holds no right answers of {one.task.title}; name them by --references: a "
            f"data folder, demo, hub or the authors' answer file ({log.tool} says "
            f"{_listed(one.theirs) or 'nothing of it'})"
        )
    found, scores = _scored(one, how)
    ours = result(one.task, found, scores)
    return ForeignResult(
        **{name: getattr(ours, name) for name in Result.__dataclass_fields__},
        tool=log.said,
        part=one.part.part,
        theirs=one.theirs,
        reasons=list(_reasons(one, found, scores)),
    )


@contextmanager
def as_runs(
    paths: Sequence[Path], reading: Reading, note: Callable[[str], None] = lambda text: None
) -> Iterator[list[Path]]:
    """The same paths, each log of another harness among them as a run folder that lasts as long
    as the context.  A log of a part of the questions is a subset there."""
    with TemporaryDirectory(prefix="infimm_eval-") as place:
        found = []
        for number, path in enumerate(paths):
            log = open_foreign(path)
            folder = Path(place) / str(number) / path.stem
            if log is not None:
                write_run(log, folder, reading, How(note=note, allow_partial=True))
            found.append(path if log is None else folder)
        yield found


def write_run(log: ForeignLog, folder: Path, reading: Reading, how: How) -> list[logs.Cell]:
    """Write a log as a run: a cell a part.  Where it holds no right answers and none are named,
    the tool's own scores make the figure, which the protocol says."""
    parts = _read(log, reading, how)
    cells_of = {(one.part.shots, one.part.seed) for one in parts}
    if reading.part is not None or len(cells_of) < len(parts):
        parts = [_chosen(log, parts, reading.part)]
    folder.mkdir(parents=True)
    with logs.Log(folder, writing=True) as run:
        made = [_write(run, one, how) for one in parts]
        logs.write_results(folder, run.shown())
    return made


@dataclass(frozen=True)
class _Part:
    """One part of a log, and whose questions it answers."""

    log: ForeignLog
    task: Task
    foreign: Foreign
    part: Joined

    @property
    def model(self) -> str:
        """The model; where only a file is named after it, what stands before the benchmark."""
        stem = self.log.path.stem
        meant = (name for name in self.log.names if _matches(name, self.foreign))
        name = next(meant, "")
        before = stem.rpartition(f"_{name}")[0] if name else ""
        return self.log.model or before or stem

    @cached_property
    def theirs(self) -> dict[str, float]:
        """The headline as the tool has it: of its scores of every sample, and of its table."""
        known = {sample.id: sample for sample in self.part.samples}
        found = {}
        for names in self._scores:
            outcomes = list(self.outcomes(names, known))
            with self.knowing_tags():
                value = self.task.metrics(outcomes, {}).metrics.get(self.task.headline)
            if value is not None:
                found[" and ".join(names)] = value
        meant = self.foreign.figure or self.foreign.value
        for name, value in self.log.figures.items():
            if name in meant or (not meant and "stderr" not in name and name != "sample_len"):
                found[f"{name} (its table)"] = value * self.foreign.scale
        return found

    @contextmanager
    def knowing_tags(self) -> Iterator[None]:
        """``UsageError`` where metrics want a tag of samples that a log does not carry."""
        try:
            yield
        except KeyError as lacking:
            raise UsageError(
                f"{self.log.path}: what it carries of {self.task.title} has no "
                f"{lacking}, without which there is no {self.task.headline}; name the questions "
                "by --references"
            ) from lacking

    @cached_property
    def _scores(self) -> list[list[str]]:
        """The tool's scores by name: those that are the headline's together, else each alone."""
        names = list(dict.fromkeys(n for said in self.part.said.values() for n in said.values))
        meant = [name for name in names if name in self.foreign.value]
        return [meant] if meant else [[name] for name in names]

    def outcomes(self, names: Sequence[str], known: Mapping[str, Sample]) -> Iterator[Outcome]:
        """Every answer under the first of the tool's named scores that it has."""
        for id, said in self.part.said.items():
            sample = known.get(id, Sample(id=id))
            yield Outcome(id, sample.group or id, sample.tags, Score(_first(said.values, names)))

    def value_of(self, id: str) -> float | None:
        """The tool's score of one answer that is nearest to the headline's."""
        said = self.part.said.get(id)
        return _first(said.values, self._scores[0]) if said and self._scores else None


def _first(values: Mapping[str, float], names: Iterable[str]) -> float | None:
    return next((values[name] for name in names if name in values), None)


# -- which benchmark, which part -----------------------------------------------------------------


def _named(log: ForeignLog) -> str:
    """The benchmark that a log means by one of the names it has."""
    tasks = registry.select(["all"])
    for name in log.names:
        for task in tasks:
            if _matches(name, _declared(task, log) or Foreign()):
                return task.name
        ours = re.split(r"[ ,]", name, maxsplit=1)[0]  # "vqav2, 4-shot", as we publish it
        if ours.partition(":")[0] in {task.name for task in tasks}:
            return ours
    called = named(log.names[0]) if log.names else "nothing"
    raise UsageError(
        f"{log.path} is a log of {log.tool} that calls its benchmark {called}; say by --task whose "
        "questions these are, e.g. --task vqav2"
    )


def _matches(name: str, foreign: Foreign) -> bool:
    return any(fnmatch(name.lower(), pattern) for pattern in foreign.names)


def _read(log: ForeignLog, reading: Reading, how: How) -> list[_Part]:
    """Every part of a log, joined with the references or with what the log carries."""
    task = registry.load(reading.task or _named(log))
    task = task if how.scorer is None else registry.scored_by(task, how.scorer)
    references = None if reading.references is None else _references(task, reading.references, how)
    foreign = _foreign(task, log)
    if foreign.note:
        how.note(f"{log.tool}: {foreign.note}")
    joiner = Joiner(log, foreign, _declared(task, log) is not None, reading.by_row, how.note)
    parts = joiner.join(references)
    if not parts:
        raise UsageError(f"{log.path} holds no answers")
    for part in parts:
        if part.twice:
            how.note(f"{log.path}: {part.twice} answers stand there twice and count once")
        if part.errors:
            how.note(f"{log.path}: {part.errors} answers could not be had by {log.tool}")
    return [_Part(log, task, foreign, part) for part in parts]


def _foreign(task: Task, log: ForeignLog) -> Foreign:
    return _declared(task, log) or task.foreign.get("") or Foreign()


def _declared(task: Task, log: ForeignLog) -> Foreign | None:
    """What a benchmark says of a log's tool, or of the one whose questions it took over."""
    return task.foreign.get(log.tool) or task.foreign.get(log.like or log.tool)


def _references(task: Task, place: Path, how: How) -> list[Sample]:
    """The questions with their right answers, also of another log that carries them."""
    log = open_foreign(place)
    if log is None:
        found = samples_of(task, place)
    else:
        joiner = Joiner(log, _foreign(task, log), _declared(task, log) is not None, False, how.note)
        found = list({s.id: s for part in joiner.join(None) for s in part.samples}.values())
    if not any(sample.references for sample in found):
        raise UsageError(f"{place} holds no right answers of {task.title}")
    return found


def _chosen(log: ForeignLog, parts: Sequence[_Part], wanted: str | None) -> _Part:
    known = {name: one for one in parts for name in (one.part.part, *one.part.also)}
    if wanted is None and len(parts) == 1:
        return parts[0]
    if wanted in known:
        return known[wanted]
    names = ", ".join(map(repr, list(known)[:8]))
    if wanted is None:
        raise UsageError(f"{log.path} has {len(parts)} parts; choose one by --part: {names}")
    raise UsageError(f"{log.path} has no part {wanted!r}; it has {names}")


# -- scores --------------------------------------------------------------------------------------


def _scored(one: _Part, how: How) -> tuple[Matched, Scored]:
    """Our scores, by the rules that the benchmark has for a file of results."""
    if isinstance(one.task.scorers[0].function, Rubric) and how.judge is None:
        raise UsageError(f"{one.task.name} is graded by a judge; name one by --judge")
    base = one.task.submission or Submission(filename="", write=_nothing, read=lambda _: {})
    given = replace(
        base,
        read=lambda _: one.part.texts,
        references=lambda _: one.part.samples,
        carries_answers=lambda _: True,
        field=None,
    )
    try:
        found = matched(one.task, given, one.log.path, None, how)
    except ValueError as stranger:  # of an id that should be a number
        raise UsageError(
            f"{one.log.path}: an id is none of {one.task.title} ({stranger}); is it another "
            "benchmark's log?"
        ) from stranger
    with one.knowing_tags():
        return found, scored(one.task, found, how)


def _nothing(records: Sequence[Record], path: Path) -> None:
    """A task without a results file is never submitted."""


def _reasons(one: _Part, found: Matched, scores: Scored) -> Iterator[str]:
    """Why the two figures differ, as far as the log tells."""
    if found.lacking:
        yield f"{len(found.lacking)} questions of the references are not in the log"
    if found.strangers:
        yield f"{found.strangers} answers of the log are to questions the references do not have"
    if one.part.errors:
        yield f"{one.part.errors} answers could not be had, which {one.log.tool} may count as wrong"
    yield from _differing(one, found, scores)
    ours, theirs = scores.summary.metrics.get(one.task.headline), [*one.theirs.values()]
    if ours is None or any(_same(ours, value) for value in theirs):
        return
    for scorer in one.task.scorers[1:]:
        other = _headline(one.task, scorer, found)
        if other is not None and any(_same(other, value) for value in theirs):
            yield f"under our scorer {scorer.name!r} it is {other:.3f}, as theirs"


def _same(one: float, other: float) -> bool:
    """To the places that tables of other harnesses have."""
    return abs(one - other) < 1e-3


def _headline(task: Task, scorer: Scorer, found: Matched) -> float | None:
    """The headline under another scorer that looks at one answer at a time."""
    if isinstance(scorer.function, Rubric | CorpusFunction):
        return None
    one = score_one(scorer)
    try:
        outcomes = [
            Outcome(s.id, s.group or s.id, s.tags, one(Record(s, answer, answer.text)))
            for s, answer in found.pairs
        ]
    except UsageError:  # it needs a package that is lacking: nobody asked for it
        return None
    return task.metrics(outcomes, {}).metrics.get(task.headline)


def _differing(one: _Part, found: Matched, scores: Scored) -> Iterator[str]:
    """Samples that the two score differently, by what else differs in them."""
    kinds: dict[str, list[str]] = {}
    for outcome in scores.outcomes:
        theirs = one.value_of(outcome.id)
        if theirs is None or outcome.score.value is None:
            continue
        if abs(theirs - outcome.score.value) > 1e-9:
            kinds.setdefault(_kind(one.part.said[outcome.id]), []).append(outcome.id)
    for kind, ids in kinds.items():
        yield (
            f"{len(ids)} of {len(found.pairs)} answers are scored differently by {kind} "
            f"({', '.join(map(named, ids[:3]))})"
        )


def _kind(said: Said) -> str:
    if said.heard == "nan" and said.text in ("", "nan"):
        return "an empty answer that has become the text nan"
    if said.heard is not None and said.heard.strip() != said.text.strip():
        return "another extraction"
    return "another rule or normalisation"


def _listed(theirs: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in theirs.items())


# -- a run ---------------------------------------------------------------------------------------


def _write(run: logs.Log, one: _Part, how: How) -> logs.Cell:
    """One part as a cell with its samples."""
    log, part = one.log, one.part
    if part.samples:
        found, scores = _scored(one, how)
        for reason in _reasons(one, found, scores):
            how.note(f"{log.path}: {reason}")
        pairs: Sequence[tuple[Sample, Answer]] = found.pairs
        values: Sequence[Score] = scores.outcomes.scores
        figures = cells.figures(one.task, scores, limit=None, n_of=one.task.source.size)
        units, told = scores.summary.units, facts(one.task, how.judge)
    else:
        pairs = [(Sample(id=id), Answer(id, said.text)) for id, said in part.said.items()]
        values = [Score(one.value_of(id)) for id in part.said]
        figures, units = _their_figures(one, values)
        told = {"scorer": {"name": f"as scored by {log.tool}", "version": 1, "digest": None}}
    cell = _cell(one, {**figures, "metrics": {**figures["metrics"], **_beside(one)}}, told)
    name = logs.fingerprint([log.path.name, part.part])
    roster = run.begin(name, cell.task, cell.shots, cell.seed)
    for position, (sample, answer) in enumerate(pairs):
        said = part.said.get(sample.id)
        prompt = Prompt("completion", (Turn("user", (said.prompt if said else "",)),))
        key = logs.fingerprint([part.part, sample.id], 32)
        run.add_entry(roster, position, _unseen(sample), logs.dump_prompt(prompt), (), key)
        if said is not None:
            run.add_answer(key, replace(answer, id=""))
    texts = [how.read(answer.text) for _, answer in pairs]
    run.finish(roster, cell, texts, _with_theirs(one, pairs, values), units)
    return cell


def _unseen(sample: Sample) -> Sample:
    """The sample with its pictures by name: they need not be there."""

    def unseen(content: Content) -> Content:
        return tuple(p if isinstance(p, str) else logs.NamedImage(p.name, p.name) for p in content)

    return replace(
        sample,
        images=tuple(logs.NamedImage(image.name, image.name) for image in sample.images),
        question=unseen(sample.question),
        options=tuple(map(unseen, sample.options)),
    )


def _cell(one: _Part, figures: Mapping[str, Any], told: Mapping[str, Any]) -> logs.Cell:
    log, task = one.log, one.task
    shots = next((n for n in (one.part.shots, log.shots) if n is not None), 0)
    return logs.Cell(
        task=task.name,
        title=task.title,
        shots=shots,
        seed=one.part.seed,
        model=one.model,
        n_of=task.source.size,
        settings={
            "protocol": {
                "task": task.name,
                "task_version": task.version,
                "asked_by": log.tool,
                "asked_as": one.part.part or None,
                "shots": shots,
                **told,
            },
            "model": {"name": one.model, "log": log.path.name},
            "code": {"infimm_eval": __version__, "harness": log.said},
        },
        **figures,
    )


def _beside(one: _Part) -> dict[str, float]:
    return {f"{one.task.headline}:{one.log.tool} {n}": value for n, value in one.theirs.items()}


def _with_theirs(
    one: _Part, pairs: Sequence[tuple[Sample, Answer]], values: Sequence[Score]
) -> Iterator[Score]:
    """Our scores, with the tool's of the same answer beside."""
    for (sample, _), value in zip(pairs, values, strict=True):
        said = one.part.said.get(sample.id)
        theirs = {f"{one.log.tool} {n}": v for n, v in said.values.items()} if said else {}
        yield replace(value, parts={**value.parts, **theirs})


def _their_figures(one: _Part, values: Sequence[Score]) -> tuple[dict[str, Any], Collection[Unit]]:
    """A cell's fields of the tool's own scores."""
    task = one.task
    outcomes = [Outcome(id, id, {}, v) for id, v in zip(one.part.said, values, strict=True)]
    with one.knowing_tags():
        summary = task.metrics(outcomes, {})
    if task.headline not in summary.metrics:
        raise UsageError(
            f"{one.log.path} holds neither right answers of {task.title} nor scores of "
            f"{one.log.tool}; name the answers by --references"
        )
    unscored = sum(value.value is None for value in values)
    return {
        "headline": task.headline,
        "columns": {},
        "value": summary.metrics[task.headline],
        "ci95": stats.interval(summary.units, summary.scale) if summary.units else None,
        "n": len(values),
        "unscored": unscored,
        "unparsed": 0,
        "missing": unscored,
        "complete": not unscored and len(values) >= (task.source.size or 1),
        "metrics": summary.metrics,
        "breakdown": summary.breakdown,
        "scale": summary.scale,
    }, summary.units
