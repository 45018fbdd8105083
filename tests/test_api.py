"""The public API: what ``import infimm_eval as ie`` offers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import infimm_eval as ie
from infimm_eval.models.fake import Fake
from infimm_eval.run import ProgressListener

QUIET = {"progress": False, "data": "demo"}


def test_every_public_name_is_there_and_documented() -> None:
    for name in ie.__all__:
        assert getattr(ie, name) is not None
        assert name in dir(ie)
    for name in ("evaluate", "rescore", "load_model", "load_task", "wrap", "Results", "Scorer"):
        assert getattr(ie, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = ie.evalute  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_heavy() -> None:
    check = (
        "import sys; import infimm_eval as ie; ie.Task, ie.UsageError; "
        "heavy = {'torch', 'numpy', 'pandas', 'tqdm', 'jinja2', 'click'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_figures_tables_and_samples_come_from_one_call(tmp_path: Path) -> None:
    results = ie.evaluate("fake:yes", ["vqav2", "mme"], [0, 4], limit=12, seeds=[0, 1], **QUIET)
    assert [(c.task, c.shots, c.seed) for c in results.cells] == [
        *(("vqav2", shots, seed) for shots in (0, 4) for seed in (0, 1)),
        ("mme", 0, 0),
    ]
    table = results.table()
    assert isinstance(table, pd.DataFrame) and len(table) == 5
    assert {"task", "shots", "value", "ci95_low", "n", "complete"} <= set(table.columns)
    samples = results.samples("vqav2", shots=4)
    assert len(samples) == 24 and set(samples["answer"]) == {"yes"}
    wanted = {"id", "prompt", "shot_ids", "answer", "read_as", "score", "parts"}
    assert wanted <= set(samples.columns)
    over_seeds = results["vqav2", 4]
    assert over_seeds.value == pytest.approx(table[table.shots == 4].value.mean())
    assert over_seeds.ci95 and over_seeds.ci95[0] <= over_seeds.value <= over_seeds.ci95[1]
    assert over_seeds.seeds == 2
    assert "<table>" in results._repr_html_()
    page, html = results.save_report(tmp_path / "report")
    assert "VQAv2" in page.read_text() and html.stat().st_size > 10_000


def test_what_was_not_run_is_a_key_error_that_says_what_was() -> None:
    results = ie.evaluate("fake:yes", "vqav2", 0, limit=2, **QUIET)
    with pytest.raises(KeyError, match=r"there is 'vqav2', 0"):
        results["vqav2", 4]
    with pytest.raises(ie.UsageError, match="no cell of coco"):
        results.samples("coco")


def test_a_temporary_log_lives_as_long_as_the_results() -> None:
    results = ie.evaluate("fake:yes", "vqav2", 0, limit=2, **QUIET)
    folder = results.folder
    assert len(results.samples("vqav2")) == 2
    del results
    assert not folder.exists()


def test_the_same_call_again_continues_and_the_folder_is_that_of_the_command_line(
    tmp_path: Path,
) -> None:
    model = Fake("yes")
    for _ in range(2):
        ie.evaluate(model, "vqav2", 0, limit=5, output=tmp_path / "run", **QUIET)
    assert model.answered == 5
    assert json.loads((tmp_path / "run" / "results.json").read_text())["cells"][0]["n"] == 5


class Mine:
    """The smallest model."""

    name = "mine"
    style = "completion"
    settings = {"fingerprint": "1"}  # noqa: RUF012

    def generate(self, requests: Iterable[ie.Request]) -> Iterator[ie.Answer]:
        for request in requests:
            yield ie.Answer(request.id, "no")


@pytest.mark.slow
def test_any_object_with_the_protocol_is_a_model() -> None:
    results = ie.evaluate(Mine(), "vqav2", 0, limit=30, **QUIET)
    assert results["vqav2", 0].value and results.cells[0].model == "mine"


def test_options_are_those_of_the_command_line() -> None:
    results = ie.evaluate(
        "fake:yes", "textvqa", 2, limit=3, support="fixed", prompt_style="instruct",
        scorer={"textvqa": "official"}, prompts={"textvqa": {"ask": "Q: {{ question }}"}}, **QUIET,
    )  # fmt: skip
    protocol = results.cells[0].settings["protocol"]
    assert (protocol["support"], protocol["prompt_style"]) == ("fixed", "instruct")
    assert protocol["scorer"]["name"] == "official"
    assert protocol["prompt"]["ask"] == "Q: {{ question }}"
    with pytest.raises(TypeError, match="unexpected keyword argument 'suport'; did you mean"):
        ie.evaluate("fake:yes", "vqav2", 0, suport="fixed", **QUIET)  # type: ignore[call-arg]


def test_a_task_of_ones_own_is_named_by_value_or_path(tmp_path: Path) -> None:
    task = ie.load_task("vqav2")
    assert isinstance(task, ie.Task)
    assert ie.evaluate("fake:yes", [task], 0, limit=2, **QUIET)["vqav2", 0].n == 2


def test_a_bare_module_is_told_to_be_wrapped() -> None:
    import torch

    with pytest.raises(ie.UsageError, match=r"ie\.wrap\(model, processor\)"):
        ie.evaluate(torch.nn.Linear(2, 2), "vqav2", 0, **QUIET)  # type: ignore[arg-type]


def test_whoever_listens_is_told() -> None:
    class Tells(ProgressListener):
        told: list[str] = []  # noqa: RUF012

        def finished(self, cell: object, known: int) -> None:
            self.told.append("finished")

    ie.evaluate("fake:yes", "vqav2", [0, 4], limit=2, data="demo", progress=Tells())
    assert Tells.told == ["finished", "finished"]


@pytest.mark.slow
def test_evaluation_in_the_middle_of_a_training_run_leaves_no_trace(tmp_path: Path) -> None:
    import random

    import torch

    from infimm_eval import flamingo
    from infimm_eval.flamingo.processor import Processor
    from tests.models.tiny import checkpoint

    def trained(evaluated: bool) -> list[torch.Tensor]:
        model, processor = flamingo.load(checkpoint(tmp_path)), Processor.load(tmp_path)
        wrapped = ie.wrap(model, processor)
        random.seed(0), torch.manual_seed(0)
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
        for step in range(3):
            ids = torch.randint(4, 60, (2, 9))
            logits = torch.nn.functional.dropout(model(ids), 0.1 + random.random() / 10)
            torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
            logits.logsumexp(-1).mean().backward()
            if evaluated and step == 1:
                results = ie.evaluate(wrapped, "vqav2", [0, 2], limit=3, **QUIET)
                assert results["vqav2", 2].n == 3 and model.training
                assert results.cells[0].settings["code"]["device"] == "cpu"
                assert results.cells[0].picture_tokens is not None
            optimizer.step()
            optimizer.zero_grad()
        return [p.detach().clone() for p in model.parameters()]

    assert all(map(torch.equal, trained(evaluated=True), trained(evaluated=False)))


@pytest.mark.slow
def test_answers_of_one_object_are_never_taken_for_anothers(tmp_path: Path) -> None:
    class Says(Mine):
        settings = {}  # noqa: RUF012

        def __init__(self, word: str) -> None:
            self.word = word

        def generate(self, requests: Iterable[ie.Request]) -> Iterator[ie.Answer]:
            return (ie.Answer(request.id, self.word) for request in requests)

    values = [
        ie.evaluate(Says(word), "vqav2", 0, limit=20, output=tmp_path, **QUIET)["vqav2", 0].value
        for word in ("yes", "no")
    ]
    assert values[0] != values[1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"choice": "rnk"}, "unknown choice 'rnk'"),
        ({"support": "x"}, "unknown support 'x'"),
        ({"limit": -1}, "limit should be a whole number from 1, not -1"),
        ({"shots": "0,4"}, "shots should be whole numbers"),
        ({"shots": []}, "shots should be whole numbers"),
        ({"scorer": "official"}, "scorer should be a mapping by task or name"),
        ({"prompts": {"vqav2": {"ask": 5}}}, r"\[prompts.vqav2\] ask should be a text, not 5"),
        ({"model": Fake("yes"), "device": "cuda"}, "device is for models that are given by name"),
        ({"model": Fake}, r"the model is the class Fake; call it"),
    ],
)
def test_mistakes_are_told_as_on_the_command_line(wrong: dict[str, Any], said: str) -> None:
    call: dict[str, Any] = {"model": "fake:yes", "tasks": "vqav2", "limit": 2, **QUIET, **wrong}
    with pytest.raises(ie.UsageError, match=said):
        ie.evaluate(**call)
