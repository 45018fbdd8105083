"""MME: 14 sub-tasks, two yes/no questions about each of 1,187 pictures.  Zero-shot.

Fu et al., arXiv:2306.13394.  A sub-task scores accuracy plus accuracy over pictures with both
questions right (at most 200); perception sums ten of them, cognition four.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import prompts
from infimm_eval.data.choices import place
from infimm_eval.demo import choice_rows
from infimm_eval.types import Row, Sample, Source, Task

from . import files, scorers, submission
from .foreign import FOREIGN
from .metrics import sums


def sample(row: Row) -> Sample:
    """One row as a sample."""
    category, _, file = row["question_id"].partition("/")
    files.require_truth(row["answer"], place(row, row["question_id"]))
    return Sample(
        id=submission.sample_id(category, file, row["question"]),
        images=(row["image"],),
        question=(row["question"],),
        target=row["answer"],
        references=(row["answer"],),
        group=row["question_id"],
        tags={"category": row["category"], "file": file},
    )


TASK = Task(
    name="mme",
    title="MME",
    version=1,
    source=Source(
        demo=partial(choice_rows.mme_rows, "test"),
        files=(files.Mme(), files.MmeTsv()),
        hub=files.TEST,
        size=2_374,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.free_answer(16)),
    kind="yes or no",
    scorers=(scorers.official, scorers.lmms, scorers.vlmevalkit),
    metrics=sums,
    headline="perception",
    columns={"MME perception": "perception", "MME cognition": "cognition"},
    submission=submission.folder(),
    foreign=FOREIGN,
)
