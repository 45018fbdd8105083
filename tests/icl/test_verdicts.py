"""Models whose behaviour is known are diagnosed as what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from infimm_eval import icl
from infimm_eval.icl import verdict
from infimm_eval.run import Plan, ProgressListener, run
from infimm_eval.shots import controls
from tests.icl import constructed

KNOWN = {
    constructed.copies: verdict.COPIES,
    constructed.votes: verdict.VOTES,
    constructed.imitates: verdict.IMITATES,
    constructed.ignores: verdict.NOTHING,
    constructed.pairs: verdict.PAIRS,
    constructed.learns: verdict.WORDS,
    constructed.looks: verdict.LOOKS,
    constructed.gains: verdict.GAINS,
}
NAMES = ("pictures=blank", "pictures=swapped", "answers=shuffled", "order=reversed", "blind")


def diagnosed(
    behaves: constructed.Behaviour, seed: int, folder: Path, count: int = 160, shots: int = 4
) -> icl.Diagnosis:
    looks = constructed.task(count)
    plan = Plan(
        tasks=[looks],
        shots=(0, shots),
        seeds=(seed,),
        controls=controls.named(NAMES),
        samples_shown=0,
    )
    made = run(plan, constructed.Constructed(behaves, seed), folder, ProgressListener())
    found, _ = icl.read({folder: made}, [looks])
    return next(each for each in found if each.shots == shots)


@pytest.mark.parametrize(
    "behaves",
    [constructed.votes, constructed.imitates, constructed.pairs, constructed.gains],
    ids=lambda behaves: behaves.__name__,
)
def test_a_model_of_known_behaviour_gets_its_verdict(
    behaves: constructed.Behaviour, tmp_path: Path
) -> None:
    found = diagnosed(behaves, 0, tmp_path / "run")
    assert found.verdict == KNOWN[behaves], found.sentence


SEEDS = range(1, 8)


@pytest.mark.slow
@pytest.mark.parametrize("behaves", KNOWN, ids=lambda behaves: behaves.__name__)
def test_a_model_of_known_behaviour_gets_its_verdict_whatever_the_seed(
    behaves: constructed.Behaviour, tmp_path: Path
) -> None:
    found = [diagnosed(behaves, seed, tmp_path / str(seed), 240) for seed in SEEDS]
    assert [each.verdict for each in found] == [KNOWN[behaves]] * len(SEEDS)
