"""Rubrics for answers that only a reader can grade: MM-Vet's, and our own for InfiMM-Eval.

Knows how to ask and how to read a verdict; who the judge is, and what it costs, is not its
business.  A verdict that is no number from 0 to 1 leaves the answer unscored: it is never a zero.

MM-Vet (Yu et al. 2023) asks its grader to complete the last cell of a table after seven graded
rows: five about an equation, two about a meme.  Structure, grades, tries and reading here are
MM-Vet's; the words are our own, so scores are near but not equal to those of its own prompt even
under the same grader.  ``mm_vet(table)`` takes another table, the authors' included.

InfiMM-Eval keeps its answers and its grader to itself.  What ``core_mm`` gives is self-graded.
"""

from __future__ import annotations

from infimm_eval.errors import UsageError
from infimm_eval.scorers.choice import Reading, compare, hear, options_of
from infimm_eval.types import Decoding, Prompt, Record, Rubric, Sample, Score, Scorer, Turn

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

MM_VET_TABLE = "\n".join(
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


def mm_vet(table: str = MM_VET_TABLE) -> Scorer:
    """MM-Vet's grading; ``table`` is everything before the row to complete.

    The first reference is the ground truth.  Five tries, half a degree hotter each time.
    """

    def ask(record: Record, attempt: int) -> Prompt:
        truth = _reference(record.sample)
        truth = truth.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        row = " | ".join([_question(record.sample), truth, record.text, ""])
        reminder = "\nPredict the correctness of the answer (digit): " if attempt else ""
        return _message(f"{table}\n{row}{reminder}")

    rubric = Rubric(ask=ask, read=read, decoding=Decoding(max_new_tokens=3), tries=5, heat=0.5)
    return Scorer(name="judge", function=rubric)


def core_mm() -> Scorer:
    """Our own grading of InfiMM-Eval's answers: full marks for a right final answer, else part of
    them for reasoning that agrees with the reference.

    The first reference is the right answer; further ones are the steps that lead there.
    """

    def ask(record: Record, attempt: int) -> Prompt:
        answer, steps = _reference(record.sample), record.sample.references[1:]
        lines = [
            "You grade the answer to a question that takes reasoning about one or more pictures.",
            "Give 1.0 if its final answer agrees with the reference answer in meaning. Otherwise "
            "give between 0.0 and 0.9, by how much of the reasoning that leads to the reference "
            "answer it gets right: 0.0 if none. An answer that contradicts itself is wrong.",
            "",
            f"Question: {_question(record.sample)}",
            f"Reference answer: {answer}",
            *(f"Reference step {number}: {step}" for number, step in enumerate(steps, 1)),
            f"Answer to grade: {record.text}",
            "",
            "Reply with the score alone, such as 0.0, 0.3 or 1.0.",
        ]
        return _message("\n".join(lines))

    rubric = Rubric(ask=ask, read=read, decoding=Decoding(max_new_tokens=8), tries=3, heat=0.5)
    return Scorer(name="self-graded", function=rubric)


def undecided_choice(ruled: Reading) -> Scorer:
    """Letters by rule where ``ruled`` finds one, by a judge where it does not: what MMBench
    (Liu et al. 2023) does with ChatGPT, in our own words.

    The judge matches an answer to the options and says a letter, or Z where none is meant, which
    counts as wrong.  A reply that starts with anything else leaves the answer unscored.
    """

    def settled(record: Record) -> Score | None:
        letter = hear(record, ruled)
        return compare(letter, record.sample) if letter else None

    def ask(record: Record, attempt: int) -> Prompt:
        options = options_of(record.sample)
        lines = [
            "Which option does the answer mean? Reply with its letter alone, or with Z if it means "
            "none of them or more than one.",
            "",
            "Question: What is in the picture?",
            "Options: A. a teddy bear B. a rabbit C. a cat D. a dog",
            "Answer: a cute stuffed bear",
            "Letter: A",
            "",
            "Question: What is in the picture?",
            "Options: A. a teddy bear B. a rabbit C. a cat D. a dog",
            "Answer: a spider",
            "Letter: Z",
            "",
            f"Question: {_question(record.sample)}",
            "Options: " + " ".join(f"{letter}. {text}" for letter, text in options.items()),
            f"Answer: {record.text}",
            "Letter:",
        ]
        return _message("\n".join(lines))

    def read_letter(record: Record, verdict: str) -> Score:
        said = verdict.strip()[:1]
        if said == "Z" or said in options_of(record.sample):
            return compare(said, record.sample)
        return Score(None, verdict.strip(), parsed=False)

    rubric = Rubric(
        ask=ask,
        read=read_letter,
        decoding=Decoding(max_new_tokens=4),
        tries=3,
        heat=0.5,
        settled=settled,
    )
    return Scorer(name="judged", function=rubric)


def read(record: Record, verdict: str) -> Score:
    """The verdict's first word as a number from 0 to 1; anything else leaves it unscored."""
    first = (verdict.split() or [""])[0]
    try:
        grade = float(first)
    except ValueError:
        grade = -1.0
    if 0.0 <= grade <= 1.0:
        return Score(grade, first)
    return Score(None, verdict.strip(), parsed=False)


def _question(sample: Sample) -> str:
    return "".join(part if isinstance(part, str) else "<image>" for part in sample.question)


def _reference(sample: Sample) -> str:
    if not sample.references:
        raise UsageError(
            f"question {sample.id} has no answer to grade against; benchmarks that keep their "
            "answers private are graded by their authors: write a file for them with `submit`"
        )
    return sample.references[0]


def _message(text: str) -> Prompt:
    return Prompt("instruct", (Turn("user", (text,)),))
