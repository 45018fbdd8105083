"""The papers' numbers: complete, joined to the right column, and read with clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from infimm_eval import published
from infimm_eval.errors import UsageError


def value(model: str, stage: str, task: str, shots: int = 0, metric: str | None = None) -> float:
    (number,) = (
        n
        for n in published.numbers()
        if (n.model, n.stage, n.task, n.shots) == (model, stage, task, shots)
        and metric in (None, n.metric)
    )
    return number.value


def test_the_pretraining_table_has_five_models_at_two_shot_counts_in_five_columns() -> None:
    table = {(n.model, n.shots, n.task) for n in published.numbers() if n.stage == "pretraining"}
    assert len(table) == 5 * 2 * 5
    assert {task for _, _, task in table} == set(published.columns("pretraining"))
    assert value("InfiMM-Llama2-13B", "pretraining", "COCO CIDEr", 4) == 125.2


def test_numbers_that_the_card_swapped_stand_where_they_belong() -> None:
    assert value("Otter-9B", "instruction", "MMMU val") == 32.2
    assert value("Otter-9B", "instruction", "InfiMM-Eval") == 22.69
    assert value("IDEFICS-9B-Instruct", "instruction", "InfiMM-Eval") == 24.53
    swapped = [n for n in published.numbers() if n.stage == "instruction" and "prints" in n.note]
    assert len(swapped) == 3


def test_rows_by_discipline_are_complete() -> None:
    assert published.breakdown_columns() == ("MMMU val", "MMMU test")
    for split in ("MMMU val", "MMMU test"):
        rows = [n for n in published.numbers() if n.stage == "leaderboard" and n.task == split]
        assert len(rows) == 6 * (1 + len(published.breakdown_groups(split)))
    assert value("InfiMM-Zephyr-7B", "leaderboard", "MMMU val", metric="Business") == 28.0


def test_columns_stand_in_the_papers_order() -> None:
    assert published.columns("pretraining") == (
        *("COCO CIDEr", "Flickr30k CIDEr", "VQAv2 acc", "TextVQA acc", "OK-VQA acc"),
    )
    assert published.columns("instruction") == (
        *("ScienceQA-Img", "MME perception", "MME cognition", "MM-Vet", "InfiMM-Eval"),
        *("MMBench", "MMMU val", "MMMU test"),
    )
    assert published.breakdown_groups("MMMU test") == (
        *("Art & Design", "Business", "Science", "Health & Medicine"),
        *("Humanities & Social Science", "Tech & Engineering"),
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Infi-MM/infimm-zephyr", "InfiMM-Zephyr-7B", True),
        ("InfiMM-Llama2-13B", "InfiMM-Llama-13B", True),
        ("InfiMM-Vicuna13B", "Infi-MM/infimm-vicuna-13b", True),
        ("HuggingFaceM4/idefics-9b", "IDEFICS-9B", True),
        ("IDEFICS-9B", "IDEFICS-9B-Instruct", False),
        ("IDEFICS-9B", "IDEFICS-80B", False),
        ("demo", "InfiMM-Zephyr-7B", False),
    ],
)
def test_one_model_is_known_under_its_several_names(one: str, other: str, same: bool) -> None:
    assert published.same_model(one, other) is same


def test_a_column_may_be_published_for_several_stages_of_one_model() -> None:
    found = published.find("Infi-MM/infimm-zephyr", "OK-VQA acc", 0)
    assert {(n.stage, n.value) for n in found} == {("pretraining", 17.1), ("multi-task", 55.4)}


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "published.csv"
    head = "model,stage,task,split,shots,metric,value,source,note"
    file.write_text(f"{head}\nM,pretraining,COCO CIDEr,test,0,CIDEr,many,card,\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"published.csv:2: .*many"):
        published.read(file)
    file.write_text("model,value\nM,1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the first line has to be"):
        published.read(file)
