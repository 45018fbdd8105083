"""Tokens that a model reads of a picture, counted in what its processor made of the prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from infimm_eval import logs, registry
from infimm_eval.errors import UsageError
from infimm_eval.run import Plan, ProgressListener, run
from tests.models.families import FAMILIES, MORE, load, saved
from tests.models.tiny import few_shot

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

EACH = {"llava": 4, "idefics": 5, "idefics_resampled": None, "idefics3_in_tiles": None, "gemma3": 4}
"""What a picture of the tests takes; ``None``: whatever it is, it is one number."""


@pytest.mark.slow
@pytest.mark.parametrize("family", EACH)
def test_every_picture_of_a_prompt_is_counted(family: str, tmp_path: Path) -> None:
    model = load(saved(tmp_path, {**FAMILIES, **MORE}[family]))
    asked = few_shot(4)
    for answer in model.generate(asked):
        counts = answer.notes["picture_tokens"]
        request = next(one for one in asked if one.id == answer.id)
        shown = [p for t in request.prompt.turns for p in t.content if not isinstance(p, str)]
        lost = answer.notes.get("dropped_shots", 0)
        assert len(counts) == len(shown) - lost and min(counts) > 0
        assert EACH[family] is None or set(counts) == {EACH[family]}


@pytest.mark.slow
def test_a_cell_says_what_query_and_shots_took(tmp_path: Path) -> None:
    model = load(saved(tmp_path / "model", FAMILIES["llava"]))
    plan = Plan(tasks=[registry.load("vqav2")], shots=(0, 2), limit=2, samples_shown=0)
    cells = run(plan, model, tmp_path / "run", ProgressListener())
    assert [cell.picture_tokens for cell in cells] == [
        {"query": 4, "shot": None}, {"query": 4, "shot": 4},
    ]  # fmt: skip
    assert logs.results(cells)["cells"][1]["picture_tokens"] == {"query": 4, "shot": 4}


def test_a_model_of_one_picture_is_shown_no_shots(tmp_path: Path) -> None:
    model = load(saved(tmp_path / "model", MORE["paligemma"]))
    plan = Plan(tasks=[registry.load("vqav2")], shots=(0, 2), limit=2)
    with pytest.raises(UsageError, match="one picture a prompt"):
        run(plan, model, tmp_path / "run", ProgressListener())
