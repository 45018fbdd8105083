"""OK-VQA validation: 5,046 questions that need outside knowledge, ten answers by five people.

Marino et al., CVPR 2019.  Each published answer is there as typed and stemmed ("race" for
"racing").  ``raw`` scores against what people typed, ``published`` against the stems with the
prediction as it is (the VQA script on the annotations file), ``stemmed`` against the stems with
the prediction stemmed too, as Flamingo and OpenFlamingo do (needs NLTK and its data).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data import hubs
from infimm_eval.data.vqa import VqaFiles
from infimm_eval.demo import open_rows
from infimm_eval.formats import lists
from infimm_eval.scorers import okvqa, vqa
from infimm_eval.types import CorpusFunction, Record, Row, Rubric, Sample, Scorer, Source, Task


def sample(row: Row) -> Sample:
    stems = tuple(row["answers"] or ())
    raw = tuple(row.get("raw_answers") or stems)
    return Sample(
        id=str(row["question_id"]),
        images=(row["image"],),
        question=(row["question"],),
        target=raw[0] if raw else "",
        references=raw,
        group=str(row["image_id"]),
        tags={key: row[key] for key in ("answer_type", "question_type") if row.get(key)}
        | ({"stems": "\n".join(stems)} if row.get("raw_answers") else {}),
    )


def against_stems(name: str, scorer: Scorer) -> Scorer:
    """The scorer under another name with the stems for references, where a row has both forms."""
    function = scorer.function
    if isinstance(function, CorpusFunction):
        score = function.score
        stemmed = replace(function, score=lambda r, known: score(map(_with_stems, r), known))
        return replace(scorer, name=name, function=stemmed)
    if isinstance(function, Rubric):
        raise TypeError("a judge reads references as they are")
    return replace(scorer, name=name, function=lambda record: function(_with_stems(record)))


def _with_stems(record: Record) -> Record:
    stems = record.sample.tags.get("stems")
    if stems is None:
        return record
    return replace(record, sample=replace(record.sample, references=tuple(stems.split("\n"))))


def _files(split: str) -> VqaFiles:
    return VqaFiles(
        questions=f"OpenEnded_mscoco_{split}_questions.json",
        annotations=f"mscoco_{split}_annotations.json",
        images=f"{split}/COCO_{split}_{{:012d}}.jpg",
    )


TASK = Task(
    name="okvqa",
    title="OK-VQA",
    version=1,
    source=Source(
        demo=partial(open_rows.okvqa_rows, "test"),
        files=(_files("val2014"),),
        hub=hubs.OKVQA_VAL,
    ),
    shots=Source(
        demo=partial(open_rows.okvqa_rows, "train"),
        files=(_files("train2014"),),
        hub=hubs.OKVQA_TRAIN,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer()),
    scorers=(
        replace(vqa.always, name="raw"),
        vqa.evalai,
        against_stems("published", vqa.always),
        against_stems("stemmed", okvqa.stemmed),
    ),
    metrics=metrics.mean("accuracy", by=("question_type",)),
    headline="accuracy",
    columns={"OK-VQA acc": "accuracy"},
    submission=lists.vqa("okvqa_val2014_results.json", spoken=vqa.normalise),
)
