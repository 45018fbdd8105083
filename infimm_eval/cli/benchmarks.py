"""``tasks``: the benchmarks there are, and what one of them asks, to the letter.

Knows no benchmark; what it prints is what the ``Task`` says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from textwrap import fill
from typing import TYPE_CHECKING

import click

from infimm_eval.cli.completion import complete_task

if TYPE_CHECKING:
    from infimm_eval.published import Number
    from infimm_eval.types import Decoding, Prompt, Sample, Source, Task


@click.command()
@click.argument("name", required=False, shell_complete=complete_task)
def tasks(name: str | None) -> None:
    """List the benchmarks; with NAME, the exact prompt, decoding, data and published figures.

    \b
    infimm-eval tasks            all of them, a few lines each
    infimm-eval tasks vqav2      one, with a prompt of the demo data as a model is asked
    infimm-eval tasks ./mine.py  one of your own
    """
    from infimm_eval import registry

    if name is not None:
        click.echo("\n".join(_described(registry.load(name))))
        return
    found = registry.select(["all"])
    wide = max(len(task.name) for task in found)
    titled = max(len(task.title) for task in found)
    for task in found:
        shots = "few-shot" if task.shots else "zero-shot only"
        facts = f"{task.headline}, {_size(task.source)}"
        click.echo(f"{task.name:<{wide}}  {task.title:<{titled}}  {shots:<14}  {facts}")
        click.echo(f"{'':<{wide}}  scorers: {', '.join(scorer.name for scorer in task.scorers)}")
        if task.splits:
            named = ", ".join(f"{task.name}:{split}" for split in task.splits)
            click.echo(f"{'':<{wide}}  further splits: {named}")


def _described(task: Task) -> Iterator[str]:
    shots = "few-shot" if task.shots else "zero-shot only"
    yield f"{task.name}: {task.title}, {shots}, headline {task.headline}"
    yield f"  split      {task.name}, {_size(task.source)}"
    for name, split in task.splits.items():
        withheld = ", answers withheld: for a submission" if split.withheld else ""
        yield f"  split      {task.name}:{name}, {_size(split.source)}{withheld}"
    yield from _places(task)
    first, *others = (scorer.name for scorer in task.scorers)
    yield f"  scorers    {', '.join([f'{first} (the headline)', *others])}"
    yield from _prompts(task)
    yield from _published(task)


def _size(source: Source) -> str:
    return f"{source.size:,} samples" if source.size else "no published size"


def _places(task: Task) -> Iterator[str]:
    """Where the data may lie, a line for each way."""
    from infimm_eval.data.parquet import place

    for reader in task.source.files:
        yield f"  --data DIR {' + '.join(reader.expects)}"
    if task.source.hub is not None:
        yield f"  --data DIR {place(task.source.hub)}"
        yield f"  --data hub {' or '.join(task.source.hub.repos)}, split {task.source.hub.split}"
    if task.source.demo is not None:
        yield "  --data demo  made-up rows of the same shape, for the demo model"


def _prompts(task: Task) -> Iterator[str]:
    """Both prompt templates; where there are demo rows, filled in with the first."""
    from infimm_eval.prompts import Prompter
    from infimm_eval.run.plan import ZERO_SHOT_DEMOS

    samples = _some(task, task.source, 1)
    shown = _some(task, task.shots, 2) if task.shots else []
    for style, template in task.templates.items():
        yield ""
        yield f"{style}: {_search(template.decoding)}"
        if not samples:
            yield from _indented([template.system, template.ask, template.answer])
            continue
        for count in (0, len(shown)) if shown else (0,):
            examples = shown[: count or ZERO_SHOT_DEMOS[style]]
            bare = ", examples without their pictures" if examples and not count else ""
            yield f"  {count} shots{bare}, a sample of the demo data:"
            prompt = Prompter(style, template)(samples[0], examples, text_only=not count)
            yield from _indented(_turns(prompt))


def _some(task: Task, source: Source | None, count: int) -> list[Sample]:
    if source is None or source.demo is None:
        return []
    return [task.sample(row) for row in islice(source.demo(), count)]


def _turns(prompt: Prompt) -> Iterator[str]:
    if prompt.system:
        yield f"[system] {prompt.system}"
    for turn in prompt.turns:
        text = "".join(part if isinstance(part, str) else "[picture]" for part in turn.content)
        yield f"[{turn.role}] {text}"


def _search(decoding: Decoding) -> str:
    beams = f"beam {decoding.num_beams}" if decoding.num_beams > 1 else "greedy"
    penalty = f", length penalty {decoding.length_penalty:g}" if decoding.num_beams > 1 else ""
    stop = f", stops at {', '.join(map(repr, decoding.stop))}" if decoding.stop else ""
    return f"{beams}{penalty}, at most {decoding.max_new_tokens} new tokens{stop}"


def _published(task: Task) -> Iterator[str]:
    """What papers and leaderboards print of it: a table for each column and split, a row for each
    model and source, and what is to be known of them below."""
    from infimm_eval import published

    tables: dict[tuple[str, str], list[Number]] = {}
    for number in published.numbers():
        if number.task in task.columns:
            tables.setdefault((number.task, number.split), []).append(number)
    marks: dict[str, int] = {}
    for (column, split), numbers in tables.items():
        yield ""
        yield f"published, {column}, {'split ' if split == 'not stated' else ''}{split}:"
        yield from _table(numbers, marks)
    if marks:
        yield ""
    yield from (f"  [{mark}] {note}" for note, mark in marks.items())


def _table(numbers: Sequence[Number], marks: dict[str, int]) -> Iterator[str]:
    """Models by shots; below a row the parts that it is printed by.  Notes get a mark each."""
    shots = sorted({number.shots for number in numbers})
    rows: dict[tuple[str, str], list[Number]] = {}
    for number in numbers:
        rows.setdefault((number.model, number.source), []).append(number)
    cells = [["", *(f"{count} shots" for count in shots)]]
    for (model, _), own in rows.items():
        printed = {n.shots: _figure(n) for n in own if not n.group}
        cells.append([model, *(printed.get(count, "-") for count in shots)])
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    ends = ["", *(f"{source}{_marked(own, marks)}" for (_, source), own in rows.items())]
    parts = [[], *([n for n in own if n.group] for own in rows.values())]
    for (name, *figures), end, of in zip(cells, ends, parts, strict=True):
        texts = [f"{text:>{width}}" for text, width in zip(figures, wide[1:], strict=True)]
        yield "  ".join([f"  {name:<{wide[0]}}", *texts, end]).rstrip()
        if of:
            listed = "of which " + ", ".join(f"{n.group} {n.value:g}" for n in of)
            yield fill(listed, 100, initial_indent=" " * 6, subsequent_indent=" " * 8)


_DEVIATION = re.compile(r"standard deviation ([\d.]+)")


def _figure(number: Number) -> str:
    deviation = _DEVIATION.search(number.note)
    return f"{number.value:g} ± {deviation[1]}" if deviation else f"{number.value:g}"


def _marked(numbers: Iterable[Number], marks: dict[str, int]) -> str:
    """The marks of all that is said of some figures; a deviation stands beside its figure."""
    notes = (note for n in numbers for note in n.note.split("; ") if note)
    told = sorted({marks.setdefault(n, len(marks) + 1) for n in notes if not _DEVIATION.match(n)})
    return "".join(f" [{mark}]" for mark in told)


def _indented(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from (f"    {line}" for line in text.split("\n")) if text else ()
