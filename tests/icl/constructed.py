"""Models whose behaviour is known, and a benchmark of made-up looks on which they differ.

A picture knows its look, so that every model sees exactly what it is built to see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from infimm_eval import metrics, prompts
from infimm_eval.scorers import vqa
from infimm_eval.types import Answer, Image, Request, Row, Sample, Source, Style, Task

LOOKS = 3
WORDS = ("dax", "blick", "wug", "toma", "fep", "zup", "kiki", "lorp")


@dataclass(frozen=True, slots=True)
class Look(Image):
    """A picture of one of some looks."""

    split: str
    number: int
    seen: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number}.png"

    @property
    def key(self) -> str:
        return f"{self.name}:{self.seen}"

    def read(self) -> bytes:
        from infimm_eval.shots.blanks import Blank

        return Blank(8 + self.seen, 8).read()


def rows(split: str, count: int) -> Iterator[Row]:
    """Two kinds of question: a look's usual word, or its colour."""
    for number in range(count):
        rng = Random(f"{split}/{number}")
        look = rng.randrange(LOOKS)
        kind = rng.choice(("what is", "what color"))
        answer = WORDS[look] if kind == "what is" else f"color{look}"
        yield {"n": number, "split": split, "look": look, "kind": kind, "answer": answer}


def sample(row: Row) -> Sample:
    return Sample(
        id=f"{row['split']}{row['n']}",
        images=(Look(row["split"], row["n"], row["look"]),),
        question=(f"{row['kind']} it?",),
        target=row["answer"],
        references=(row["answer"],) * 10,
        group=f"{row['split']}{row['n']}",
        tags={"question_type": row["kind"]},
    )


def task(count: int = 160) -> Task:
    return Task(
        name="looks",
        title="Looks",
        version=1,
        headline="accuracy",
        source=Source(demo=lambda: rows("test", count)),
        shots=Source(demo=lambda: rows("train", 600)),
        sample=sample,
        templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer()),
        scorers=(vqa.always,),
        metrics=metrics.mean("accuracy"),
    )


@dataclass(frozen=True, slots=True)
class Example:
    """A shot, or the query without an answer, as a model sees it."""

    look: int | None
    """``None``: blank, or no picture."""
    marked: bool
    """Whether there is a picture, be it blank."""
    kind: str
    answer: str


Behaviour = Callable[[Sequence[Example], Example, Random], str]


def right(query: Example, rng: Random) -> str:
    """What a model that sees says without shots."""
    if query.look is None:
        return rng.choice(WORDS)
    return WORDS[query.look] if query.kind == "what is" else f"color{query.look}"


def copies(shots: Sequence[Example], query: Example, rng: Random) -> str:
    """The last shot's answer."""
    return shots[-1].answer if shots else rng.choice(WORDS)


def votes(shots: Sequence[Example], query: Example, rng: Random) -> str:
    """The most frequent of the shots' answers, of equals any."""
    if not shots:
        return rng.choice(WORDS)
    counts = Counter(shot.answer for shot in shots)
    most = max(counts.values())
    return rng.choice([word for word, count in counts.items() if count == most])


def imitates(shots: Sequence[Example], query: Example, rng: Random) -> str:
    """The answer of a shot with the same question, whatever is to be seen."""
    fitting = [shot.answer for shot in shots if shot.kind == query.kind]
    return rng.choice(fitting or [f"nothing{rng.randrange(99)}"])


def ignores(shots: Sequence[Example], query: Example, rng: Random) -> str:
    """Always the same."""
    return "dax"


def pairs(shots: Sequence[Example], query: Example, rng: Random) -> str:
    """The answer of a shot that looks like the query and is asked the same; else a guess that
    looks at the query."""
    alike = [s for s in shots if s.look == query.look is not None and s.kind == query.kind]
    return alike[-1].answer if alike else (right(query, rng) if rng.random() < 0.4 else "hm")


def learns(shots: Sequence[Example], query: Example, rng: Random) -> str:
    """Reads looks by itself, and takes the way of answering from the shots that are asked the
    same: their words, if these are words for anything."""
    words = {shot.answer for shot in shots if shot.kind == query.kind}
    known = {*WORDS} if query.kind == "what is" else {f"color{n}" for n in range(LOOKS)}
    return right(query, rng) if words and words <= known else f"a {right(query, rng)} thing"


def looks(shots: Sequence[Example], query: Example, rng: Random) -> str:
    """Sees the query; the shots are nothing to it."""
    return right(query, rng)


def gains(shots: Sequence[Example], query: Example, rng: Random) -> str:
    """Sees the query, better once there are marks of pictures before it; reads no answer."""
    marked = any(shot.marked for shot in shots)
    return right(query, rng) if rng.random() < (0.9 if marked else 0.3) else "hm"


class Constructed:
    """A model that behaves as it is told, the same to the same prompt."""

    style: Style = "completion"

    def __init__(self, behaves: Behaviour, seed: int = 0) -> None:
        self.behaves, self.seed = behaves, seed
        self.name = behaves.__name__
        self.settings: Mapping[str, Any] = {"fingerprint": f"{self.name}/{seed}"}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            *shots, query = _examples(request)
            rng = Random(f"{self.seed}/{request.id}")
            yield Answer(request.id, self.behaves(shots, query, rng))


def _examples(request: Request) -> list[Example]:
    turns = list(request.prompt.turns)
    answers = ["".join(map(str, turn.content)) for turn in turns if turn.role == "assistant"]
    asked = [turn for turn in turns if turn.role == "user"]
    return [
        _example(turn.content, answer) for turn, answer in zip(asked, [*answers, ""], strict=True)
    ]


def _example(content: Sequence[str | Image], answer: str) -> Example:
    pictures = [part for part in content if isinstance(part, Image)]
    looks = [part.seen for part in pictures if isinstance(part, Look)]
    text = "".join(part for part in content if isinstance(part, str))
    kind = "what is" if "what is" in text else "what color"
    return Example(looks[0] if looks else None, bool(pictures), kind, answer)
