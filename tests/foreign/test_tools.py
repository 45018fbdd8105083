"""What each tool writes, read as it was meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infimm_eval import logs
from infimm_eval.cli import main
from infimm_eval.errors import UsageError
from infimm_eval.logs.foreign import open_foreign
from infimm_eval.run import foreign
from tests import foreign_files as made
from tests.foreign.asked import IDS, PEOPLE, QUESTIONS, score


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
    here = Path(__file__).parents[1] / "golden" / "conformance" / "mmmu"
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
