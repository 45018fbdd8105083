"""VILA's ``outputs.jsonl``: JSON lines of ``question_id``, ``prompt``, ``text``, and no more.

Written by the scripts under llava/eval of https://github.com/NVlabs/VILA (textvqa.py there, its
``model_vqa_*.py`` before) as ``<model>/<benchmark>[-<frames>]/outputs.jsonl``, beside the totals in
``metrics.json``.  The questions and their ids are LLaVA's.  What it writes of MMMU, an object from
ids to answers, is MMMU's own file, and what it runs by lmms-eval is lmms-eval's.  Knows no
benchmark.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from infimm_eval.logs.foreign import llava
from infimm_eval.logs.foreign.values import ForeignLog, beside, numbers

TOOL = "VILA"
_FRAMES = re.compile(r"-\d+$")
_NAMED_BY_SCRIPT = ("outputs", "answers")
"""What the file is called, whatever the benchmark: the folder has its name."""


def outputs(path: Path) -> ForeignLog:
    """A file of answers, with the totals beside it."""
    folder = path.parent
    placed = path.stem in _NAMED_BY_SCRIPT
    return replace(
        llava.answers(path),
        tool=TOOL,
        like=llava.TOOL,
        names=(_FRAMES.sub("", folder.name), folder.parent.name) if placed else (path.stem,),
        model=folder.parent.name if placed else "",
        figures=numbers(beside(path.with_name("metrics.json"))),
    )
