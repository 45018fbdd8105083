"""MMBench dev (English): 1,164 multiple-choice questions, right only if right in every rotation
of their options.  Zero-shot.

Liu et al., "MMBench", ECCV 2024.  Answers are read by rules alone: what VLMEvalKit would then ask
an LLM, or draw, is undecided and counts as wrong; the scorer ``judged`` asks a judge.
``mmbench:test`` is for the upload sheet.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data import hubs
from infimm_eval.data.choices import MmBench
from infimm_eval.demo import choice_rows
from infimm_eval.formats import mmbench
from infimm_eval.scorers import choice, judge
from infimm_eval.types import Row, Sample, Source, Split, Task


def sample(row: Row) -> Sample:
    index = str(row["index"])
    answer = row.get("answer")
    return Sample(
        id=index,
        images=(row["image"],),
        question=(row["question"],),
        options=tuple((row[letter],) for letter in "ABCDEF" if row.get(letter)),
        hint=row.get("hint") or "",
        target=answer or "",
        references=(answer,) if answer else (),
        group=mmbench.base(index),
        tags={"question": mmbench.base(index), "split": row["split"]}
        | {key: row[key] for key in ("category", "l2-category") if row.get(key)},
    )


_DEMO = partial(choice_rows.mmbench_rows, "test")

TASK = Task(
    name="mmbench",
    title="MMBench",
    version=1,
    source=Source(
        demo=_DEMO,
        files=(MmBench(names=("MMBench_DEV_EN.tsv", "mmbench_dev_en_20231003.tsv"), split="dev"),),
        hub=hubs.MMBENCH_DEV,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_choice(), prompts.letter_choice()),
    scorers=(
        choice.vlmevalkit,
        choice.vlmevalkit_2023,
        choice.lmms_mmbench,
        choice.letter,
        judge.undecided_choice(choice.read_vlmevalkit),
    ),
    metrics=metrics.circular(),
    headline="circular",
    rankable=True,
    columns={"MMBench": "circular"},
    submission=mmbench.sheet("mmbench_dev.xlsx"),
    splits={
        "test": Split(
            source=Source(
                demo=_DEMO,
                files=(
                    MmBench(
                        names=("MMBench_TEST_EN.tsv", "mmbench_test_en_20231003.tsv"),
                        split="test",
                    ),
                ),
                hub=hubs.MMBENCH_TEST,
            ),
            title="MMBench test",
            withheld=True,
            filename="mmbench_test.xlsx",
        )
    },
)
