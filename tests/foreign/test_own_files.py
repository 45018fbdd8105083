"""Files that the tools themselves wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.logs.foreign import open_foreign
from infimm_eval.run import foreign
from infimm_eval.run.score_file import How

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


@pytest.mark.sampled
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
