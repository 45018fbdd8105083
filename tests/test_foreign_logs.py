"""Logs of other harnesses: recognised by content, joined by ids that mean something, scored."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import logs, registry
from infimm_eval.cli import main
from infimm_eval.errors import UsageError
from infimm_eval.logs.foreign import inspect_ai, open_foreign
from infimm_eval.run import foreign
from infimm_eval.run.score_file import How
from infimm_eval.types import Sample
from tests import foreign_files as made
from tests import published_run

PEOPLE = [["red"] * 9 + ["blue"], ["2"] * 3 + ["many"] * 7, ["no"] * 10, ["yes"] * 10]
QUESTIONS = ["What colour is it?", "How many are there?", "Is it round?", "Is it red?"]
IDS = [900001000, 900001001, 900002002, 900003003]
DOCS = [
    {"question_id": id, "question": question, "answers": people, "answer": people[0]}
    for id, question, people in zip(IDS, QUESTIONS, PEOPLE, strict=True)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """VQAv2's two files, without any picture."""
    folder = tmp_path / "data"
    folder.mkdir()
    asked = [
        {"question_id": id, "image_id": id // 1000, "question": question}
        for id, question in zip(IDS, QUESTIONS, strict=True)
    ]
    answered = [
        {
            "question_id": doc["question_id"],
            "image_id": doc["question_id"] // 1000,
            "question_type": "what",
            "answer_type": "other",
            "answers": [{"answer": answer} for answer in doc["answers"]],
        }
        for doc in DOCS
    ]
    names = "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json"
    for name, body in zip(names, ({"questions": asked}, {"annotations": answered}), strict=True):
        (folder / name).write_text(json.dumps(body))
    return folder


def score(path: Path, **reading: Any) -> foreign.ForeignResult:
    log = open_foreign(path)
    assert log is not None
    return foreign.score(log, foreign.Reading(**reading), How())


# -- ids that mean something ---------------------------------------------------------------------


def test_answers_of_llava_are_joined_by_the_official_id(tmp_path: Path, data: Path) -> None:
    path = made.llava(tmp_path / "vqav2.jsonl", IDS, QUESTIONS)
    found = score(path, references=data)
    # red (9 of 10 said it), 2 (3 of 10), no (10 of 10), nothing
    assert found.value == pytest.approx(100 * (1 + 0.9 + 1 + 0) / 4)
    assert (found.task, found.tool, found.n) == ("vqav2", "LLaVA", 4)


def test_a_log_that_carries_the_right_answers_needs_no_references(tmp_path: Path) -> None:
    path = made.lm_eval(tmp_path / "samples_mine_2026-01-01T00-00-00.1.jsonl", DOCS, ["none"])
    found = score(path, task="vqav2")
    assert found.value == pytest.approx(72.5)
    assert found.theirs == {"exact_match": pytest.approx(75.0)}
    assert "1 of 4 answers are scored differently by another rule" in found.reasons[0]


def test_two_filters_of_one_answer_count_once(tmp_path: Path) -> None:
    path = made.lm_eval(tmp_path / "samples_mine.jsonl", DOCS, ["raw", "last"])
    found = score(path, task="vqav2")
    assert found.n == 4
    assert set(found.theirs or {}) == {"exact_match,raw", "exact_match,last"}
    assert score(path, task="vqav2", part="last").n == 4
    with pytest.raises(UsageError, match="no part 'first'; it has 'raw', 'last'"):
        score(path, task="vqav2", part="first")


def test_the_lines_of_filters_without_a_name_are_told_by_their_order(tmp_path: Path) -> None:
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", QUESTIONS)
    path.write_text(
        path.read_text() + path.read_text().replace('"exact_match": 0.0', '"exact_match": 1')
    )
    log = open_foreign(path)
    assert log is not None
    parts = [(part, dict(record.values)) for part, record in log.records()]
    assert parts[0] == ("", {"exact_match": 0.0})
    assert parts[-1] == ("filter 2", {"exact_match (filter 2)": 1.0})


def test_a_question_that_is_not_the_one_of_that_id_is_refused(tmp_path: Path, data: Path) -> None:
    path = made.llava(tmp_path / "vqav2.jsonl", IDS, [*QUESTIONS[1:], QUESTIONS[0]])
    with pytest.raises(UsageError, match=r"line 1 asks .*not of one split and order"):
        score(path, references=data)


def test_two_answers_to_one_question_are_refused_and_equal_ones_count_once(
    tmp_path: Path, data: Path
) -> None:
    path = made.llava(tmp_path / "vqav2.jsonl", IDS, QUESTIONS)
    text = path.read_text()
    path.write_text(text + text.splitlines()[0] + "\n")
    assert score(path, references=data).n == 4
    path.write_text(text + text.splitlines()[0].replace('"red"', '"blue"') + "\n")
    with pytest.raises(UsageError, match=r"line 5: another answer to 900001000 than .*line 1"):
        score(path, references=data)


# -- row numbers ---------------------------------------------------------------------------------


def test_row_numbers_of_an_unknown_order_are_refused(tmp_path: Path, data: Path) -> None:
    repeated = ["Is it round?", "Is it round?", "Is it red?", "Is it red?"]
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", repeated)
    with pytest.raises(UsageError, match=r"row numbers and no ids of the questions.*--by-row"):
        score(path, references=data)


def test_row_numbers_count_where_the_person_says_so_and_the_questions_agree(
    tmp_path: Path, data: Path
) -> None:
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", QUESTIONS)
    assert score(path, references=data, by_row=True).value == pytest.approx(72.5)
    path = made.lmms(tmp_path / "2_samples_vqav2_val.jsonl", QUESTIONS[::-1])
    with pytest.raises(UsageError, match="not of one split and order"):
        score(path, references=data, by_row=True)


def test_row_numbers_are_not_checked_by_annotations_without_questions(
    tmp_path: Path, data: Path
) -> None:
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", QUESTIONS)
    with pytest.raises(UsageError, match="hold no questions that would show"):
        score(path, references=data / "v2_mscoco_val2014_annotations.json", by_row=True)


def test_questions_that_occur_once_tell_rows_apart(tmp_path: Path, data: Path) -> None:
    path = made.lmms(tmp_path / "1_samples_vqav2_val.jsonl", QUESTIONS[::-1])
    found = score(path, references=data)
    # the same answers in order, to the questions from the last on
    assert found.n == 4 and found.value == pytest.approx(0.0)


def test_numbers_from_one_on_are_no_ids_even_where_such_ids_exist(
    tmp_path: Path, data: Path
) -> None:
    samples = [
        made.inspect_sample(n, "Is it?", doc["answers"], "red") for n, doc in enumerate(DOCS, 1)
    ]
    path = tmp_path / "log.json"
    path.write_text(json.dumps(made.inspect_body(samples, "mine")))
    with pytest.raises(UsageError, match="row numbers"):
        score(path, task="vqav2", references=data)


# -- each tool -----------------------------------------------------------------------------------


def test_scores_of_one_task_and_its_results_file_stand_beside_ours(
    tmp_path: Path, data: Path
) -> None:
    path = made.lmms(
        tmp_path / "1_samples_ok_vqa_val2014.jsonl",
        QUESTIONS,
        lambda n: {"exact_match": 0.5, "submission": {"image": f"{IDS[n]}.jpg"}},
    )
    results = {
        "results": {"ok_vqa_val2014": {"exact_match,none": 0.5, "exact_match_stderr,none": "N/A"}},
        "n-shot": {"ok_vqa_val2014": 4},
        "model_name": "made/vlm",
        "lmms_eval_version": "unknown@unknown",
    }
    (tmp_path / "1_results.json").write_text(json.dumps(results))
    found = score(path, references=data / "v2_mscoco_val2014_annotations.json")
    assert found.task == "okvqa"
    assert found.theirs == {"exact_match": 50.0, "exact_match (its table)": 50.0}
    log = open_foreign(path)
    assert log is not None and (log.model, log.shots) == ("made/vlm", 4)


def test_a_picture_and_a_question_name_a_question_of_llavas_textvqa(tmp_path: Path) -> None:
    rows = [
        {"question": "what is written?", "image_id": "aa", "question_id": 1, "answers": PEOPLE[0]},
        {"question": "how many?", "image_id": "aa", "question_id": 2, "answers": PEOPLE[1]},
    ]
    references = tmp_path / "TextVQA_0.5.1_val.json"
    references.write_text(json.dumps({"data": rows}))
    asked = ["What is written?\nReference OCR token: x, y", "Reference OCR token: 2\nHow many?"]
    path = made.llava(tmp_path / "llava_textvqa.jsonl", ["aa", "aa"], asked)
    found = score(path, references=references)
    assert (found.n, found.value) == (2, pytest.approx(95.0))


def test_outputs_of_vila_are_told_by_their_folder_and_stand_beside_its_metrics(
    tmp_path: Path, data: Path
) -> None:
    found = score(made.vila(tmp_path / "vila-8b" / "vqav2", IDS, QUESTIONS), references=data)
    assert (found.task, found.tool, found.theirs) == ("vqav2", "VILA", {})
    assert found.value == pytest.approx(72.5)
    rows = [{"question": q, "image_id": "aa", "answers": PEOPLE[0]} for q in QUESTIONS[:2]]
    rows = [{**row, "question_id": n} for n, row in enumerate(rows)]
    references = tmp_path / "TextVQA_0.5.1_val.json"
    references.write_text(json.dumps({"data": rows}))
    path = made.vila(tmp_path / "vila-8b" / "textvqa-8", ["aa", "aa"], QUESTIONS[:2], 0.5)
    log = open_foreign(path)
    assert log is not None and log.model == "vila-8b"
    found = score(path, references=references)
    assert (found.task, found.n, found.value) == ("textvqa", 2, pytest.approx(50.0))
    assert found.theirs == {"accuracy (its table)": 50.0}


def test_what_vila_writes_of_mmmu_is_mmmus_own_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Path(__file__).parent / "golden" / "conformance" / "mmmu"
    (tmp_path / "outputs.json").write_text((here / "total_val_output.json").read_text())
    words = ["--task", "mmmu", "--references", str(here / "answer_dict_val.json")]
    assert main(["score", str(tmp_path / "outputs.json"), *words, "--allow-partial"]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_the_two_questions_about_a_picture_of_mme_are_told_apart(tmp_path: Path) -> None:
    rows = [
        {
            "index": n,
            "question": f"Is it {colour}? Please answer yes or no.",
            "answer": answer,
            "category": "color",
            "image_path": "/somebody/else/LMUData/color/1.jpg",
            "prediction": "Yes",
        }
        for n, (colour, answer) in enumerate([("red", "Yes"), ("blue", "No")])
    ]
    kit = made.sheet(tmp_path / "Vlm_MME.xlsx", rows)
    lmms = made.lmms(
        tmp_path / "1_samples_mme.jsonl",
        ["Is it red?", "Is it blue?"],
        lambda n: {
            "target": rows[n]["answer"],
            "mme_perception_score": {"question_id": "color/1.jpg", "category": "color", "score": 1},
        },
    )
    with_sheet = score(lmms, references=kit)
    assert with_sheet.n == 2
    assert with_sheet.summary.breakdown["accuracy"]["color"] == 0.0  # it says "red" and "2"


def test_empty_cells_and_words_of_a_sheet_are_answers(tmp_path: Path) -> None:
    said = ["", "None", "nan", "=12", "007", "1e5"]
    rows = [
        {"index": str(34602 + n), "question": "q?", "answer": str([text or "x"] * 10),
         "prediction": text}
        for n, text in enumerate(said)
    ]  # fmt: skip
    for ending in ("xlsx", "tsv"):
        log = open_foreign(made.sheet(tmp_path / f"Vlm_TextVQA_VAL.{ending}", rows))
        assert log is not None
        assert [record.text for _, record in log.records()] == said
        assert "TextVQA_VAL" in log.names


def test_a_sheet_as_json_is_read_and_its_model_named(tmp_path: Path) -> None:
    rows = [{"index": n, "question": "q", "answer": str(["red"] * 10), "prediction": text}
            for n, text in enumerate(["red", None])]  # fmt: skip
    path = tmp_path / "My_Vlm_TextVQA_VAL.json"
    path.write_text(json.dumps(rows))
    with foreign.as_runs([path], foreign.Reading()) as (folder,):
        (cell,) = logs.read(folder)
    assert (cell.task, cell.model, cell.value) == ("textvqa", "My_Vlm", 50.0)


@pytest.mark.parametrize("index", ["9" * 5000, "²"])
def test_an_index_that_is_no_number_is_of_no_question(tmp_path: Path, index: str) -> None:
    rows = [
        {"index": i, "question": "q", "A": "a", "B": "b", "answer": "A", "prediction": "A"}
        for i in ("241", "1000241", index)
    ]
    path = made.sheet(tmp_path / "Vlm_MMBench_DEV_EN.tsv", rows)
    (reason,) = score(path).reasons
    assert reason.startswith("1 answers of the log are to questions")


def test_another_version_of_a_dataset_is_not_taken_for_it(tmp_path: Path) -> None:
    rows = [{"index": 1, "question": "q", "A": "a", "B": "b", "answer": "A"}]
    path = made.sheet(tmp_path / "Vlm_MMBench_DEV_EN_V11_result.tsv", rows)
    with pytest.raises(UsageError, match="calls its benchmark"):
        score(path)


def test_an_answer_that_could_not_be_had_is_no_answer(tmp_path: Path) -> None:
    rows = [
        {"index": 1, "question": "q", "answer": str(["red"] * 10), "prediction": text}
        for text in ("Failed to obtain answer via API.",)
    ]
    rows += [{"index": 2, "question": "q", "answer": str(["a"] * 10), "prediction": "a"}]
    found = score(made.sheet(tmp_path / "Vlm_TextVQA_VAL.tsv", rows))
    assert found.n == 1
    assert found.reasons == ["1 answers could not be had, which VLMEvalKit may count as wrong"]


@pytest.mark.parametrize("pack", [made.inspect_zip, made.inspect_zstd, None])
def test_every_form_of_an_inspect_log_says_the_same(
    tmp_path: Path, pack: Callable[..., Path] | None
) -> None:
    samples = [
        made.inspect_sample(id, question, people, made.said(n))
        for n, (id, question, people) in enumerate(zip(IDS, QUESTIONS, PEOPLE, strict=True))
    ]
    body = made.inspect_body(samples, "mine")
    path = tmp_path / "log"
    if pack:
        pack(path, body)
    else:
        path.write_text(json.dumps(body))
    found = score(path, task="vqav2")
    assert found.value == pytest.approx(72.5)
    assert found.tool == "Inspect 0.3.285"
    assert (found.theirs or {})["match"] == 75.0


def test_epochs_with_different_answers_are_parts_to_choose_from(tmp_path: Path) -> None:
    samples = [
        made.inspect_sample(id, "q", people, text, epoch=epoch)
        for epoch, text in ((1, "red"), (2, "no"))
        for id, people in zip(IDS, PEOPLE, strict=True)
    ]
    path = tmp_path / "log.json"
    path.write_text(json.dumps(made.inspect_body(samples, "mine")))
    with pytest.raises(UsageError, match="2 parts; choose one by --part: '', 'epoch 2'"):
        score(path, task="vqav2")
    assert score(path, task="vqav2", part="epoch 2").value == pytest.approx(25.0)


def test_every_eval_ever_is_scored_by_part_and_not_without_the_ten_answers(tmp_path: Path) -> None:
    samples = [
        {"id": str(id), "question": question, "references": people}
        for id, question, people in zip(IDS, QUESTIONS, PEOPLE, strict=True)
    ]
    path = made.eee(tmp_path / "u_samples.jsonl", samples, "vqav2", ["accuracy"])
    assert score(path).value == pytest.approx(72.5)
    alone = [{**sample, "references": sample["references"][:1]} for sample in samples]
    path = made.eee(tmp_path / "v_samples.jsonl", alone, "vqav2", ["accuracy"])
    with pytest.raises(UsageError, match="holds no right answers"):
        score(path)


# -- what is known and not read ------------------------------------------------------------------


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


# -- two checkpoints that were measured elsewhere ------------------------------------------------


def test_two_logs_of_one_harness_are_compared_by_its_own_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [f"Question {n}?" for n in range(40)]
    base = made.lmms(
        tmp_path / "a_samples_vqav2_val.jsonl", questions, lambda n: {"exact_match": 1}
    )
    new = made.lmms(tmp_path / "b_samples_vqav2_val.jsonl", questions, lambda n: {"exact_match": 0})
    assert main(["compare", str(base), str(new), "--gate"]) == 1
    assert "100.00  0.00  -100.00" in capsys.readouterr().out
    assert main(["compare", str(base), str(base), "--gate"]) == 0


def test_logs_of_different_harnesses_are_incomparable(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = made.llava(tmp_path / "vqav2.jsonl", IDS, QUESTIONS)
    new = made.lm_eval(tmp_path / "samples_mine.jsonl", DOCS, ["none"])
    command = ["compare", str(base), str(new), "--references", str(data), "--task", "vqav2"]
    assert main([*command, "--gate"]) == 3
    assert "asked_by: LLaVA against lm-eval" in capsys.readouterr().out


def test_a_log_of_some_questions_is_a_subset_in_a_comparison(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made.llava(tmp_path / "vqav2.jsonl", IDS[:2], QUESTIONS[:2])
    assert main(["score", str(path), "--references", str(data)]) == 2
    assert "2 of 4 questions have no prediction" in capsys.readouterr().err
    assert main(["compare", str(path), str(path), "--references", str(data)]) == 0
    said = capsys.readouterr()
    assert re.search(r"VQAv2 +0  95.00  95.00", said.out)
    assert "2 questions of the references are not in the log" in said.err


def test_a_log_is_reported_with_its_own_scores_beside(tmp_path: Path) -> None:
    path = made.lm_eval(tmp_path / "samples_mine.jsonl", DOCS, ["none"])
    reading = foreign.Reading(task="vqav2")
    with foreign.as_runs([path], reading) as (folder,):
        (cell,) = logs.read(folder)
        assert cell.value == pytest.approx(72.5)
        assert cell.metrics["accuracy:lm-eval exact_match"] == pytest.approx(75.0)
        with logs.Log(folder) as log:
            first = next(log.entries(cell.key))
        assert first.score is not None and first.score.parts == {"lm-eval exact_match": 1.0}
    assert not folder.exists()
    assert main(["report", str(path), "--task", "vqav2", "--output", str(tmp_path / "out")]) == 0
    assert "samples" in (tmp_path / "out" / "report.html").read_text()


# -- files that the tools wrote ------------------------------------------------------------------

LMMS = "lmms_eval/made__vlm-a/20261127_023145_samples_{}.jsonl"
KIT = "vlmevalkit/MadeVlm/T20261126-185936/MadeVlm_{}.xlsx"
LM = "lm_eval/made__vlm-a/samples_{}.jsonl"
EEE = "every_eval_ever/data/made_sqa/made/vlm-a/6928b3cc-b06f-4a38-88e8-9a473058a4ba_samples.jsonl"
INSPECT = "inspect/2026-11-26T18-39-1{}"
FIGURES: list[tuple[str, dict[str, Any], str, float, float | None]] = [
    (LMMS.format("coco_karpathy_test"), {}, "coco", 377.491512, 377.491512),
    (LMMS.format("mmbench_en_dev_static"), {}, "mmbench", 60.0, 60.0),
    (LMMS.format("mme"), {}, "mme", 1700.0, 1700.0),
    (LMMS.format("mmmu_val"), {}, "mmmu", 57.142857, 57.143),
    (LMMS.format("scienceqa_img"), {"references": "problems.json"}, "scienceqa", 66.667, 66.667),
    (LMMS.format("textvqa_val"), {"references": "TextVQA_0.5.1_val.json"}, "textvqa", 37.5, 37.5),
    (LMMS.format("vqav2_val"), {"references": "", "by_row": True}, "vqav2", 43.3333, 43.3333),
    (KIT.format("COCO_VAL"), {}, "coco", 377.491512, 377.491512),
    (KIT.format("MMBench_DEV_EN"), {}, "mmbench", 60.0, 60.0),
    (KIT.format("MME"), {}, "mme", 1700.0, 1700.0),
    (KIT.format("MME_auxmatch"), {}, "mme", 1700.0, 1700.0),
    (KIT.format("MMMU_DEV_VAL"), {}, "mmmu", 57.142857, 57.142857),
    (KIT.format("ScienceQA_TEST"), {}, "scienceqa", 66.667, 66.667),
    (KIT.format("TextVQA_VAL"), {}, "textvqa", 37.5, 37.5),
    (KIT.format("TextVQA_VAL_results"), {}, "textvqa", 37.5, 37.5),
    ("llava/answers/vqav2.jsonl", {"references": ""}, "vqav2", 43.3333, None),
    ("llava/answers/textvqa.jsonl", {"references": "TextVQA_0.5.1_val.json"}, "textvqa", 37.5,
     None),
    ("llava/answers/scienceqa.jsonl", {"references": "problems.json"}, "scienceqa", 66.667, None),
    ("llava/answers/mme.jsonl", {"references": KIT.format("MME")}, "mme", 1700.0, None),
    (LM.format("made_vqa_2026-11-26T18-36-00.019948"), {"task": "vqav2"}, "vqav2", 43.3333, 50.0),
    (LM.format("made_sqa_2026-11-26T18-36-00.019948"), {"task": "scienceqa"}, "scienceqa", 66.667,
     66.667),
    (LM.format("mmmu_val_art_2026-11-26T18-37-21.411405"), {}, "mmmu", 100.0, 100.0),
    (LM.format("mmmu_val_physics_2026-11-26T18-37-21.411405"), {}, "mmmu", 50.0, 50.0),
    (INSPECT.format("1-00-00_made-vqa_cGXQ7FtcCRyx7ycitVgFYy.eval"), {"task": "vqav2"}, "vqav2",
     43.3333, 43.3333),
    (INSPECT.format("3-00-00_made-mcq_c6uuo6edkHqyF9AH6WsKn2.json"),
     {"task": "scienceqa", "scorer": "letter"}, "scienceqa", 66.667, 66.667),
    (EEE, {"task": "scienceqa"}, "scienceqa", 66.667, 66.667),
]  # fmt: skip


@pytest.mark.parametrize(("file", "reading", "task", "ours", "theirs"), FIGURES)
def test_every_figure_of_the_tools_own_files_comes_out(
    shared: Callable[[str], Path],
    file: str,
    reading: dict[str, Any],
    task: str,
    ours: float,
    theirs: float | None,
) -> None:
    root = shared("foreign_logs")
    reading = dict(reading)
    if "references" in reading:
        name = reading["references"]
        reading["references"] = root / name if "/" in name else root / "references" / name
    how = How(scorer=reading.pop("scorer", None))
    log = open_foreign(root / file)
    assert log is not None
    found = foreign.score(log, foreign.Reading(**reading), how)
    assert found.task == task
    assert found.value == pytest.approx(ours, abs=1e-3)
    if theirs is not None:
        assert any(value == pytest.approx(theirs, abs=1e-3) for value in found.theirs.values())


# -- what the documentation shows ----------------------------------------------------------------


def test_the_commands_of_the_documentation_work_as_they_stand_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": "q?", "image_id": "a", "question_id": 1, "answers": PEOPLE[0]}]
    (tmp_path / "DIR").mkdir()
    (tmp_path / "DIR" / "TextVQA_0.5.1_val.json").write_text(json.dumps({"data": rows}))
    (tmp_path / "DIR" / "train_images").mkdir()
    made.lmms(
        tmp_path / "20261127_023145_samples_textvqa_val.jsonl",
        ["q?"],
        lambda n: {"submission": {"question_id": 1}},
    )
    for name in "AB":
        made.lmms(tmp_path / f"{name}_samples_vqav2_val.jsonl", QUESTIONS)
    made.sheet(
        tmp_path / "MadeVlm_TextVQA_VAL.xlsx",
        [{"index": 1, "question": "q?", "answer": str(PEOPLE[0])}],
    )
    published_run.make(tmp_path / "results" / "mine")
    page = Path(__file__).parent.parent / "docs" / "logs.md"
    commands = [
        line.split()[3:]
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("    python -m infimm_eval ")
    ]
    assert len(commands) == 5
    for command in commands:
        assert main([w.replace("4=", "1=").replace("NAME", "n") for w in command]) == 0, command


def test_tasks_name_their_tools_and_no_name_means_two_tasks() -> None:
    names: dict[tuple[str, str], str] = {}
    for task in registry.select(["all"]):
        for tool, told in task.foreign.items():
            for name in told.names:
                assert names.setdefault((tool, name), task.name) == task.name


def test_a_task_without_foreign_takes_ids_as_they_are(tmp_path: Path) -> None:
    sample = Sample(id="a1", question=("q",), references=("x",))
    path = made.llava(tmp_path / "mine.jsonl", ["a1"], ["q"])
    log = open_foreign(path)
    assert log is not None
    joiner = foreign.Joiner(log, foreign.Foreign(), False, False, lambda text: None)
    (part,) = joiner.join([sample])
    assert part.texts == {"a1": "red"}
