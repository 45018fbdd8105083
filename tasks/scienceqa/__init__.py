"""ScienceQA: school exam questions with 2 to 5 choices; the IMG subset of test (2,017).

Lu et al., "Learn to Explain", NeurIPS 2022.  Read by LLaVA's rule; ``scienceqa:full`` is all of
test (4,241), with pictures or without.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import formats, metrics, prompts
from infimm_eval.data import choices
from infimm_eval.demo import choice_rows
from infimm_eval.scorers import choice
from infimm_eval.submissions import foreign
from infimm_eval.types import Foreign, Row, Sample, Source, Split, Task

from . import files, scorers, submission

_OTTER = (
    'Please answer the question in the following format: "The answer is {A/B/C/D}".\n'
    "{{ question }}" + formats.OTTER_OPTIONS + "\n"
)


def sample(row: Row) -> Sample:
    """One row as a sample."""
    letter = choices.letter_of(row["answer"], row["choices"], choices.place(row, row["id"]))
    image = row["image"]
    return Sample(
        id=str(row["id"]),
        images=(image,) if image else (),
        question=(row["question"],),
        options=tuple((text,) for text in row["choices"]),
        hint=row["hint"],
        target=letter,
        references=(letter,),
        tags={key: row[key] for key in ("subject", "topic", "grade") if row.get(key)}
        | {"modality": "IMG" if image else "TXT"},
    )


TASK = Task(
    name="scienceqa",
    title="ScienceQA-Img",
    version=1,
    source=Source(
        demo=partial(choice_rows.scienceqa_rows, "test"),
        files=(
            files.ScienceQa(split="test"),
            files.ScienceQaTsv(file="ScienceQA_TEST.tsv", split="test"),
        ),
        hub=files.IMG,
        keep=lambda row: row["image"] is not None,
        size=2_017,
    ),
    shots=Source(
        demo=partial(choice_rows.scienceqa_rows, "train"),
        files=(files.ScienceQa(split="train"),),
        keep=lambda row: row["image"] is not None,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_choice(), prompts.letter_choice()),
    kind="choice",
    formats={"otter": {"completion": formats.otter_request(_OTTER)}},
    scorers=(scorers.llava, scorers.lmms, choice.letter),
    metrics=metrics.choices(by=("subject", "topic", "grade")),
    headline="accuracy",
    rankable=True,
    columns={"ScienceQA-Img": "accuracy"},
    submission=submission.results("scienceqa_img_results.json", pictures_only=True),
    foreign={
        "lmms-eval": foreign.rows_only(
            "scienceqa_img*", "scienceqa*", value=("exact_match",), scale=100.0
        ),
        "VLMEvalKit": foreign.rows_only(
            "scienceqa_test", value=("hit",), figure=("Overall",), scale=100.0, first_row=1
        ),
        "LLaVA": Foreign(names=("scienceqa*", "sqa*", "llava_sqa*")),
    },
    splits={
        "full": Split(
            source=Source(
                demo=partial(choice_rows.scienceqa_rows, "test"),
                files=(files.ScienceQa(split="test"),),
                hub=files.FULL,
                size=4_241,
            ),
            title="ScienceQA",
            submission=submission.results("scienceqa_results.json", pictures_only=False),
        )
    },
)
