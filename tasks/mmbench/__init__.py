"""MMBench dev (English): 1,164 multiple-choice questions, right only if right in every rotation
of their options.  Zero-shot.

Liu et al., "MMBench", ECCV 2024.  Answers are read by rules alone: what VLMEvalKit would then ask
an LLM, or draw, is undecided and counts as wrong; the scorer ``judged`` asks a judge.
``mmbench:test`` is for the upload sheet.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import prompts
from infimm_eval.data import choices
from infimm_eval.demo import choice_rows
from infimm_eval.scorers import choice
from infimm_eval.types import Row, Sample, Source, Split, Task

from . import files, scorers, submission
from .foreign import FOREIGN
from .metrics import circular


def sample(row: Row) -> Sample:
    """One row as a sample."""
    index = str(row["index"])
    answer = row.get("answer")
    options = choices.options(row, choices.place(row, index))
    if answer:
        choices.require_letter(answer, options, choices.place(row, index))
    return Sample(
        id=index,
        images=(row["image"],),
        question=(row["question"],),
        options=tuple((option,) for option in options),
        hint=row.get("hint") or "",
        target=answer or "",
        references=(answer,) if answer else (),
        group=files.base(index),
        tags={
            "question": files.base(index),
            "rotations": str(len(options)),
            "split": row["split"],
        }
        | {key: row[key] for key in ("category", "l2-category") if row.get(key)},
    )


_DEMO = partial(choice_rows.mmbench_rows, "test")

TASK = Task(
    name="mmbench",
    title="MMBench",
    version=1,
    source=Source(
        demo=_DEMO,
        files=(
            files.MmBench(names=("MMBench_DEV_EN.tsv", "mmbench_dev_en_20231003.tsv"), split="dev"),
        ),
        hub=files.DEV,
        size=4_329,  # 1,164 questions and their rotations
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_choice(), prompts.letter_choice()),
    kind="choice",
    scorers=(
        scorers.vlmevalkit,
        scorers.vlmevalkit_2023,
        scorers.lmms,
        choice.letter,
        scorers.judged,
    ),
    metrics=circular,
    headline="circular",
    rankable=True,
    columns={"MMBench": "circular"},
    submission=submission.sheet("mmbench_dev.xlsx"),
    foreign=FOREIGN,
    splits={
        "test": Split(
            source=Source(
                demo=_DEMO,
                files=(
                    files.MmBench(
                        names=("MMBench_TEST_EN.tsv", "mmbench_test_en_20231003.tsv"),
                        split="test",
                    ),
                ),
                hub=files.TEST,
                size=6_666,
            ),
            title="MMBench test",
            withheld=True,
            filename="mmbench_test.xlsx",
        )
    },
)
