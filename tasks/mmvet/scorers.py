"""MM-Vet's grading by a judge (Yu et al. 2023): its table of graded rows, the last cell left open.

MM-Vet asks its grader to complete the last cell of a table after seven graded rows: five about an
equation, two about a meme.  Structure, grades, tries and reading here are MM-Vet's; the words are
our own, so scores are near but not equal to those of its own prompt even under the same grader.
``graded(table)`` takes another table, the authors' included.
"""

from __future__ import annotations

from infimm_eval.scorers import fixed
from infimm_eval.scorers.judge import message, question_of, read_grade, reference_of
from infimm_eval.types import Decoding, Prompt, Record, Rubric, Scorer

_MEME = (
    "Can you explain this meme?",
    "The meme jokes that the names of Iceland and Greenland mislead: Iceland, in spite of its "
    "name, is a green country, and Greenland is mostly under ice and snow. The writer claims to "
    "have trust issues because neither name describes its land.",
)
_EQUATION = ("What is x in the equation?", "-1 <AND> -5")
_GRADED = [
    (*_EQUATION, "x = 3", "0.0"),
    (*_EQUATION, "x = -1", "0.5"),
    (*_EQUATION, "x = -5", "0.5"),
    (*_EQUATION, "x = -5 or 5", "0.5"),
    (*_EQUATION, "x = -1 or x = -5", "1.0"),
    (
        *_MEME,
        "The meme is about Iceland and Greenland. It says that Iceland is not so icy and "
        "Greenland not so green, whatever they are called.",
        "0.4",
    ),
    (
        *_MEME,
        "The joke is that two countries have misleading names: Iceland has green landscapes "
        "although it is called after ice, while Greenland is mostly covered in ice and snow. The "
        "words 'This is why I have trust issues' pretend that such contradictions make one "
        "distrustful. It is funny because what one expects of the names is the opposite of how "
        "the countries look.",
        "1.0",
    ),
]
TABLE = "\n".join(
    [
        "Grade how correct a model's prediction is, given the ground truth. Parts of the ground "
        "truth joined by <AND> must all be in the prediction for it to be totally right; of parts "
        "joined by <OR>, any one is enough. The correctness is 0.0 (totally wrong), 0.1, 0.2, "
        "0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, or 1.0 (totally right). Only fill in the last cell of "
        "the last row, the correctness.",
        "",
        "Question | Ground truth | Prediction | Correctness",
        "--- | --- | --- | ---",
        *(" | ".join(row) for row in _GRADED),
        "",
    ]
)


def graded(table: str = TABLE) -> Scorer:
    """MM-Vet's grading; ``table`` is everything before the row to complete.

    The first reference is the ground truth.  Five tries, half a degree hotter each time.
    """

    def ask(record: Record, attempt: int) -> Prompt:
        truth = reference_of(record.sample)
        truth = truth.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        row = " | ".join([question_of(record.sample), truth, record.text, ""])
        reminder = "\nPredict the correctness of the answer (digit): " if attempt else ""
        return message(f"{table}\n{row}{reminder}")

    rubric = Rubric(
        ask=ask, read=read_grade, decoding=Decoding(max_new_tokens=3), tries=5, heat=0.5
    )
    return Scorer(name="judge", function=rubric, cases=fixed.beside(__file__))
