"""MMMU validation: 900 college exam questions with figures, in thirty subjects.  Zero-shot.

Yue et al., CVPR 2024.  Figures stand where the question, or an option, names them.  Answers are
read by the official rules without their dice: where the script draws a letter, the answer counts
as wrong, and ``expected`` says what drawing would be worth.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data import choices
from infimm_eval.demo import choice_rows
from infimm_eval.types import (
    Content,
    Decoding,
    Image,
    PromptTemplate,
    Row,
    Sample,
    Source,
    Split,
    Task,
)

from . import files, scorers, submission
from .foreign import FOREIGN
from .subjects import SUBJECTS

_FIGURE = re.compile(r"<image ([1-7])>")


def sample(row: Row) -> Sample:
    """One row as a sample."""
    answer = row["answer"]
    right = tuple(answer) if isinstance(answer, list) else (answer,) if answer else ()
    if row["options"] and right:
        choices.require_letter(answer, row["options"], choices.place(row, row["id"]))
    return Sample(
        id=row["id"],
        question=with_figures(row["question"], row),
        options=tuple(with_figures(option, row) for option in row["options"]),
        target=right[0] if right else "",
        references=right,
        tags={
            "subject": row["subject"],
            "discipline": SUBJECTS[row["subject"]],
            "question_type": row["question_type"],
        },
    )


def with_figures(text: str, row: Row) -> Content:
    """Put each figure where the text says ``<image 1>``; a name without a figure stays text."""
    parts: list[str | Image] = []
    for position, part in enumerate(_FIGURE.split(text)):
        image = row.get(f"image_{part}") if position % 2 else None
        parts.append(image or (f"<image {part}>" if position % 2 else part))
    return tuple(part for part in parts if part)


_CHOICE = """{{ question }}

{% for letter in letters %}({{ letter }}) {{ options[loop.index0] }}
{% endfor %}
"""
_INSTRUCT = PromptTemplate(
    ask="{% if letters %}"
    + _CHOICE
    + prompts.LETTER
    + "{% else %}{{ question }}\n\n"
    + prompts.SHORT_ANSWER
    + "{% endif %}",
    decoding=Decoding(max_new_tokens=16),
)
_COMPLETION = PromptTemplate(
    ask="Question:{% if letters %}" + _CHOICE + "{% else %}{{ question }}{% endif %} Short answer:",
    decoding=Decoding(max_new_tokens=10, num_beams=3, length_penalty=0.0),
    read=prompts.flamingo_vqa_text,
)


_SIZES = {"dev": 150, "validation": 900, "test": 10_500}


def _split(name: str, title: str) -> Split:
    return Split(
        source=_source(name),
        title=title,
        columns={"MMMU test": "accuracy"} if name == "test" else {},
        filename=f"mmmu_{name}.json",
    )


def _source(split: str) -> Source:
    table = "MMMU_TEST.tsv" if split == "test" else "MMMU_DEV_VAL.tsv"
    return Source(
        demo=partial(choice_rows.mmmu_rows, "test"),
        files=(files.Mmmu(split=split), files.MmmuTsv(file=table, split=split)),
        hub=replace(files.VALIDATION, split=split),
        size=_SIZES[split],
    )


TASK = Task(
    name="mmmu",
    title="MMMU val",
    version=1,
    source=_source("validation"),
    sample=sample,
    templates=prompts.templates(_COMPLETION, _INSTRUCT),
    kind="choice",
    scorers=(scorers.official, scorers.official_seed42),
    metrics=metrics.choices(by=("discipline", "subject", "question_type")),
    headline="accuracy",
    columns={"MMMU val": "accuracy"},
    submission=submission.dictionary("mmmu_validation.json"),
    foreign=FOREIGN,
    splits={
        "dev": _split("dev", "MMMU dev"),
        "test": _split("test", "MMMU test"),
    },
)
