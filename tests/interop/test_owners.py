"""What ``publish`` writes, read by the code of those whose formats they are.

Their packages are the dependency group ``interop``, which ``.ci/run`` installs; without them these
tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import logs
from infimm_eval.cli import main
from tests import published_run

SCHEMAS = Path(__file__).parent / "schemas"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_run.make(tmp_path_factory.mktemp("run") / "mine")


@pytest.fixture(scope="module")
def cells(run: Path) -> list[logs.Cell]:
    return logs.read(run)


def publish(run: Path, to: str, output: Path, *more: str) -> Path:
    assert main(["publish", str(run), "--to", to, "--output", str(output), *more]) == 0
    return output


@pytest.mark.slow
def test_inspect_reads_every_log_and_every_sample(
    run: Path, cells: list[logs.Cell], tmp_path: Path
) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="needs inspect-ai (group interop)")
    folder = publish(run, "inspect", tmp_path)
    listed = log.list_eval_logs(str(folder))
    assert len(listed) == len(cells)
    values: dict[tuple[Any, ...], dict[str, float]] = {}
    for info in listed:
        read = log.read_eval_log(info)
        assert read.status == "success"
        told = read.eval.metadata
        samples = {
            sample.id: score.value
            for sample in read.samples
            for score in (sample.scores or {}).values()
        }
        values[read.eval.task, told["shots"], told["seed"]] = samples
        assert len(log.read_eval_log_sample_summaries(info)) == len(read.samples)
        some = read.samples[0]
        assert log.read_eval_log_sample(info, some.id).output.completion == some.output.completion
        assert read.results.scores[0].metrics[told["headline"]].value == told["value"]
    with logs.Log(run) as ours:
        wanted = {
            (c.task, c.shots, c.seed): {i: v for i, v in ours.values(c.key) if v is not None}
            for c in cells
        }
    assert values == wanted


@pytest.mark.slow
def test_every_eval_ever_is_valid_by_its_schemas(run: Path, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema (group interop)")
    folder = publish(run, "eee", tmp_path)
    whole, sample = (
        jsonschema.Draft7Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))
        for name in ("eval", "instance_level_eval")
    )
    aggregates = sorted(folder.rglob("*.json"))
    assert len(aggregates) == 3
    for path in aggregates:
        body = json.loads(path.read_text())
        assert [*whole.iter_errors(body)] == []
        told = body["detailed_evaluation_results"]
        lines = (folder / told["file_path"]).read_text().split("\n")[:-1]
        assert len(lines) == told["total_rows"] > 0
        for line in lines:
            assert [*sample.iter_errors(json.loads(line))] == []


def test_the_schemas_find_a_fault() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema (group interop)")
    for name in ("eval", "instance_level_eval"):
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        assert [*jsonschema.Draft7Validator(schema).iter_errors({"schema_version": "0.3.0"})]


def test_every_eval_evers_own_validator_passes_the_files(run: Path, tmp_path: Path) -> None:
    validator = os.environ.get("EVERY_EVAL_EVER")
    if not validator:
        pytest.skip("needs every-eval-ever, which needs Python 3.12: EVERY_EVAL_EVER names it")
    folder = publish(run, "eee", tmp_path)
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    done = subprocess.run(
        [validator, "validate", *names], cwd=folder, capture_output=True, text=True
    )
    assert "0 failed (0 errors" in done.stdout, done.stdout + done.stderr


def test_the_hubs_library_parses_the_results_and_the_model_card(
    run: Path, cells: list[logs.Cell], tmp_path: Path
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    if not hasattr(hub, "parse_eval_result_entries"):
        pytest.skip("needs a huggingface_hub that knows .eval_results")
    import yaml

    ids = ("--dataset-id", "mme=made/mme", "--task-id", "mme=test")
    folder = publish(run, "hf", tmp_path, *ids)
    text = (folder / ".eval_results" / "infimm_eval.yaml").read_text()
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(text))
    (mme,) = [cell for cell in cells if cell.task == "mme"]
    assert (entry.dataset_id, entry.task_id, entry.value) == ("made/mme", "test", mme.value)
    card = hub.ModelCard.load(folder / "model_card.md", ignore_metadata_errors=False)
    found = {(r.dataset_name, r.metric_args["shots"], r.metric_args["seed"]): r.metric_value
             for r in card.data.eval_results}  # fmt: skip
    assert found == {(c.title, c.shots, c.seed): c.value for c in cells}


def test_junitparser_counts_the_cases(run: Path, cells: list[logs.Cell], tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser", reason="needs junitparser (group interop)")
    folder = publish(run, "junit", tmp_path)
    (suite,) = junitparser.JUnitXml.fromfile(str(folder / "cells.xml"))
    incomplete = sum(not cell.complete for cell in cells)
    assert (suite.tests, suite.skipped, suite.failures) == (len(cells), incomplete, 0)
    assert sum(1 for _ in suite) == len(cells)


def test_a_latex_parser_meets_whole_tables(run: Path, tmp_path: Path) -> None:
    latexwalker = pytest.importorskip(
        "pylatexenc.latexwalker", reason="needs pylatexenc (group interop)"
    )
    text = (publish(run, "latex", tmp_path) / "tables.tex").read_text()
    nodes, _, _ = latexwalker.LatexWalker(text, tolerant_parsing=False).get_latex_nodes()
    tables = [node for node in nodes if getattr(node, "environmentname", "") == "tabular"]
    assert len(tables) == 2
    for table in tables:
        rows = [row for row in table.latex_verbatim().split("\n") if row.endswith(r"\\")]
        assert len({row.replace(r"\&", "").count("&") for row in rows}) == 1
