"""Validation of what plugin authors write: a task, its templates, the samples it makes of rows.

A mistake is one line before anything is asked: what, where, and what would work.  Knows what the
words of ``types`` have to hold; runs no model and judges no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from math import isclose
from typing import Any, get_args

from infimm_eval import prompts
from infimm_eval.data.reading import Line
from infimm_eval.errors import UsageError, first_line, shown, unknown
from infimm_eval.metrics import headline
from infimm_eval.types import (
    CorpusFunction,
    Image,
    Kind,
    Outcome,
    PromptTemplate,
    Row,
    Rubric,
    Sample,
    Score,
    Scorer,
    Source,
    Style,
    Summary,
    Task,
)

TEMPLATE_NAMES = frozenset(
    {
        *("images", "question", "options", "letters", "hint", "target"),
        *("references", "id", "tags"),
    }
)
"""What a prompt template may speak of."""

TRIED = 1000
"""So many samples are enough to see which figures a task's metrics give."""


# ---- samples


def samples(task: Task, rows: Iterable[Row], where: str) -> Iterator[Sample]:
    """Every row's sample.  ``UsageError`` names the row, counted from 1, that lacks a column or of
    which ``task.sample`` makes none; ``where`` is what holds the rows."""
    for number, row in enumerate(rows, 1):
        try:
            made = task.sample(row)
        except KeyError as missing:
            held = ", ".join(map(str, row))
            raise UsageError(
                f"{where}, row {number}, has no {missing} for {task.name}'s sample; it has {held}"
            ) from missing
        except (TypeError, ValueError, LookupError, AttributeError) as odd:
            raise UsageError(
                f"{_place(row, where, number)}: {task.name} makes no sample of it "
                f"({type(odd).__name__}: {first_line(odd)})"
            ) from odd
        if not _as_usual(made):
            check_sample(made, _place(row, where, number))
        yield made


def _place(row: Row, where: str, number: int) -> str:
    return row.place if isinstance(row, Line) else f"{where}, row {number}"


def check_sample(sample: Sample, where: str) -> None:
    """``UsageError`` where a field holds what it should not; a microsecond where none does."""
    if not _as_usual(sample) and (fault := _fault(sample)):
        raise UsageError(f"{where}: {fault}")


_pictures: set[type] = set()
"""The kinds of picture met so far: asking an abstract class is slow."""


def _as_usual(s: Any) -> bool:
    """Whether a sample is well-formed; of one with pictures inside its texts it does not know."""
    try:
        # Joining refuses what is no text, in a fraction of the time that asking each thing takes.
        "".join(
            (s.id, s.target, s.group, s.hint, *s.references, *s.question, *s.tags.values())
        ).encode()
        for option in s.options:
            "".join(option).encode()
    except (AttributeError, TypeError, UnicodeEncodeError):
        return False
    return (
        s.id != ""
        and type(s.references) is type(s.question) is tuple
        and type(s.images) is tuple
        and {*map(type, s.images)} <= _pictures
        and type(s.options) is tuple
        and {*map(type, s.options)} <= {tuple}
    )


def _fault(sample: object) -> str:
    """What is wrong with a sample, or ""."""
    if not isinstance(sample, Sample):
        return f"sample made {_short(sample)} of it; a Sample is wanted"
    texts = {name: getattr(sample, name) for name in ("id", "target", "hint", "group")}
    faults = (
        *(_text(name, value) for name, value in texts.items()),
        "" if sample.id else "the id is empty; every sample wants one of its own",
        _tuple("references", sample.references, str),
        _tuple("images", sample.images, Image),
        _tuple("question", sample.question, str | Image),
        _tuple("options", sample.options, tuple),
        *(_tuple("an option", option, str | Image) for option in sample.options),
        *(_text(f"tags[{name!r}]", value) for name, value in sample.tags.items()),
        *(_unicode("references", text) for text in sample.references),
        *(_unicode("question", part) for part in sample.question),
        *(_unicode("an option", part) for option in sample.options for part in option),
    )
    found = next(filter(None, faults), "")
    if not found:
        _pictures.update(map(type, sample.images))
    return found


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return _unicode(name, value)
    return f"{name} is {_short(value)}; a text is wanted, such as {_short(shown(value))}"


def _unicode(name: str, value: object) -> str:
    """A half of a surrogate pair is no text: nothing can keep it, print it or send it."""
    if not isinstance(value, str) or value.isascii():
        return ""
    half = next((mark for mark in value if "\ud800" <= mark <= "\udfff"), "")
    return f"{name} holds {half!r}, half of a character; was it cut?" if half else ""


def _tuple(name: str, value: object, kind: Any) -> str:
    if not isinstance(value, tuple):
        wanted = f"({_short(value)},)" if isinstance(value, kind) else "tuple(...)"
        return f"{name} is {_short(value)}; a tuple is wanted: {wanted}"
    odd = [item for item in value if not isinstance(item, kind)]
    if not odd:
        return ""
    wanted = "a tuple of texts and pictures" if kind is tuple else _named(kind)
    return f"{name} holds {_short(odd[0])}; {wanted} is wanted"


def _named(kind: Any) -> str:
    return {str: "a text", Image: "a picture"}.get(kind, "a text or a picture")


def _short(value: object) -> str:
    said = shown(value)
    return said if len(said) <= 60 else f"{said[:57]}..."


# ---- tasks


def check_task(task: Task, where: str) -> None:
    """``UsageError`` where a field of a task holds what it should not."""
    for wrong, what in _mistakes(task):
        if wrong:
            raise UsageError(f"{where}: {what}")
    for scorer in task.scorers:
        _check_scorer(scorer, where)


def _mistakes(task: Task) -> Iterator[tuple[bool, str]]:
    yield not _is_text(task.name), f"name is {task.name!r}; a text is wanted"
    yield "/" in task.name, f"the name {task.name!r} holds a '/'"
    yield not _is_text(task.title), f"title is {task.title!r}; a text is wanted"
    yield type(task.version) is not int, f"version is {task.version!r}; a whole number is wanted"
    yield not isinstance(task.source, Source), "source is no Source(...)"
    yield not callable(task.sample), "sample is no function from a row to a Sample"
    yield not callable(task.metrics), "metrics is no function; such as metrics.mean('accuracy')"
    yield not _is_text(task.headline), "headline names no metric"
    yield (
        not (isinstance(task.templates, Mapping) and task.templates),
        "templates is no mapping of prompt templates; use prompts.templates(...)",
    )
    for style, template in task.templates.items():
        styles = get_args(Style)
        yield style not in styles, f"a template of style {style!r}; known: {', '.join(styles)}"
        yield not isinstance(template, PromptTemplate), f"templates[{style!r}] is no PromptTemplate"
    kinds = get_args(Kind)
    yield task.kind not in (None, *kinds), f"the kind {task.kind!r}; known: {', '.join(kinds)}"
    for name, found in task.formats.items():
        whole = isinstance(found, Mapping) and all(
            style in get_args(Style) and isinstance(template, PromptTemplate)
            for style, template in found.items()
        )
        yield not whole, f"formats[{name!r}] is no mapping of prompt templates by style"
    yield (
        not (isinstance(task.scorers, tuple | list) and task.scorers),
        "scorers is no list of scorers; write scorers=(..., )",
    )
    for scorer in task.scorers:
        yield not isinstance(scorer, Scorer), f"{_short(scorer)} among the scorers is no Scorer"
    names = [scorer.name for scorer in task.scorers]
    twice = sorted({name for name in names if names.count(name) > 1})
    yield bool(twice), f"two scorers are called {', '.join(twice)}"


def _check_scorer(scorer: Scorer, where: str) -> None:
    if not _is_text(scorer.name) or type(scorer.version) is not int:
        raise UsageError(
            f"{where}: the scorer {scorer.name!r} of version {scorer.version!r}; a text and a "
            "whole number are wanted"
        )
    if not (callable(scorer.function) or isinstance(scorer.function, CorpusFunction | Rubric)):
        raise UsageError(
            f"{where}: the scorer {scorer.name} is {_short(scorer.function)}; a function from a "
            "Record to a Score, a CorpusFunction or a Rubric is wanted"
        )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def check_templates(task: Task, where: str) -> None:
    """``UsageError`` where a prompt template cannot be read or speaks of what is not there."""
    from jinja2 import TemplateSyntaxError, meta

    environment = prompts.environment()
    found = [*task.templates.items(), *(t for each in task.formats.values() for t in each.items())]
    for style, template in found:
        for part in (template.ask, template.answer):
            try:
                spoken = meta.find_undeclared_variables(environment.parse(part))
            except (TemplateSyntaxError, RecursionError) as broken:
                raise UsageError(
                    f"{where}: the {style} template {_short(part)}: {broken}"
                ) from broken
            for name in sorted(spoken - TEMPLATE_NAMES):
                told = unknown(f"name in the {style} template", name, TEMPLATE_NAMES)
                raise UsageError(f"{where}: {told}")


def check_headline(task: Task, of: Iterable[Sample], where: str) -> None:
    """``UsageError`` where the metrics fail on made-up scores of these samples, give figures and
    not the headline, or give units that do not add up to it.

    Figures of a whole corpus are not known before it is scored: such a headline is believed.
    """
    made_up = [
        Outcome(sample.id, sample.group or sample.id, sample.tags, Score(float(at % 3 > 0)))
        for at, sample in enumerate(islice(of, TRIED))
    ]
    try:
        summary = task.metrics(made_up, {})
    except UsageError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"{where}: its metrics fail on made-up scores ({said})") from error
    if not isinstance(summary, Summary):
        raise UsageError(f"{where}: its metrics give {shown(summary)}; a Summary is wanted")
    whole = isinstance(task.scorers[0].function, CorpusFunction)
    if len(summary.units) and not whole and task.headline not in summary.metrics:
        given = ", ".join(summary.metrics)
        raise UsageError(f"{where}: the headline {task.headline!r} is no metric; it gives {given}")
    value = summary.metrics.get(task.headline)
    if value is None or not len(summary.units):
        return
    added = headline(summary.units, summary.scale)
    if not isclose(added, value, rel_tol=1e-6, abs_tol=1e-6):
        raise UsageError(
            f"{where}: the units of its metrics add up to {added:g} where the headline "
            f"{task.headline!r} is {value:g}; intervals are made of units"
        )
