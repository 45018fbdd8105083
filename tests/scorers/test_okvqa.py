"""Stemming predictions to the form of OK-VQA's answers."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from infimm_eval.cli import main
from infimm_eval.errors import UsageError
from infimm_eval.types import Scorer
from tasks.okvqa import scorers as okvqa
from tests.scorers.cases import record, scores

TAGS = {"dogs": "NNS", "alps": "NNPS", "glasses": "NNS"}
GRAMMAR = okvqa.Grammar(
    tagged=lambda text: [(word, TAGS.get(word, "NN")) for word in text.split()],
    verb=lambda word: {"racing": "race", "string": "string"}[word],
    singular=lambda word: word.removesuffix("es") if word == "glasses" else word[:-1],
)


@pytest.mark.parametrize(
    ("said", "stemmed"),
    [
        ("racing dogs", "race dog"),  # a verb's lemma, a plural's singular
        ("alps", "alp"),
        ("riding", "ride"),  # an exception comes before the rule for "ing"
        ("yes police", "yes police"),
        ("string bus", "string bus"),  # no plural, whatever it ends in
        ("", ""),
    ],
)
def test_words_are_stemmed_by_exception_then_lemma_then_singular(said, stemmed):
    assert okvqa.stem(said, GRAMMAR) == stemmed


def test_predictions_are_stemmed_and_references_taken_as_they_are():
    scorer = Scorer(name="stemmed", function=okvqa.stemming(lambda: GRAMMAR))
    asked = [record("racing", ["race"] * 10), record("race", ["racing"] * 10)]
    assert [score.value for score in scores(scorer, asked)] == [1.0, 0.0]


def test_without_nltk_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(UsageError, match=r"the package nltk; pip install 'infimm-eval\[okvqa\]'"):
        scores(okvqa.stemmed, [record("racing", ["race"])])


def test_without_nltk_nothing_is_asked(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "nltk", None)
    words = ["--tasks", "okvqa", "--scorer", "okvqa=stemmed", "--model", "fake", "--limit", "2"]
    assert main([*words, "--output", str(tmp_path / "run"), "-q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_with_nltk_and_its_data_stems_are_those_of_openflamingo():
    if importlib.util.find_spec("nltk") is None or importlib.util.find_spec("inflection") is None:
        pytest.skip("nltk and inflection are not installed")
    try:
        grammar = okvqa.nltk_grammar()
    except UsageError as missing:
        pytest.skip(str(missing))
    assert okvqa.stem("racing", grammar) == "race"
    assert okvqa.stem("two dogs running", grammar) == "two dog run"
    assert okvqa.stem("skateboarders", grammar) == "skateboard"
