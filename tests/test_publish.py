"""A run in other people's formats: no score is lost, no secret leaves."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from infimm_eval import logs
from infimm_eval.cli import main
from infimm_eval.logs.foreign import open_foreign
from infimm_eval.logs.publish.clean import clean_name, clean_settings, clean_text
from infimm_eval.run import foreign
from infimm_eval.run.score_file import How
from tests import published_run

FORMATS = ("hf", "eee", "inspect", "junit", "csv", "latex", "parquet")
IDS = ("--dataset-id", "vqav2@1=made/vqav2", "--task-id", "vqav2@1=val")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_run.make(tmp_path_factory.mktemp("run") / "mine")


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from infimm_eval.logs.publish import clean

    monkeypatch.setenv("OPENAI_API_KEY", "s3cr3t-from-the-environment")
    clean._known_secrets.cache_clear()
    yield
    clean._known_secrets.cache_clear()


def publish(run: Path, to: str, output: Path, *more: str) -> int:
    return main(["publish", str(run), "--to", to, "--output", str(output), *more])


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def content(path: Path) -> str:
    """All that a file says, unpacked."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_json()
    if path.suffix == ".eval":
        with zipfile.ZipFile(path) as archive:
            return "\n".join(archive.read(n).decode() + n for n in archive.namelist())
    return path.read_text(encoding="utf-8")


@pytest.mark.sampled
@pytest.mark.parametrize("to", FORMATS)
def test_no_secret_and_no_path_of_the_machine_leaves(run: Path, tmp_path: Path, to: str) -> None:
    more = ("--dataset-id", "mme=made/mme", "--task-id", "mme=test")
    assert publish(run, to, tmp_path / "out", *(more if to == "hf" else ())) == 0
    made = files(tmp_path / "out")
    assert made
    for path in made:
        text = content(path)
        for secret in published_run.SECRETS:
            assert secret not in text, (path.name, secret)
        assert str(tmp_path) not in text and "/home/" not in text
    assert any("step-100" in content(path) for path in made)  # the model keeps its name


def test_the_run_itself_holds_what_is_planted(run: Path) -> None:
    """Else the test above could not fail."""
    with logs.Log(run) as log:
        text = json.dumps([logs.cell_row(cell) for cell in log.shown()]) + "".join(
            json.dumps(logs.sample_line(cell, entry))
            for cell in log.shown()
            for entry in log.entries(cell.key)
        )
    assert [secret for secret in published_run.SECRETS if secret not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("to", ["eee", "inspect"])
def test_a_round_trip_loses_no_score(run: Path, tmp_path: Path, to: str) -> None:
    assert publish(run, to, tmp_path / "out") == 0
    wanted, found = {}, {}
    with logs.Log(run) as log:
        for cell in log.shown():
            for id, value in log.values(cell.key):
                wanted[cell.task, cell.shots, cell.seed, id] = value
    for path in files(tmp_path / "out"):
        if path.name.endswith(("_samples.jsonl", ".eval")):
            with foreign.as_runs([path], foreign.Reading()) as (folder,), logs.Log(folder) as log:
                for cell in log.shown():
                    for entry in log.entries(cell.key):
                        assert entry.score is not None
                        key = (cell.task, cell.shots, cell.seed, entry.sample.id)
                        theirs = [
                            value for name, value in entry.score.parts.items()
                            if name.startswith(("Every Eval Ever ", "Inspect "))
                        ]  # fmt: skip
                        found[key] = (entry.score.value, *theirs)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        assert found[key] == (value, value), key


@pytest.mark.slow
def test_figures_of_a_published_log_come_out_again(run: Path, tmp_path: Path) -> None:
    assert publish(run, "inspect", tmp_path / "out") == 0
    with logs.Log(run) as log:
        wanted = {(c.task, c.shots, c.seed): c.value for c in log.shown()}
    found = {}
    for path in files(tmp_path / "out"):
        log_ = open_foreign(path)
        assert log_ is not None
        result = foreign.score(log_, foreign.Reading(), How(allow_partial=True))
        with zipfile.ZipFile(path) as archive:
            told = json.loads(archive.read("header.json"))["eval"]["metadata"]
        found[result.task, told["shots"], told["seed"]] = result.value
    assert found == pytest.approx(wanted)


def test_the_hub_wants_to_be_told_what_it_calls_the_benchmark(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(run, "hf", tmp_path / "out") == 2
    assert "the run has" in capsys.readouterr().err
    both = ("--dataset-id", "vqav2=made/vqav2", "--task-id", "vqav2=val")
    assert publish(run, "hf", tmp_path / "out", *both) == 2  # at 0 and 1 shots
    assert "keeps one number a task" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert publish(run, "hf", tmp_path / "out", *IDS) == 0
    with logs.Log(run) as log:
        seeds = [c.value for c in log.shown() if (c.task, c.shots) == ("vqav2", 1)]
    written = (tmp_path / "out" / ".eval_results" / "infimm_eval.yaml").read_text()
    assert f"value: {sum(seeds) / 2}\n" in written and "mean over seeds 0, 1" in written
    said = capsys.readouterr().err
    assert "not checked here" in said and "nothing was sent; to go on: hf upload" in said


def test_ids_are_the_hubs_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(run, "csv", tmp_path / "out", *IDS) == 2
    assert "are for --to hf, not csv" in capsys.readouterr().err


def test_a_case_a_cell_and_the_incomplete_are_skipped(run: Path, tmp_path: Path) -> None:
    assert publish(run, "junit", tmp_path / "out") == 0
    suites = ElementTree.parse(tmp_path / "out" / "cells.xml").getroot()
    with logs.Log(run) as log:
        cells = log.shown()
    assert len(suites.findall(".//testcase")) == len(cells)
    assert len(suites.findall(".//skipped")) == sum(not c.complete for c in cells) > 0
    assert suites.get("failures") == "0"


def test_csv_and_parquet_hold_every_figure_and_sample(run: Path, tmp_path: Path) -> None:
    assert publish(run, "csv", tmp_path / "csv") == publish(run, "parquet", tmp_path / "pq") == 0
    with logs.Log(run) as log:
        cells = log.shown()
        values = [value for cell in cells for _, value in log.values(cell.key)]
    table = pd.read_csv(tmp_path / "csv" / "cells.csv")
    assert table["value"].tolist() == [cell.value for cell in cells]
    assert table["model"].unique().tolist() == ["step-100"]
    assert pd.read_parquet(tmp_path / "pq" / "cells.parquet")["value"].tolist() == [
        cell.value for cell in cells
    ]
    samples = pd.read_parquet(tmp_path / "pq" / "samples.parquet")
    assert samples["score"].tolist() == pytest.approx(values, nan_ok=True)
    assert list(samples["references"][0]) and list(samples["shot_ids"][0]) == []


def test_a_latex_table_has_the_best_in_bold_and_the_published_rows(
    run: Path, tmp_path: Path
) -> None:
    assert publish(run, "latex", tmp_path / "out") == 0
    text = (tmp_path / "out" / "tables.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 2
    (vqa,) = {line.split(" & ")[4] for line in text.splitlines() if r"\textbf{66.1}" in line}
    assert vqa == r"\textbf{66.1}"  # InfiMM-Llama2-13B at 4 shots, the best of VQAv2
    assert r"$\pm$" in text and r"IDEFICS-9B$^\dagger$ & 0 & 46.0" in text


def test_a_run_without_a_figure_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logs.Log(tmp_path / "empty", writing=True):
        pass
    assert publish(tmp_path / "empty", "csv", tmp_path / "out") == 2
    assert "has no finished cell" in capsys.readouterr().err
    assert publish(tmp_path / "nothing", "csv", tmp_path / "out") == 2


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Infi-MM/infimm-zephyr", "Infi-MM/infimm-zephyr"),
        ("/data/me/checkpoints/step-3", "step-3"),
        ("~/models/mine/", "mine"),
        ("./mine", "mine"),
        (r"C:\Users\me\mine", "mine"),
        ("a/b/c/step-9", "step-9"),
        ("fake:yes", "fake:yes"),
    ],
)
def test_a_model_keeps_its_name_and_loses_its_folders(name: str, shown: str) -> None:
    assert clean_name(name) == shown


def test_texts_of_answers_are_left_alone_but_for_what_is_nobodys_business() -> None:
    for text in ("either/or", "1/2", "/etc is a folder", "http://example.org/a", "sk-1", "a~b"):
        assert clean_text(text) == text
    assert clean_settings({"max_new_tokens": 5, "hf_token": "abc", "file": "/srv/a/b.json"}) == {
        "max_new_tokens": 5,
        "hf_token": "[removed]",
        "file": "b.json",
    }
