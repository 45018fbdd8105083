"""Logs that are recognised and not read, and damaged ones."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.cli import main
from infimm_eval.errors import UsageError
from infimm_eval.logs.foreign import inspect_ai, open_foreign
from tests import foreign_files as made


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.jsonl", {"index": 0, "target": [], "sample_score": {}}, "reviews of EvalScope"),
        ("b.jsonl", {"index": 0, "model_output": {}}, "predictions of EvalScope"),
        ("c.json", {"schema_version": 2, "dataset_name": "x", "metrics": []}, "EvalScope"),
        ("d.json", {"config_general": {}, "results": {}}, "lighteval"),
        ("e.jsonl", {"problem_idx": 0, "repeat": 0, "reward": 0}, "NeMo Evaluator"),
        ("f.json", {"vqav2": [{"shots": 0, "trials": [], "mean": 0}]}, "OpenFlamingo"),
        ("g.json", {"results": {}, "lmms_eval_version": "x"}, "totals of lmms-eval"),
        ("h.json", {"evaluation_results": [], "model_info": {}}, "totals of Every Eval Ever"),
        ("i.json", {"schema_version": "1.0", "eval_id": "T", "datasets": {}}, "VLMEvalKit"),
    ],
)
def test_other_logs_are_recognised_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, body: Any, said: str
) -> None:
    (tmp_path / name).write_text(json.dumps(body) + "\n")
    assert main(["score", str(tmp_path / name), "--task", "vqav2"]) == 2
    assert said in capsys.readouterr().err


def test_a_list_of_results_is_nobodys_log(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('[{"question_id": 1, "answer": "a"}]')
    assert open_foreign(path) is None


DAMAGED = {
    "lmms-eval": '{"doc_id": 0, "filtered_resps": "a", "input": "q"}\n{"doc_id": 1}\n',
    "lm-eval": '{"doc_id": 0, "filtered_resps": [], "filter": "none", "doc": 3}\n',
    "LLaVA": '{"question_id": {}, "text": 3, "answer_id": ""}\n',
    "VILA": '{"question_id": 1, "prompt": "q", "text": ["a"]}\n',
    "cut": '{"question_id": 1, "text": "a", "answer_id": ""}\n{"question_id": 2, "te',
    "EEE": '{"interaction_type": "", "answer_attribution": [], "input": 3, "sample_id": 1}\n',
    "Inspect": '{"eval": 3, "samples": []}',
    "repeats": '{"doc_id": 0, "filtered_resps": ["a", "b"], "input": "q"}\n',
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_line_is_one_message_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / "samples_x.jsonl"
    path.write_text(DAMAGED[kind])
    assert main(["score", str(path), "--task", "vqav2", "--references", "demo"]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and said.count("\n") == 1


def test_a_damaged_archive_is_one_message(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "log.eval"
    made.inspect_zstd(path, made.inspect_body([made.inspect_sample(1, "q", "a", "a")], "vqav2"))
    data = path.read_bytes()
    at = data.find(b"header.json") + 15
    path.write_bytes(data[:at] + b"\0\0\0\0" + data[at + 4 :])
    assert main(["score", str(path)]) == 2
    assert "header.json" in capsys.readouterr().err


def test_a_member_that_claims_to_be_huge_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_ai, "_LARGEST", 1 << 10)
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b" " * 1025)
    with pytest.raises(UsageError, match="unpacks to more"):
        open_foreign(path)
