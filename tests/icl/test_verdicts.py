"""Models whose behaviour is known are diagnosed as what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from infimm_eval import icl, registry
from infimm_eval.icl import verdict
from infimm_eval.models.fake import Fake
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "control"), [("vqav2", "pictures=other"), ("open_mi", "pictures=swapped")]
)
def test_pairing_is_exchanged_where_a_prompt_shows_more_than_one_example(
    name: str, control: str, tmp_path: Path
) -> None:
    """At 1 shot VQAv2 shows one, open MiniImageNet one a class."""
    task = registry.load(name)
    wanted = controls.named(("pictures=swapped", "pictures=other"))
    plan = Plan(tasks=[task], shots=(1,), limit=6, controls=wanted, samples_shown=0)
    made = run(plan, Fake("dax"), tmp_path, ProgressListener())
    ((found,), _) = icl.read({tmp_path: made}, [task])
    (pairing,) = (c for c in found.contrasts if c.name == "pairing")
    assert (pairing.control, pairing.changed_prompts) == (control, 100.0)


SEEDS = range(1, 8)


@pytest.mark.slow
@pytest.mark.parametrize("behaves", KNOWN, ids=lambda behaves: behaves.__name__)
def test_a_model_of_known_behaviour_gets_its_verdict_whatever_the_seed(
    behaves: constructed.Behaviour, tmp_path: Path
) -> None:
    found = [diagnosed(behaves, seed, tmp_path / str(seed), 240) for seed in SEEDS]
    assert [each.verdict for each in found] == [KNOWN[behaves]] * len(SEEDS)
