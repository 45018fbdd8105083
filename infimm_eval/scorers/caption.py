"""CIDEr-D (Vedantam et al. 2015) as COCO's evaluation computes it, with BLEU, ROUGE-L and METEOR.

Knows captions and references as texts; which pictures they belong to is only an id to it.

The weight of an n-gram is its rarity in the references of the *whole* split, also when only some
of its pictures were captioned.  BLEU and ROUGE-L are pycocoevalcap's own; CIDEr-D is written out
here because pycocoevalcap's takes rarity from the scored pictures alone and three times as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, isfinite, log, sqrt
from statistics import fmean
from typing import TypeAlias

from infimm_eval.errors import InfimmEvalError
from infimm_eval.scorers import fixed, java
from infimm_eval.types import CorpusFunction, Record, Sample, Score, Scorer, Scoring

Tokenised: TypeAlias = Mapping[str, Sequence[str]]
"""References in PTB tokens by the id of their picture: of a whole split they give the document
frequencies, and are smaller than those."""

Companion: TypeAlias = Callable[
    [Sequence[str], Sequence[Sequence[str]]], tuple[dict[str, float], list[dict[str, float]]]
]
"""A further figure: captions and their references to corpus values and each caption's, 0 to 1."""


def cider_d(*companions: Companion) -> CorpusFunction:
    """CIDEr-D of each caption (0 to 10; the published figure is 100 times the mean), its
    companions as parts (0 to 1), and corpus figures (times 100).

    A picture without references stays unscored and does not count for document frequency.
    """

    def score(records: Iterable[Record], references: Tokenised) -> Scoring:
        records = list(records)
        said = java.tokenise([r.text for r in records if r.sample.id in references])
        return _scored(records, said, references, companions)

    return CorpusFunction(
        score=score,
        learn=tokenised_references,
        probe=_on_spaces,
        alone=cider_d() if companions else None,
        warm=java.start_meteor if _meteor in companions else None,
    )


def tokenised_references(split: Iterable[Sample]) -> dict[str, list[str]]:
    """Every picture's references by its id; all of them in one call of the tokenizer."""
    owners = [(sample.id, caption) for sample in split for caption in sample.references]
    tokens = java.tokenise([caption for _, caption in owners])
    references: dict[str, list[str]] = {}
    for (owner, _), caption in zip(owners, tokens, strict=True):
        references.setdefault(owner, []).append(caption)
    return references


def _scored(
    records: Sequence[Record],
    said: Sequence[str],
    references: Tokenised,
    companions: Sequence[Companion],
) -> Scoring:
    judged = [record for record in records if record.sample.id in references]
    heard = [references[record.sample.id] for record in judged]
    rarity = Rarity.of(references.values())
    values = [
        similarity(caption, others, rarity) for caption, others in zip(said, heard, strict=True)
    ]
    parts: list[dict[str, float]] = [{} for _ in judged]
    corpus: dict[str, float] = {}
    notes = []
    for companion in companions if judged else []:
        try:
            whole, each = companion(said, heard)
        except (InfimmEvalError, OSError, RuntimeError) as error:  # it costs itself at most
            notes.append(f"{companion.__name__.strip('_').upper()} is left out: {error}")
            continue
        corpus |= {name: 100 * value for name, value in whole.items() if isfinite(value)}
        for mine, more in zip(parts, each, strict=True):
            mine |= {name: value for name, value in more.items() if isfinite(value)}

    scores = {
        record.sample.id: Score(value, caption, parts=more)
        for record, value, caption, more in zip(judged, values, said, parts, strict=True)
    }
    every = [scores.get(record.sample.id, Score(None)) for record in records]
    return Scoring(every, corpus, notes)


def _on_spaces(records: Iterable[Record]) -> Scoring:
    """Tokens are what stands between spaces: the same without the tokenizer and METEOR."""
    records = list(records)
    references = {r.sample.id: r.sample.references for r in records if r.sample.references}
    said = [record.text for record in records if record.sample.references]
    return _scored(records, said, references, [_bleu, _rouge])


# ---- CIDEr-D

Gram: TypeAlias = tuple[str, ...]

_LONGEST = 4
_LENGTH_SPREAD = 6.0
"""Sigma of the Gaussian that punishes captions longer or shorter than the reference."""


@dataclass(frozen=True, slots=True)
class Rarity:
    """How much an n-gram says: ln(pictures / pictures with it in any reference)."""

    weights: Mapping[Gram, float]
    unheard: float

    @classmethod
    def of(cls, pictures: Iterable[Sequence[str]]) -> Rarity:
        """From every picture's tokenised references."""
        seen: Counter[Gram] = Counter()
        total = 0
        for references in pictures:
            counts = (grams for reference in references for grams in _ngrams(reference))
            seen.update({gram for grams in counts for gram in grams})
            total += 1
        most = log(max(total, 1))
        return cls({gram: most - log(count) for gram, count in seen.items()}, most)


def similarity(caption: str, references: Sequence[str], rarity: Rarity) -> float:
    """CIDEr-D of one tokenised caption, 0 to 10."""
    mine = _Vector.of(caption, rarity)
    return 10 * fmean(_cosine(mine, _Vector.of(other, rarity)) for other in references)


@dataclass(frozen=True, slots=True)
class _Vector:
    """A caption as rarity-weighted counts, for n = 1 to 4."""

    weights: Sequence[Mapping[Gram, float]]
    norms: Sequence[float]
    length: int
    """In bigrams: words - 1."""

    @classmethod
    def of(cls, caption: str, rarity: Rarity) -> _Vector:
        counts = _ngrams(caption)
        rare, unheard = rarity.weights, rarity.unheard
        weights = [{g: n * rare.get(g, unheard) for g, n in grams.items()} for grams in counts]
        norms = [sqrt(sum([weight * weight for weight in w.values()])) for w in weights]
        return cls(weights, norms, counts[1].total())


def _cosine(mine: _Vector, other: _Vector) -> float:
    """The mean over n of clipped cosines, less for a different length."""
    total = 0.0
    for n in range(_LONGEST):
        theirs = other.weights[n]
        shared = [(w, theirs[gram]) for gram, w in mine.weights[n].items() if gram in theirs]
        dot = sum([min(here, there) * there for here, there in shared])
        if norm := mine.norms[n] * other.norms[n]:
            total += dot / norm
    apart = mine.length - other.length
    return total / _LONGEST * exp(-(apart**2) / (2 * _LENGTH_SPREAD**2))


def _ngrams(caption: str) -> list[Counter[Gram]]:
    words = caption.split()
    starts = [words[at:] for at in range(_LONGEST)]
    return [Counter(zip(*starts[:n], strict=False)) for n in range(1, _LONGEST + 1)]


# ---- companions: the figures that stand beside it


def _bleu(
    said: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=_LONGEST)
    for caption, people in zip(said, references, strict=True):
        scorer += (caption, people)
    corpus, each = scorer.compute_score(option="closest")
    return _named(corpus), [_named(one) for one in zip(*each, strict=True)]


def _named(bleu: Iterable[float]) -> dict[str, float]:
    return {f"Bleu_{n}": value for n, value in enumerate(bleu, 1)}


def _rouge(
    said: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    from pycocoevalcap.rouge.rouge import Rouge

    scorer = Rouge()
    each = [
        float(scorer.calc_score([caption], people))
        for caption, people in zip(said, references, strict=True)
    ]
    return {"ROUGE_L": fmean(each)}, [{"ROUGE_L": value} for value in each]


def _meteor(
    said: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    corpus, each = java.meteor(said, references)
    return {"METEOR": corpus}, [{"METEOR": value} for value in each]


_cases = fixed.shared("captions")
cider = Scorer(name="CIDEr-D", function=cider_d(_bleu, _rouge), cases=_cases)
untokenised = Scorer(
    name="vlmevalkit",
    function=CorpusFunction(score=lambda records, _: _on_spaces(records)),
    cases=_cases,
    beside=False,
)
"""CIDEr-D as VLMEvalKit computes it: of words between spaces as they stand, capitals and marks
included, with the rarity in the references of the scored pictures alone.  Without METEOR."""
cider_and_meteor = replace(cider, function=cider_d(_bleu, _rouge, _meteor))
"""The same with METEOR, which takes some ten seconds to start, once a process."""
