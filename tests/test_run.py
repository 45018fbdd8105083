from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import logs, registry
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.scorers import caption
from infimm_eval.types import (
    Answer,
    CorpusFunction,
    Outcome,
    Record,
    Request,
    Row,
    Score,
    Scorer,
    Scoring,
    Source,
    Summary,
    Task,
    Unit,
)
from tests.conftest import Listener

Run = Callable[..., list[logs.Cell]]


class Counting(Fake):
    """Counts what it is asked, and remembers the prompts."""

    def __init__(self, says: str = "yes", fingerprint: str = "one", **options: Any) -> None:
        super().__init__(says, **options)
        self.asked: list[Request] = []
        self.fingerprint = fingerprint

    @property
    def settings(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return super().generate(self._noted(requests))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return super().rank(self._noted(requests))

    def _noted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.asked.append(request)
            yield request


@dataclass(frozen=True)
class Rows:
    """A reader of rows that need no files."""

    found: Sequence[Row]
    expects = ("nothing",)

    def files(self, root: Path) -> tuple[Path, ...]:
        return ()

    def rows(self, root: Path) -> Iterator[Row]:
        return iter(self.found)


def units(folder: Path, cell: logs.Cell) -> list[Unit]:
    with logs.Log(folder) as log:
        return log.units(cell.key)


def test_the_same_run_again_asks_nothing(run: Run, tmp_path: Path) -> None:
    model, listener = Counting(), Listener()
    (first,) = run("vqav2", model=model, limit=10)
    evidence = units(tmp_path / "run", first)
    (again,) = run("vqav2", model=model, limit=10, listener=listener)
    assert (len(model.asked), listener.known) == (10, 10)
    assert again.metrics == first.metrics and units(tmp_path / "run", again) == evidence != []


def test_a_longer_run_asks_only_what_is_new(run: Run) -> None:
    model = Counting()
    run("vqav2", model=model, limit=5)
    (cell,) = run("vqav2", model=model, limit=12)
    assert (len(model.asked), cell.n) == (12, 12)


@pytest.mark.parametrize(
    "changed",
    [
        {"shots": (4,)},
        {"style": "instruct"},
        {"zero_shot_demos": 0},
        {"templates": {"vqav2": {"ask": "{{ images }}{{ question }}"}}},
        {"model": Counting(fingerprint="another")},
    ],
)
def test_another_question_is_asked_anew_and_nothing_is_mixed(
    run: Run, changed: dict[str, Any]
) -> None:
    first, second = Counting(), changed.pop("model", Counting())
    run("vqav2", model=first, limit=6)
    run("vqav2", model=second, limit=6, **changed)
    assert len(second.asked) == 6
    run("vqav2", model=first, limit=6)
    assert len(first.asked) == 6


def test_a_changed_answer_limit_keeps_what_was_scored_apart(run: Run, tmp_path: Path) -> None:
    run("vqav2", model=Counting("yes"), limit=6)
    run("vqav2", model=Counting("no", fingerprint="other"), limit=6)
    with logs.Log(tmp_path / "run") as log:
        said = {entry.answer.text for entry in log.entries(log.shown()[0].key) if entry.answer}
    assert said == {"no"}


def test_zero_shots_show_two_examples_without_pictures(run: Run) -> None:
    model = Counting()
    run("vqav2", model=model, limit=1)
    (request,) = model.asked
    pictures = [
        sum(not isinstance(part, str) for part in turn.content) for turn in request.prompt.turns
    ]
    assert pictures == [0, 0, 0, 0, 1]


def test_four_shots_show_four_pictures_and_the_question_its_own(run: Run) -> None:
    model = Counting()
    run("vqav2", model=model, limit=1, shots=(4,))
    users = [turn for turn in model.asked[0].prompt.turns if turn.role == "user"]
    assert [sum(not isinstance(p, str) for p in turn.content) for turn in users] == [1] * 5


def test_shots_are_the_same_whatever_the_limit_and_stand_in_the_log(
    run: Run, tmp_path: Path
) -> None:
    run("vqav2", limit=3, shots=(4,), folder=tmp_path / "a")
    run("vqav2", limit=9, shots=(4,), folder=tmp_path / "b")
    drawn = []
    for name in "ab":
        with logs.Log(tmp_path / name) as log:
            entries = list(log.entries(log.shown()[0].key))
            drawn.append([entry.shot_ids for entry in entries][:3])
    assert drawn[0] == drawn[1] and all(len(set(ids)) == 4 for ids in drawn[0])


def test_chat_models_get_no_examples_at_zero_shots(run: Run) -> None:
    model = Counting(style="instruct")
    run("vqav2", model=model, limit=1)
    assert len(model.asked[0].prompt.turns) == 1


def test_a_zero_shot_benchmark_runs_once_whatever_shots_are_asked(run: Run) -> None:
    cells = run("mme", "vqav2", shots=(0, 4), seeds=(0, 1), limit=4)
    places = [(cell.task, cell.shots, cell.seed) for cell in cells]
    assert places == [
        ("mme", 0, 0),
        *(("vqav2", shots, seed) for shots in (0, 4) for seed in (0, 1)),
    ]


def test_a_question_that_failed_is_unscored_and_asked_again(run: Run) -> None:
    (cell,) = run("vqav2", model=Counting(error_every=3), limit=9)
    assert (cell.unanswered, cell.unscored, cell.complete) == (3, 3, False)
    healthy = Counting()
    (cell,) = run("vqav2", model=healthy, limit=9)
    assert (len(healthy.asked), cell.unscored) == (3, 0)


def test_metrics_of_ones_own_see_every_outcome_as_a_sequence(run: Run) -> None:
    seen: list[Sequence[Outcome]] = []

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        seen.append(outcomes)
        return Summary(metrics={"accuracy": 50.0})

    task = replace(registry.load("vqav2"), metrics=metrics)
    run(task, model=Fake("yes", error_every=3), limit=9)
    for outcomes in seen[1:]:  # the first are made up, to see which figures the metrics give
        every = list(outcomes)
        assert [outcome.score.value is None for outcome in every] == [False, False, True] * 3
        assert (len(outcomes), outcomes[-1], outcomes[1:5]) == (9, every[-1], every[1:5])
    assert len(seen) == 1 + len(task.scorers)


def test_a_model_that_gives_way_stops_the_run_and_loses_nothing(run: Run) -> None:
    with pytest.raises(MachineryError):
        run("vqav2", model=Counting(fail_at=7), limit=20)
    model = Counting()
    run("vqav2", model=model, limit=20)
    assert len(model.asked) == 14


def test_a_limited_run_says_so(run: Run) -> None:
    (cell,) = run("vqav2", limit=4)
    assert (cell.limit, cell.complete, cell.n) == (4, False, 4)


def test_document_frequency_is_the_full_sets_also_under_a_limit(run: Run, tmp_path: Path) -> None:
    """A caption's CIDEr must not depend on how many others were captioned."""
    coco = replace(registry.load("coco"), scorers=(caption.cider,))
    scores = []
    for limit in (3, 8):
        run(coco, model=Fake("a red circle"), limit=limit, folder=tmp_path / str(limit))
        with logs.Log(tmp_path / str(limit)) as log:
            entries = log.entries(log.shown()[0].key)
            scores.append([entry.score.value for entry in entries if entry.score][:3])
    assert scores[0] == scores[1] and any(scores[0])


def test_every_figure_carries_its_protocol(run: Run) -> None:
    (cell,) = run("vqav2", limit=2, shots=(4,))
    protocol = cell.settings["protocol"]
    assert protocol["task_version"] == 1
    assert (protocol["scorer"]["name"], protocol["scorer"]["version"]) == ("always", 1)
    assert protocol["prompt"]["ask"] == "{{ images }}Question:{{ question }} Short answer:"
    assert protocol["decoding"]["num_beams"] == 3
    assert protocol["data"]["kind"] == "demo"
    assert (protocol["shots"], protocol["support"], protocol["seed"]) == (4, "random", 0)


def test_the_other_scorers_stand_beside_the_default(run: Run) -> None:
    (cell,) = run("vqav2", limit=2)
    assert {"accuracy", "accuracy:official", "accuracy:evalai"} <= cell.metrics.keys()


def test_ranking_asks_for_the_options_and_answers_with_the_best(run: Run) -> None:
    model = Counting()
    (cell,) = run("scienceqa", model=model, limit=3, choice="rank")
    assert cell.settings["protocol"]["choice"] == "rank"
    assert all(request.options for request in model.asked)


def test_withheld_answers_are_not_missing_ones(run: Run) -> None:
    task = registry.load("vqav2:test2015")
    blank = replace(task, sample=lambda row: replace(task.sample(row), references=()))
    (cell,) = run(blank)
    assert (cell.value, cell.unscored == cell.n, cell.complete) == (None, True, True)


def test_an_unknown_part_of_a_template_is_said_so(run: Run) -> None:
    with pytest.raises(UsageError, match="unknown part of the prompt template of vqav2 'aks'"):
        run("vqav2", limit=1, templates={"vqav2": {"aks": "x"}})


def test_results_json_holds_every_cell_of_the_folder(run: Run, tmp_path: Path) -> None:
    run("vqav2", limit=2)
    run("mme", limit=2)
    body = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [cell["task"] for cell in body["cells"]] == ["mme", "vqav2"]


def test_the_report_gets_thumbnails_of_the_question_and_its_shots(run: Run, tmp_path: Path) -> None:
    run("vqav2", limit=3, shots=(2,), samples_shown=2)
    with logs.Log(tmp_path / "run") as log:
        seen = [
            sum(log.picture(key) is not None for key, _ in entry.pictures)
            for entry in log.entries(log.shown()[0].key)
        ]
    assert sorted(seen)[-2:] == [3, 3]


def test_a_batch_that_changes_answers_is_found_out(run: Run) -> None:
    class Sloppy(Fake):
        """Answers the second of a batch as it answered the first."""

        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            said = ""
            for answer in super().generate(requests):
                said = said or answer.text
                yield replace(answer, text=said)

    listener = Listener()
    (sloppy,) = run("vqav2", model=Sloppy(), limit=30, check_batching=10, listener=listener)
    (sound,) = run("mme", model=Fake(), limit=30, check_batching=10)
    assert sloppy.statistics["batching_checked"] == 10
    assert sloppy.statistics["batching_differs"] > 0
    assert sound.statistics["batching_differs"] == 0
    assert any("answers differ when asked alone" in note for note in listener.notes)


def spots(folder: Path) -> list[tuple[str, int, str, int, int]]:
    """Task, limit, model, samples and further cells of every shown figure, from results.json."""
    body = json.loads((folder / "results.json").read_text())
    return [
        (c["task"], c.get("limit", 0), c["settings"]["model"]["fingerprint"], c["n"], c["others"])
        for c in body["cells"]
    ]


def test_a_smoke_test_takes_no_finished_figure_away(run: Run, tmp_path: Path) -> None:
    run("vqav2", "mme", model=Counting(fingerprint="good"), limit=9)
    before = spots(tmp_path / "run")
    run("vqav2", model=Counting(fingerprint="good"), limit=2)
    run("mme", model=Counting(fingerprint="other"), limit=3)
    kept = [(task, limit, model, n) for task, limit, model, n, _ in spots(tmp_path / "run")]
    assert kept == [tuple(spot[:4]) for spot in before]
    assert [others for *_, others in spots(tmp_path / "run")] == [1, 1]


def test_an_attempt_that_fails_takes_no_finished_figure_away(run: Run, tmp_path: Path) -> None:
    (cell,) = run("vqav2", limit=6)
    before = (tmp_path / "run" / "results.json").read_bytes()
    for broken in (
        {"templates": {"vqav2": {"ask": "{{ imagess }}"}}},
        {"model": Counting(fail_at=3)},
        {"shots": (100_000,)},
    ):
        with pytest.raises((UsageError, MachineryError)):
            run("vqav2", limit=6, **broken)
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    with logs.Log(tmp_path / "run") as log:
        assert [made.key for made in log.shown()] == [cell.key]
        assert len(list(log.entries(cell.key))) == 6


def test_two_models_of_one_folder_keep_their_answers(run: Run, tmp_path: Path) -> None:
    cat, dog = Counting("cat"), Counting("dog", fingerprint="dog")
    run("vqav2", model=cat, limit=3)
    run("vqav2", model=dog, limit=3)
    assert spots(tmp_path / "run") == [("vqav2", 3, "dog", 3, 1)]
    run("vqav2", model=cat, limit=3)
    assert spots(tmp_path / "run") == [("vqav2", 3, "one", 3, 1)]
    assert (len(cat.asked), len(dog.asked)) == (3, 3)


# -- one stream ----------------------------------------------------------------------------------


class Batching(Fake):
    """Draws many requests before it answers any, and answers the last ones first."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        source = iter(requests)
        while batch := list(islice(source, 50)):
            assert len({request.id for request in batch}) == len(batch)
            yield from super().generate(reversed(batch))


def test_one_stream_spans_all_cells_whatever_order_answers_come_in(
    run: Run, tmp_path: Path
) -> None:
    tasks, plan = ("vqav2", "okvqa"), {"shots": (0, 4), "seeds": (0, 1), "limit": 7}
    batched = run(*tasks, model=Batching(), folder=tmp_path / "batched", **plan)
    alone = run(*tasks, model=Fake(), folder=tmp_path / "alone", **plan)
    assert [(c.key, c.metrics, c.ci95) for c in batched] == [
        (c.key, c.metrics, c.ci95) for c in alone
    ]
    for name, cells in (("batched", batched), ("alone", alone)):
        assert sum(c.statistics["answers"] for c in cells) == 8 * 7, name


def test_a_cell_is_scored_while_the_next_is_asked(run: Run) -> None:
    scored, asked = threading.Event(), []

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        scored.set()
        return Summary(metrics={"accuracy": 50.0})

    class Waits(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for number, request in enumerate(requests):
                if number == 5:  # the second cell has begun
                    asked.append(scored.wait(timeout=30))
                yield Answer(request.id, "yes")

    run(replace(registry.load("vqav2"), metrics=metrics), shots=(0, 4), model=Waits(), limit=4)
    assert asked == [True]


def test_a_cell_that_cannot_be_scored_takes_no_other_with_it(run: Run, tmp_path: Path) -> None:
    looked: list[Sequence[Outcome]] = []

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        looked.append(outcomes)
        if len(looked) == 1:  # these are made up, to see which figures the metrics give
            return Summary(metrics={"accuracy": 100.0})
        raise UsageError("no such sub-task")

    listener = Listener()
    broken = replace(registry.load("vqav2"), metrics=metrics)
    with pytest.raises(UsageError, match="no such sub-task"):
        run(broken, "mme", limit=3, listener=listener)
    assert "VQAv2 cannot be scored: no such sub-task" in listener.notes
    assert [cell.task for cell in logs.read(tmp_path / "run")] == ["mme"]


def test_an_answer_to_nothing_that_was_asked_is_the_models_fault(run: Run) -> None:
    class Confused(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for request in requests:
                yield Answer(f"not {request.id}", "yes")

    with pytest.raises(MachineryError, match="which was not asked"):
        run("vqav2", limit=2, model=Confused())


def test_a_model_that_cannot_rank_is_refused_before_anything_is_asked(run: Run) -> None:
    class Speaks:
        name, style, settings = "speaks", "completion", {"fingerprint": "1"}

        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            raise AssertionError("nothing may be asked")

    with pytest.raises(UsageError, match=r"speaks has no rank\(requests\)"):
        run("scienceqa", model=Speaks(), choice="rank", limit=2)


# -- what is known of a cell ---------------------------------------------------------------------


def test_fewer_samples_than_the_published_split_has_are_a_subset(run: Run, tmp_path: Path) -> None:
    def sized(size: int | None) -> Task:
        task = registry.load("vqav2")
        rows = list(islice(task.source.demo(), 6))
        files = Rows(rows)
        return replace(task, shots=None, source=Source(files=(files,), size=size))

    for size, complete in ((None, True), (6, True), (214_354, False)):
        (cell,) = run(sized(size), data=str(tmp_path), folder=tmp_path / str(size))
        assert (cell.n, cell.n_of, cell.complete) == (6, size, complete)
        assert cell.finished and cell.subset == (not complete)


def test_the_demo_is_no_subset_of_anything(run: Run) -> None:
    (cell,) = run("vqav2")
    assert (cell.n_of, cell.complete) == (None, True)


def test_a_limit_that_cuts_nothing_off_leaves_the_cell_complete(run: Run) -> None:
    (cell,) = run("vqav2", limit=10_000)
    assert (cell.limit, cell.complete) == (10_000, True)


def test_cut_and_empty_answers_are_counted(run: Run) -> None:
    class Runs(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for number, request in enumerate(requests):
                said = ("yes and", "length") if number % 2 else (" ", "stop")
                yield Answer(request.id, *said)

    (cell,) = run("vqav2", limit=5, model=Runs())
    assert (cell.cut, cell.empty) == (2, 3)


def test_the_code_that_made_a_figure_stands_beside_it(run: Run) -> None:
    (cell,) = run("vqav2", limit=1)
    code = cell.settings["code"]
    assert {"infimm_eval", "commit", "dirty", "torch", "transformers", "device"} <= code.keys()
    assert code["torch"]


def test_prompts_that_lost_shots_are_counted(run: Run) -> None:
    class Short(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for answer in super().generate(requests):
                yield replace(answer, notes={"dropped_shots": 2})

    listener = Listener()
    (cell,) = run("vqav2", model=Short(), limit=3, shots=(4,), listener=listener)
    assert cell.shortened == 3
    assert any("3 prompts did not fit" in note for note in listener.notes)


def test_a_template_that_names_nothing_known_is_the_users_mistake(run: Run) -> None:
    with pytest.raises(UsageError, match="'imagess' is undefined"):
        run("vqav2", limit=1, templates={"vqav2": {"ask": "{{ imagess }}"}})


def test_a_template_of_ones_own_holds_for_the_benchmarks_further_splits(run: Run) -> None:
    (cell,) = run("vqav2:test2015", limit=1, templates={"vqav2": {"ask": "{{ question }}"}})
    assert cell.settings["protocol"]["prompt"]["ask"] == "{{ question }}"


# -- one question, one fate ----------------------------------------------------------------------


class Stumbles(Fake):
    """Raises at every tenth question that it has not met, in the middle of a batch of eight."""

    def __init__(self) -> None:
        super().__init__("yes")
        self.met: dict[str, int] = {}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        source = iter(requests)
        while batch := list(islice(source, 8)):
            for request in batch:
                if self.met.setdefault(request.id, len(self.met)) % 10 == 9:
                    raise RuntimeError("the picture is 300 x 1")
                yield Answer(request.id, "yes")


def test_a_question_that_a_model_stumbles_over_takes_no_other_with_it(
    run: Run, tmp_path: Path
) -> None:
    (sound,) = run("vqav2", model=Fake("yes"), limit=40, folder=tmp_path / "sound")
    listener = Listener()
    (cell,) = run("vqav2", model=Stumbles(), limit=40, listener=listener)
    assert cell.unanswered == 4 and cell.n == sound.n and not cell.finished
    assert any("broke off (RuntimeError: the picture is 300 x 1)" in n for n in listener.notes)
    assert any("questions failed (RuntimeError: the picture" in note for note in listener.notes)


def test_a_template_that_fails_for_one_sample_costs_that_question(run: Run) -> None:
    ask = "{{ question }}{{ 1 // (question.split() | length - 5) }}"
    template = {"vqav2": {"ask": ask}}
    (cell,) = run("vqav2", limit=30, templates=template, zero_shot_demos=0)
    assert 0 < cell.unanswered < 30


def test_twenty_failures_in_a_row_for_one_reason_stop_the_run(run: Run) -> None:
    model = Counting(error_every=1)
    with pytest.raises(MachineryError, match="20 questions in a row failed for one reason"):
        run("vqav2", model=model, limit=200)
    assert len(model.asked) == 20


def test_failures_with_answers_in_between_do_not(run: Run) -> None:
    (cell,) = run("vqav2", model=Counting(error_every=2), limit=100)
    assert cell.unanswered == 50


# -- what a model says around its answer ---------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "scored"),
    [
        ("<think>no, no</think> yes", "yes"),
        ("no </think>\nyes", "yes"),
        ("<think>yes, of course, but", ""),
        ("yes", "yes"),
    ],
)
def test_thoughts_are_no_part_of_an_answer_and_stay_in_the_log(
    run: Run, tmp_path: Path, said: str, scored: str
) -> None:
    (cell,) = run("vqav2", model=Fake(said), limit=2, style="instruct")
    assert cell.settings["protocol"]["thinking"] == "removed"
    assert cell.empty == (0 if scored else 2)
    with logs.Log(tmp_path / "run") as log:
        for entry in log.entries(cell.key):
            assert entry.answer and (entry.answer.text, entry.said) == (said, scored)


def test_thoughts_may_be_kept_and_the_protocol_says_so(run: Run, tmp_path: Path) -> None:
    (cell,) = run("vqav2", model=Fake("<think>a</think>b"), limit=1, thinking="kept")
    assert cell.settings["protocol"]["thinking"] == "kept"
    with logs.Log(tmp_path / "run") as log:
        (entry,) = log.entries(cell.key)
    assert entry.said and "think" in entry.said


def test_an_answer_may_be_given_more_tokens_and_the_protocol_says_so(run: Run) -> None:
    model = Counting()
    cells = run("vqav2", "mme", model=model, limit=1, max_new_tokens={"": 99, "mme": 7})
    limits = [cell.settings["protocol"]["decoding"]["max_new_tokens"] for cell in cells]
    assert limits == [99, 7] == [r.decoding.max_new_tokens for r in model.asked]


def test_a_scorer_that_fails_for_one_answer_leaves_that_one_unscored(
    run: Run, tmp_path: Path
) -> None:
    def picky(record: Record) -> Any:
        number = int(record.sample.id) % 4
        return [Score(1.0), 1 / (number - 1) if number == 1 else 1.0, Score(float("nan"))][
            min(number, 2)
        ]

    listener, task = Listener(), registry.load("vqav2")
    rows = [row for row, _ in zip(task.source.demo(), range(8), strict=False)]
    numbered = replace(
        task,
        source=Source(demo=lambda: ({**row, "question_id": at} for at, row in enumerate(rows))),
        scorers=(Scorer(name="picky", function=picky),),
    )
    (cell,) = run(numbered, model=Fake("yes"), listener=listener)
    assert (cell.value, cell.unscored, cell.finished) == (100.0, 6, False)
    assert any("6 times the scorer failed: ZeroDivisionError" in note for note in listener.notes)


def test_a_scorer_of_too_few_scores_is_named(run: Run) -> None:
    short = CorpusFunction(score=lambda records, learned: Scoring(list(records)[:1] and [Score(1)]))
    task = replace(registry.load("vqav2"), scorers=(Scorer(name="short", function=short),))
    with pytest.raises(UsageError, match="'short' of VQAv2 gives 1 scores for 5 answers"):
        run(task, limit=5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"text": 5}, "the text of an answer is 5"),
        ({"finish": "eos"}, "finish 'eos' is none of stop, length, error"),
    ],
)
def test_an_answer_that_breaks_the_protocol_fails_alone(
    run: Run, wrong: dict[str, Any], said: str
) -> None:
    class Odd(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for number, answer in enumerate(super().generate(requests)):
                yield replace(answer, **wrong) if number == 2 else answer

    listener = Listener()
    (cell,) = run("vqav2", model=Odd("yes"), limit=6, listener=listener)
    assert cell.unanswered == 1 and any(said in note for note in listener.notes)


def test_a_ranking_without_its_log_likelihoods_is_no_answer(run: Run) -> None:
    class Silent(Fake):
        def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for number, answer in enumerate(super().rank(requests)):
                yield replace(answer, logliks=()) if number == 1 else answer

    (cell,) = run("scienceqa", model=Silent(), limit=4, choice="rank")
    assert cell.unanswered == 1


def test_half_a_surrogate_pair_and_odd_notes_are_kept_as_they_can_be(
    run: Run, tmp_path: Path
) -> None:
    class Odd(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for request in requests:
                yield Answer(request.id, "yes \ud83d", notes={"path": tmp_path, "text": "\ud83d"})

    (cell,) = run("vqav2", model=Odd(), limit=2)
    assert cell.n == 2 and not cell.unanswered


def test_an_edited_task_of_ones_own_is_another_figure(run: Run, tmp_path: Path) -> None:
    def edited(text: str) -> Task:
        path = tmp_path / "mine.py"
        path.write_text(
            "from dataclasses import replace\nfrom infimm_eval import registry\n"
            "BASE = registry.load('vqav2')\n"
            f"def sample(row):\n    return replace(BASE.sample(row), references=('{text}',) * 10)\n"
            "TASK = replace(BASE, name='mine', sample=sample)\n"
        )
        sys.modules.pop("infimm_eval.own_tasks.mine", None)
        return registry.load(str(path))

    (first,) = run(edited("no"), model=Fake("yes"), limit=5)
    (second,) = run(edited("yes"), model=Fake("yes"), limit=5)
    assert (first.value, second.value) == (0.0, 100.0)
    with logs.Log(tmp_path / "run") as log:
        assert [cell.value for cell in log.cells()] == [0.0, 100.0]


def test_a_scorer_s_program_is_started_while_a_short_run_is_asked(run, monkeypatch, tmp_path):
    task = registry.load("vqav2")
    events: list[str] = []

    def score(records, _):
        events.append("scored")
        return Scoring([Score(1.0)] * len(list(records)))

    function = CorpusFunction(score=score, warm=lambda: events.append("warm"))
    slow = replace(task, scorers=(replace(task.scorers[0], function=function),))

    class Noting(Fake):
        def _next(self, request):
            events.append("asked")
            return super()._next(request)

    run(slow, slow, model=Noting(), limit=2, shots=(0,), folder=tmp_path / "short")
    assert events[0] == "warm" and events.count("warm") == 1 and "scored" in events
    events.clear()
    monkeypatch.setattr(sys.modules["infimm_eval.run.run"], "SHORT", 1)
    run(slow, model=Noting(), limit=2, shots=(0,), folder=tmp_path / "long")
    assert "warm" not in events and "scored" in events
