"""``--support``: which shots a run shows, what it records, and what it refuses in a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infimm_eval import evaluate, formats, logs, registry
from infimm_eval.compare import gate
from infimm_eval.compare.verdicts import Comparison, Figure, Row
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.scorers import caption
from infimm_eval.types import Image, Sample, Source, Task
from tests.conftest import Listener

Run = Callable[..., list[logs.Cell]]


class Seeing(Fake):
    """A fake with eyes: pictures of neighbouring numbers look alike."""

    def __init__(self) -> None:
        super().__init__("yes")
        self.seen: list[str] = []

    @property
    def picture_encoder(self) -> Seeing:
        return self

    @property
    def identity(self) -> dict[str, Any]:
        return {"encoder": "own", "weights": "none"}

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        self.seen += [image.name for image in images]
        angles = np.array([number(image.name) / 400 for image in images])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


class Reading(Seeing):
    """... and it tells texts apart by their first words' lengths."""

    @property
    def text_identity(self) -> dict[str, Any]:
        return {"encoder": "own", "of": "texts"}

    def encode_texts(self, texts: Sequence[str]) -> Any:
        return np.array([[len(text), sum(map(ord, text)) % 97, 1.0] for text in texts])


def number(name: str) -> int:
    return int("".join(filter(str.isdigit, name)))


def entries(folder: Path) -> list[logs.Entry]:
    with logs.Log(folder) as log:
        return [entry for cell in log.shown() for entry in log.entries(cell.key)]


TRAIN = 40
"""Rows of the training split here: drawing pictures takes its time."""


def small(name: str) -> Task:
    task = registry.load(name)
    if task.shots is None or task.shots.demo is None:
        return task
    rows = list(islice(task.shots.demo(), TRAIN))
    # Of captions without METEOR, which takes seconds to start.
    scorers = (caption.cider,) if name == "coco" else task.scorers
    return replace(task, shots=Source(demo=lambda: rows), scorers=scorers)


@pytest.fixture
def retrieved(run: Run, tmp_path: Path) -> Run:
    def go(*tasks: Any, **plan: Any) -> list[logs.Cell]:
        defaults = {"shots": (4,), "limit": 6, "retrieval_cache": tmp_path / "cache"}
        chosen = map(small, tasks)
        return run(*chosen, **{"model": Seeing(), "support": "rices", **defaults, **plan})

    return go


@pytest.mark.slow
def test_rices_shows_the_nearest_pictures_of_the_whole_split_nearest_last(
    retrieved: Run, tmp_path: Path
) -> None:
    (cell,) = retrieved("coco")
    assert (cell.support, cell.control) == ("rices", None)
    for entry in entries(tmp_path / "run"):
        shown = [int(id) - 100_001 for id in entry.shot_ids]
        asked = int(entry.sample.id) - 1
        distances = [abs(n - asked) for n in shown]
        assert distances == sorted(distances, reverse=True) and shown[-1] == asked


@pytest.mark.slow
def test_the_protocol_records_all_that_selection_depends_on(retrieved: Run) -> None:
    (cell,) = retrieved("coco", distinct_pictures=True)
    protocol = cell.settings["protocol"]
    assert protocol["support"] == "rices" and "seed" not in protocol and "pool" not in protocol
    assert protocol["split"]["size"] == TRAIN and len(protocol["split"]["fingerprint"]) == 12
    assert protocol["split_data"]["kind"] == "demo"
    assert protocol["direction"] == "most similar last"
    assert "lower row" in protocol["ties"] and protocol["distinct_pictures"] is True
    assert protocol["encoder"]["weights"] == "none" and protocol["encoder"]["fingerprint"]
    (other,) = retrieved("coco")
    assert other.key != cell.key


@pytest.mark.slow
def test_pictures_are_encoded_once_for_every_task_and_run(retrieved: Run, tmp_path: Path) -> None:
    def counted(cell: logs.Cell) -> list[int]:
        return [cell.statistics[f"retrieval_pictures_{what}"] for what in ("encoded", "reused")]

    first, again = Seeing(), Seeing()
    cells = retrieved("coco", "vqav2", model=first, shots=(0, 2, 4))
    by_spot = {(cell.task, cell.shots): cell for cell in cells}
    assert counted(by_spot["coco", 2]) == [TRAIN + 6, 0] and counted(by_spot["coco", 4]) == [
        0,
        TRAIN + 6,
    ]
    assert counted(by_spot["vqav2", 2]) == [0, TRAIN // 2 + 3]
    assert not any("retrieval" in name for name in by_spot["coco", 0].statistics)
    assert len(first.seen) == len(set(first.seen)) == TRAIN + 6
    retrieved("coco", model=again, shots=(4,), folder=tmp_path / "again")
    assert again.seen == []


def test_zero_shots_stay_the_random_ones(retrieved: Run, run: Run, tmp_path: Path) -> None:
    (cell,) = retrieved("vqav2", shots=(0,), folder=tmp_path / "rices")
    (plain,) = run(small("vqav2"), model=Seeing(), limit=6, folder=tmp_path / "random")
    assert cell.support is None
    assert cell.settings["protocol"] == plain.settings["protocol"]


@pytest.mark.slow
def test_openflamingos_zero_shot_examples_are_retrieved_too_but_never_by_an_oracle(
    retrieved: Run, tmp_path: Path
) -> None:
    asked = {"shots": (0,), "prompt_format": formats.OPENFLAMINGO}
    (rices,) = retrieved("coco", folder=tmp_path / "rices", **asked)
    assert rices.settings["protocol"]["support"] == "rices"
    for entry in entries(tmp_path / "rices"):
        assert int(entry.shot_ids[-1]) - 100_001 == int(entry.sample.id) - 1
    (oracle,) = retrieved("coco", support="oracle", folder=tmp_path / "oracle", **asked)
    assert oracle.settings["protocol"]["support"] == "random"


def test_another_seed_is_no_other_cell_where_nothing_is_drawn(retrieved: Run) -> None:
    cells = retrieved("vqav2", shots=(0, 2), seeds=(0, 1))
    assert [(cell.shots, cell.seed) for cell in cells] == [(0, 0), (0, 1), (2, 0)]
    assert len(retrieved("vqav2", support="oracle", shots=(2,), seeds=(0, 1))) == 2


def test_text_and_mmices_compare_questions(retrieved: Run, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    reading = Reading()

    def found(*_: Any) -> Any:
        from infimm_eval.shots.encoders import Encoders

        return Encoders(reading, reading)

    monkeypatch.setattr("infimm_eval.shots.encoders.find", found)
    (text,) = retrieved("vqav2", model=reading, support="text")
    assert text.settings["protocol"]["text_encoder"]["of"] == "texts"
    assert "encoder" not in text.settings["protocol"]
    (both,) = retrieved("vqav2", model=reading, support="mmices")
    (turned,) = retrieved("vqav2", model=reading, support="mmices", nearest_last=True)
    first, last = both.settings["protocol"], turned.settings["protocol"]
    assert (first["direction"], last["direction"]) == ("most similar first", "most similar last")
    assert first["candidates"] == 200
    with logs.Log(tmp_path / "run") as log:
        shown = [[e.shot_ids for e in log.entries(cell.key)] for cell in (both, turned)]
    assert shown[0] == [ids[::-1] for ids in shown[1]]


@pytest.mark.parametrize("support", ["text", "mmices"])
def test_a_task_without_questions_refuses_to_compare_them(retrieved: Run, support: str) -> None:
    with pytest.raises(UsageError, match=f"coco asks no questions that --support {support}"):
        retrieved("coco", support=support)


def test_a_model_without_eyes_says_what_would_work(retrieved: Run) -> None:
    for model in ({}, {"retrieval_model": "own"}):
        with pytest.raises(UsageError, match=r"fake:yes has no eyes .*open_clip:NAME@FILE"):
            retrieved("coco", model=Fake("yes"), **model)


def test_a_zero_shot_benchmark_needs_no_encoder(retrieved: Run) -> None:
    (cell,) = retrieved("mme", model=Fake("yes"))
    assert (cell.shots, cell.support) == (0, None)


# ---- the oracle


@pytest.mark.sampled
@pytest.mark.parametrize("model", [Seeing(), Fake("yes")], ids=["eyes", "no eyes"])
def test_the_oracle_shows_shots_that_share_the_answer(
    retrieved: Run, tmp_path: Path, model: Fake
) -> None:
    (cell,) = retrieved("vqav2", model=model, support="oracle")
    assert cell.settings["protocol"]["upper_bound"] == "uses the answers"
    targets = {str(s.id): s for s in train("vqav2")}
    sharing = 0
    for entry in entries(tmp_path / "run"):
        for id in entry.shot_ids:
            sharing += targets[id].target in entry.sample.references
    assert sharing >= 12  # of 24: half of the forty answers occur once


def train(name: str) -> list[Sample]:
    task = registry.load(name)
    assert task.shots and task.shots.demo
    return [task.sample(row) for row in task.shots.demo()]


def test_an_oracles_loss_stops_no_build() -> None:
    figure = Figure(50.0, None, 10)
    row = Row(task="t", title="T", shots=4, headline="accuracy", seeds=(0,), base=figure,
              new=figure, verdict="worse", p_drop=0.001, gaps=("unfinished",))  # fmt: skip
    judged = replace(row, support="rices")
    bound = replace(row, support="oracle")
    assert gate(Comparison("a", "b", (judged,))).code == 1
    assert gate(Comparison("a", "b", (bound,))).code == 0
    assert "upper bound, uses the answers" in bound.name and judged.name.endswith("rices shots")


def test_tables_mark_the_oracle(retrieved: Run, tmp_path: Path) -> None:
    from infimm_eval import report

    cells = retrieved("vqav2", support="oracle")
    assert "upper bound, uses the answers" in report.screen(cells)
    report.write([tmp_path / "run"], tmp_path)
    assert "upper bound, uses the answers" in (tmp_path / "report.md").read_text()


# ---- a file of one's own


def listed(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file:{path}"


def good() -> list[dict[str, Any]]:
    """Two shots for each of the first six questions of the demo's VQAv2."""
    task = registry.load("vqav2")
    assert task.source.demo
    asked = [task.sample(row).id for row, _ in zip(task.source.demo(), range(6), strict=False)]
    shots = [sample.id for sample in train("vqav2")[40:42]]
    return [{"id": id, "shots": shots} for id in asked]


@pytest.mark.slow
def test_a_file_names_the_shots_in_the_order_of_the_prompt(run: Run, tmp_path: Path) -> None:
    rows = good()
    rows[0]["shots"] = rows[0]["shots"][::-1]
    support = listed(tmp_path / "mine.jsonl", rows)
    (cell,) = run("vqav2", support=support, shots=(2,), limit=6)
    assert cell.support == "file:mine.jsonl" and str(tmp_path) not in json.dumps(cell.settings)
    found = {entry.sample.id: list(entry.shot_ids) for entry in entries(tmp_path / "run")}
    assert found == {row["id"]: row["shots"] for row in rows}
    (other,) = run("vqav2", support=listed(tmp_path / "mine.jsonl", good()), shots=(2,), limit=6)
    assert other.key != cell.key


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[2].update(shots=["1"]), "row 3 .*names 1 shots; 2 are asked for"),
        (lambda rows: rows[2].update(shots=["1", "2"]), "row 3 .*training split has no '1'"),
        (lambda rows: rows[2].update(id="nobody"), "row 3: vqav2 has no question 'nobody'"),
        (lambda rows: rows.pop(2), "has no row for question"),
        (lambda rows: rows.append(rows[2]), "row 7: question .* is there twice"),
        (lambda rows: rows.append(["no", "object"]), "row 7 is .* a line such as"),
        (lambda rows: rows[1].update(shots="12"), "row 2 is .* a line such as"),
    ],
)
def test_a_row_of_the_file_that_is_not_so_is_named(
    run: Run, tmp_path: Path, change: Callable[[list[Any]], object], said: str
) -> None:
    rows: list[Any] = good()
    change(rows)
    with pytest.raises(UsageError, match=f"mine.jsonl {said}") as refused:
        run("vqav2", support=listed(tmp_path / "mine.jsonl", rows), shots=(2,), limit=6)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_file_cannot_show_the_questions_own_picture(run: Run, tmp_path: Path) -> None:
    task = registry.load("vqav2")
    shared = replace(task, sample=lambda row: replace(task.sample(row), group="one picture"))
    with pytest.raises(UsageError, match=r"row 1 .*shows the question's own picture"):
        run(shared, support=listed(tmp_path / "mine.jsonl", good()), shots=(2,), limit=6)


def test_questions_beyond_the_limit_may_stand_in_the_file(run: Run, tmp_path: Path) -> None:
    (cell,) = run("vqav2", support=listed(tmp_path / "m.jsonl", good()), shots=(2,), limit=3)
    assert cell.n == 3


def test_a_missing_file_is_said_so(run: Run) -> None:
    with pytest.raises(UsageError, match="--support file:nowhere: there is no such file"):
        run("vqav2", support="file:nowhere", shots=(2,), limit=3)


# ---- what a person types


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"support": "rises"}, "unknown support 'rises'; did you mean 'rices'"),
        ({"support": "file:"}, "unknown support 'file:'"),
        ({"nearest_last": True}, "--nearest-last orders shots that are retrieved"),
        ({"support": "file:x", "distinct_pictures": True}, "names the shots itself"),
        ({"retrieval_model": "own"}, "--retrieval-model is for --support"),
        ({"support": "rices", "retrieval_model": "clip"}, "write open_clip:NAME@FILE"),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_anything_is_asked(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        evaluate(Seeing(), ["coco"], 2, data="demo", limit=1, progress=False, **options)


@pytest.mark.slow
def test_evaluate_and_config_files_take_the_same_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from infimm_eval.cli import main

    (tmp_path / "model.py").write_text(
        "from tests.test_support import Seeing\nMODEL = Seeing()\n", encoding="utf-8"
    )
    (tmp_path / "config.toml").write_text(
        f'tasks = ["coco"]\nshots = [2]\nlimit = 2\ndata = "demo"\nsupport = "rices"\n'
        f'distinct-pictures = true\nretrieval-model = "own"\n'
        f'retrieval-cache = "{tmp_path / "cache"}"\nmodel = "{tmp_path / "model.py"}"\n'
    )
    folder = tmp_path / "run"
    assert main(["run", "--config", str(tmp_path / "config.toml"), "--output", str(folder)]) == 0
    (cell,) = json.loads((folder / "results.json").read_text())["cells"]
    results = evaluate(
        Seeing(), ["coco"], 2, data="demo", limit=2, progress=False, support="rices",
        distinct_pictures=True, retrieval_model="own", retrieval_cache=tmp_path / "cache",
    )  # fmt: skip
    assert cell["support"] == results.cells[0].support == "rices"
    ours, theirs = cell["settings"]["protocol"], results.cells[0].settings["protocol"]
    assert ours == json.loads(json.dumps(theirs))


@pytest.mark.slow
def test_long_encodings_say_how_far_they_are(
    retrieved: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infimm_eval.shots.encoders.KEPT_EVERY", 30)
    listener = Listener()
    retrieved("coco", listener=listener)
    assert any("encoding 46 pictures for --support rices, kept in" in n for n in listener.notes)


@pytest.mark.slow
def test_the_demo_retrieves_by_its_own_eyes_without_a_download(tmp_path: Path) -> None:
    results = evaluate(
        "demo", ["vqav2"], [4], limit=30, progress=False, support="rices",
        retrieval_cache=tmp_path, output=tmp_path / "run",
    )  # fmt: skip
    (cell,) = results.cells
    assert cell.statistics["retrieval_pictures_encoded"] > 1000
    counts = [same_count(entry) for entry in entries(tmp_path / "run")]
    assert sum(counts) > 0.9 * 4 * len(counts)  # they see how many things there are


def same_count(entry: logs.Entry) -> int:
    from infimm_eval.demo.scenes import scene

    def things(split: Any, id: str, first: int) -> int:
        return len(scene(split, int(id) // 10 - first).things)

    asked = things("test", entry.sample.id, 1)
    return sum(things("train", id, 100_001) == asked for id in entry.shot_ids)
