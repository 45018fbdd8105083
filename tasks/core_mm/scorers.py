"""InfiMM-Eval graded by a judge with a rubric of our own.

InfiMM-Eval keeps its answers and its grader to itself: what this gives is self-graded.
"""

from __future__ import annotations

from infimm_eval.scorers import fixed
from infimm_eval.scorers.judge import message, question_of, read_grade, reference_of
from infimm_eval.types import Decoding, Prompt, Record, Rubric, Scorer


def ask(record: Record, attempt: int) -> Prompt:
    """Full marks for a right final answer, else part of them for reasoning that agrees with the
    reference.

    The first reference is the right answer; further ones are the steps that lead there.
    """
    answer, steps = reference_of(record.sample), record.sample.references[1:]
    lines = [
        "You grade the answer to a question that takes reasoning about one or more pictures.",
        "Give 1.0 if its final answer agrees with the reference answer in meaning. Otherwise "
        "give between 0.0 and 0.9, by how much of the reasoning that leads to the reference "
        "answer it gets right: 0.0 if none. An answer that contradicts itself is wrong.",
        "",
        f"Question: {question_of(record.sample)}",
        f"Reference answer: {answer}",
        *(f"Reference step {number}: {step}" for number, step in enumerate(steps, 1)),
        f"Answer to grade: {record.text}",
        "",
        "Reply with the score alone, such as 0.0, 0.3 or 1.0.",
    ]
    return message("\n".join(lines))


self_graded = Scorer(
    name="self-graded",
    function=Rubric(
        ask=ask, read=read_grade, decoding=Decoding(max_new_tokens=8), tries=3, heat=0.5
    ),
    cases=fixed.beside(__file__),
)
