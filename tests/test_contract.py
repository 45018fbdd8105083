"""What every benchmark keeps to; tasks and their splits are found, not listed.

The README's benchmark of twelve lines is held to the same as the built-in ones.  What a benchmark
leaves out (rows of a demo, shots, a submission) is absent, and what is asked of it is skipped.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import pytest

from infimm_eval import logs, metrics, prompts, published, registry, scorers
from infimm_eval.data import checking
from infimm_eval.errors import UsageError
from infimm_eval.models import load
from infimm_eval.models.fake import Fake
from infimm_eval.run.score_file import score_file
from infimm_eval.run.submit import submit
from infimm_eval.scorers import caption
from infimm_eval.shots import Shots, pool
from infimm_eval.types import Answer, Content, Image, Record, Rubric, Sample, Source, Style, Task

Run = Callable[..., list[logs.Cell]]

ROOT = Path(__file__).parent.parent


def twelve_lines() -> str:
    """The path of the README's benchmark, in a file of its own."""
    found = re.search(
        r"```python\n(\"\"\"Signs.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert found is not None
    path = Path(tempfile.mkdtemp()) / "signs.py"
    path.write_text(found[1])
    return str(path)


TASKS = [*registry.names(), twelve_lines()]
EVERY = [
    name
    for task in TASKS
    for name in (task, *(f"{task}:{split}" for split in registry.load(task).splits))
]
LIMIT = 6

every_task = pytest.mark.parametrize("name", TASKS, ids=lambda name: Path(name).stem)
every_split = pytest.mark.parametrize("name", EVERY, ids=lambda name: Path(name).stem)


@cache
def quick(name: str) -> Task:
    """Captions without METEOR, which takes ten seconds to start, and fifty of them."""
    task = registry.load(name)
    if task.scorers[0].name != "CIDEr-D":
        return task
    demo = task.source.demo
    assert demo is not None
    fifty = replace(task.source, demo=lambda: islice(demo(), 50))
    return replace(task, source=fifty, scorers=(caption.cider,))


@cache
def samples(name: str) -> list[Sample]:
    return demo(quick(name), quick(name).source)


@cache
def examples(name: str) -> list[Sample]:
    return demo(registry.load(name), registry.load(name).shots)


def demo(task: Task, source: Source | None) -> list[Sample]:
    """The demo's samples, each looked at; skips where there are none."""
    if source is None:
        pytest.skip(f"{task.name} is zero-shot only")
    if source.demo is None:
        pytest.skip(f"{task.name} has no demo rows")
    return [*checking.samples(task, filter(source.keep, source.demo()), "the demo")]


def styles(task: Task) -> Iterator[tuple[Style, prompts.Prompter]]:
    for style, template in task.templates.items():
        yield style, prompts.Prompter(style, template)


def pictures(content: Content) -> int:
    return sum(isinstance(part, Image) for part in content)


@pytest.mark.sampled
@every_split
def test_it_runs_end_to_end_and_its_headline_is_what_its_units_add_up_to(
    name: str, run: Run, tmp_path: Path
) -> None:
    task = quick(name)
    assert samples(name)
    (cell,) = run(task, limit=LIMIT, judge=load("demo-judge"))
    assert (cell.task, cell.limit, cell.complete) == (task.name, LIMIT, False)
    assert cell.n + cell.unscored >= LIMIT and not cell.unanswered
    assert set(cell.columns.values()) <= cell.metrics.keys() | {"cognition"}
    assert cell.headline in cell.metrics and cell.value == cell.metrics[cell.headline]
    with logs.Log(tmp_path / "run") as log:
        units = log.units(cell.key)
    assert cell.value == pytest.approx(metrics.headline(units, cell.scale), abs=1e-9)


@every_split
def test_its_samples_have_ids_of_their_own_and_belong_to_a_picture(name: str) -> None:
    found = samples(name)
    assert len({sample.id for sample in found}) == len(found) > LIMIT
    assert all(sample.id == sample.id.strip() != "" for sample in found)


@every_split
def test_its_templates_speak_of_what_there_is_and_its_headline_is_a_metric(name: str) -> None:
    task = registry.load(name)
    checking.check_task(task, name)
    checking.check_templates(task, name)
    if task.source.demo is not None:
        checking.check_headline(task, samples(name), name)


@every_split
def test_every_template_asks_every_sample_and_shows_its_pictures(name: str) -> None:
    task = registry.load(name)
    assert set(task.templates) == set(get_args(Style))
    for style, prompter in styles(task):
        for sample in islice(samples(name), LIMIT):
            prompt = prompter(sample)
            (turn,) = prompt.turns
            assert prompt.style == style and turn.role == "user"
            assert pictures(turn.content) == len(set(prompts.pictures([sample])))
            said = "".join(part for part in turn.content if isinstance(part, str))
            assert said and "{{" not in said
            asked = [part for part in sample.question if isinstance(part, str)]
            assert all(part in said for part in asked)


@pytest.mark.sampled
@every_task
def test_its_shots_show_another_picture_and_their_answer(name: str) -> None:
    task = registry.load(name)
    whole = examples(name)
    chosen = whole if task.support else pool(whole, task.name, 0)
    support = Shots(task.name, 0, chosen, rule=task.support)
    for sample in islice(samples(name), LIMIT):
        drawn = support.pick(sample, 4)
        assert len({shot.id for shot in drawn}) == len(drawn) in (4, 8)
        assert all(not shot.group or shot.group != sample.group for shot in drawn)
        shown = {image.key for image in prompts.pictures(drawn)}
        assert shown.isdisjoint(image.key for image in prompts.pictures([sample]))
        for _, prompter in styles(task):
            *turns, question = prompter(sample, drawn).turns
            assert [turn.role for turn in turns] == ["user", "assistant"] * len(drawn)
            assert all(turn.content for turn in turns)
            plain = prompter(sample, drawn, text_only=True).turns
            assert [pictures(turn.content) for turn in plain[:-1]] == [0] * 2 * len(drawn)
            assert plain[-1] == question


@every_task
def test_it_is_called_like_its_file_and_like_the_published_column(name: str) -> None:
    task = registry.load(name)
    assert task.name == Path(name).stem and task.title and task.version >= 1
    printed = {number.task for number in published.numbers()}
    for split in ("", *task.splits):
        assert set(registry.load(f"{name}:{split}" if split else name).columns) <= printed


def test_no_published_column_is_left_without_a_benchmark() -> None:
    shown = {column for name in EVERY for column in registry.load(name).columns}
    tables = {column for stage in published.STAGES for column in published.columns(stage)}
    assert tables <= shown <= tables | set(published.further_columns())


@every_split
def test_its_scorers_keep_answers_unscored_where_none_is_known(name: str) -> None:
    blank = [
        replace(sample, references=(), tags={k: v for k, v in sample.tags.items() if k != "stems"})
        for sample in islice(samples(name), 2)
    ]
    records = [Record(sample, Answer(sample.id, ""), "") for sample in blank]
    for scorer in quick(name).scorers:
        if isinstance(scorer.function, Rubric):
            continue
        try:
            scored = scorers.score(scorer, records, scorers.learn(scorer, blank)).scores
        except UsageError as lacking:
            assert "stemming OK-VQA answers takes" in str(lacking)
            continue
        assert [score.value for score in scored] == [None, None]


@pytest.mark.sampled
@pytest.mark.parametrize("name", [*TASKS, "scienceqa:full"], ids=lambda name: Path(name).stem)
def test_its_submission_scores_what_the_run_scored(name: str, run: Run, tmp_path: Path) -> None:
    task = quick(name)
    form = task.submission
    if form is None:
        pytest.skip(f"{task.name} has no submission")
    right = {sample.id: sample.target for sample in samples(name) if lucky(sample)}
    half = Fake(lambda request: right.get(request.id, "no idea, A."))
    (cell,) = run(task, model=half, judge=load("demo-judge"))
    path, count, empty = submit(task, tmp_path / "run", tmp_path / "out" / form.filename)
    assert (count, empty) == (cell.n, 0)
    if isinstance(task.scorers[0].function, Rubric):
        read = form.read(path)
        assert read.keys() == {sample.id for sample in samples(name)}
        assert {key: read[key].split() for key in right} == {k: v.split() for k, v in right.items()}
        return
    result = score_file(task, path, Path("demo"))
    assert (result.n, result.without_prediction, result.without_reference) == (cell.n, 0, 0)
    assert result.value == pytest.approx(cell.value, abs=1e-9)
    assert cell.value
    shared = {k: v for k, v in cell.metrics.items() if ":" not in k}
    assert result.summary.metrics == pytest.approx(shared, abs=1e-9)
    assert result.summary.breakdown.keys() == cell.breakdown.keys()


def lucky(sample: Sample) -> bool:
    """Half of the pictures, with all that is asked about them."""
    return sum(map(ord, sample.group or sample.id)) % 2 == 0


@pytest.mark.slow
def test_captions_have_meteor_beside_cider(run: Run) -> None:
    (cell,) = run("coco", model=Fake("a red circle on a white ground"), limit=LIMIT)
    assert {"CIDEr", "METEOR", "ROUGE_L", "Bleu_4"} <= cell.metrics.keys()


def test_ocr_tokens_stand_under_the_question_and_the_figure_says_so(run: Run) -> None:
    asked: list[Any] = []

    def echo(request: Any) -> str:
        asked.append(request)
        return "yes"

    (cell,) = run("textvqa", model=Fake(echo), limit=2, ocr=True)
    sample = samples("textvqa")[0]
    question = "".join(part for part in asked[0].prompt.turns[-1].content if isinstance(part, str))
    assert f"{sample.question[0]}\nReference OCR token: {sample.tags['ocr']}" in question
    assert (cell.title, cell.settings["protocol"]["ocr"]) == ("TextVQA with OCR", "in the prompt")
    (plain,) = run("textvqa", model=Fake("yes"), limit=2)
    assert "OCR" not in plain.title and "ocr" not in plain.settings["protocol"]


def test_ocr_leaves_benchmarks_without_tokens_as_they_are(run: Run) -> None:
    (cell,) = run("vqav2", limit=1, ocr=True)
    assert "OCR" not in cell.settings["protocol"]["prompt"]["ask"]


PAGE = (ROOT / "tasks" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", re.findall(r"^\| \[(\w+)\]\(#", PAGE, re.MULTILINE))
def test_what_the_page_says_of_a_benchmark_is_so(name: str) -> None:
    task = registry.load(name)
    listed = ", ".join(scorer.name for scorer in task.scorers)
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| [{name}](#{name}) |"))
    assert line.endswith(f"| {task.headline} | {listed} |")
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert all(f"{name}:{split}" in section for split in task.splits)


def test_the_example_of_the_page_about_benchmarks_runs(run: Run, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PAGE.split("```python\n")[1].split("```")[0], encoding="utf-8")
    (cell,) = run(str(plugin), model=Fake("yes"), limit=LIMIT)
    assert (cell.task, cell.n) == ("mine", LIMIT)
