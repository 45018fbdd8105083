"""How documents are read in training: together, and each kind for itself."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
import torch
from torch import Tensor

from infimm_eval.demo.scenes import scene
from infimm_eval.demo.train import loop, tiny
from infimm_eval.demo.train.documents import Document, ask_for_caption, ask_question, shown, told
from infimm_eval.demo.train.instructions import KINDS, multitask
from infimm_eval.demo.train.labels import TextLabels, truths
from infimm_eval.demo.train.reading import CALL, Asked, Losses, Reader, together
from infimm_eval.demo.vocabulary import number
from infimm_eval.demo.words import MADE_UP
from infimm_eval.models.flamingo.build import DEMO

SCENES = [scene("train", index) for index in range(24)]


def cost(lengths: list[int], parts: list[slice]) -> int:
    return sum(CALL + max(lengths[part]) * len(lengths[part]) for part in parts)


def test_calls_are_cut_where_that_costs_the_fewest_tokens() -> None:
    lengths = sorted([12] * 60 + [60] * 20 + [90, 110])
    parts = together(lengths)
    assert [place for part in parts for place in range(part.start, part.stop)] == list(range(82))
    assert all(a.stop == b.start for a, b in pairwise(parts)) and slice(0, 60) in parts
    assert cost(lengths, parts) < min(
        cost(lengths, [slice(0, at), slice(at, 82)]) for at in range(1, 82)
    )
    assert together([5]) == [slice(0, 1)] and together([]) == []


@pytest.mark.slow
def test_a_kind_of_documents_costs_the_same_beside_others_and_alone() -> None:
    model, tokenizer = tiny.load(DEMO)
    torch.manual_seed(0)
    asked = Asked(TextLabels(model.decoder.width), truths(SCENES))
    latents_IVD = torch.randn(len(SCENES), 16, 128)
    rng, places = Random(0), range(len(SCENES))
    batches: dict[str, list[Document]] = {
        "shown": [shown(ask_for_caption, SCENES, places, rng) for _ in range(3)],
        "told": [told(ask_question, SCENES, places, rng) for _ in range(9)],
        "yes or no": [multitask(KINDS["yes or no"], SCENES, places, rng) for _ in range(5)],
    }

    def losses(some: dict[str, list[Document]]) -> Losses:
        return Reader(tokenizer).losses(model, latents_IVD, some, AlwaysEnds(), asked)

    with torch.no_grad():
        whole = losses(batches)
        alone = {name: losses({name: batch}) for name, batch in batches.items()}
    for name, loss in alone.items():
        torch.testing.assert_close(loss.answers[name], whole.answers[name])
    assert whole.facts is not None
    torch.testing.assert_close(whole.facts, torch.stack([_facts(x) for x in alone.values()]).mean())


class AlwaysEnds(Random):
    """No matter in which order documents come."""

    def random(self) -> float:
        return 0.0


def _facts(losses: Losses) -> Tensor:
    assert losses.facts is not None
    return losses.facts


def test_words_that_are_said_first_are_told_apart_again() -> None:
    model, tokenizer = tiny.load(DEMO)
    ids = [number(tokenizer, name) for name in MADE_UP]
    rows_YM = model.get_parameter("decoder.lm_head.weight")
    with torch.no_grad():
        rows_YM[ids] = 1.0
    others = rows_YM[[i for i in range(len(rows_YM)) if i not in ids]].clone()
    loop.say_anew(model, ids)
    near = torch.nn.functional.cosine_similarity(rows_YM[ids[:1]], rows_YM[ids[1:]])
    assert near.abs().max() < 0.5
    assert torch.equal(rows_YM[[i for i in range(len(rows_YM)) if i not in ids]], others)
