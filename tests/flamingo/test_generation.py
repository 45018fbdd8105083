"""Answers and likelihoods, held against the whole text computed at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, gather_pictures, rank
from tests.flamingo.small import EOC, IMAGE, batch, generate, pictures, small


def prompts(model: Flamingo, side: str = "left", rows: slice = slice(None)) -> tuple[Any, ...]:
    ids, mask, seen = batch(side)
    return ids[rows], mask[rows], *gather_pictures(pictures(model, 5), seen[rows])


def naive(model: Flamingo, b: int, count: int) -> list[int]:
    """Greedy ids by running the whole text again for every token."""
    ids, mask, latents, n_images = prompts(model)
    text = ids[b][mask[b].bool()][None]
    for _ in range(count):
        with torch.no_grad():
            logits = model(text, None, latents[b : b + 1], n_images[b : b + 1])[0, -1]
        logits[[2, IMAGE, EOC]] = -torch.inf
        text = torch.cat([text, logits.argmax()[None, None]], dim=1)
    return text[0, -count:].tolist()  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [("L", "mistral", 2), ("g", "llama", 4)])
def test_greedy_ids_are_those_of_the_uncached_model(kind: Any) -> None:
    model = small(*kind)
    answers = generate(model, *prompts(model), max_new_tokens=7, min_new_tokens=7)
    assert [list(a.ids) for a in answers] == [naive(model, b, 7) for b in range(4)]
    assert {a.finish for a in answers} == {"length"}


SEARCHES: list[dict[str, Any]] = [
    {},
    {"num_beams": 3},
    {"num_beams": 2, "length_penalty": -1.0},
    {"num_beams": 4, "early_stopping": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCHES)
def test_a_rows_answer_does_not_depend_on_its_batch_mates_or_the_padding(search: Any) -> None:
    model = small()
    options = {"max_new_tokens": 8, "eos_ids": [2, 30, 41, 52]} | search
    together = generate(model, *prompts(model), **options)
    assert generate(model, *prompts(model, "right"), **options) == together
    for b, expected in enumerate(together):
        (alone,) = generate(model, *prompts(model, rows=slice(b, b + 1)), **options)
        assert (alone.ids, alone.finish) == (expected.ids, expected.finish)
        assert alone.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_every_row_has_its_own_limit(beams: int) -> None:
    model = small()
    limits = [1, 9, 3, 6]
    answers = generate(
        model, *prompts(model), max_new_tokens=limits, min_new_tokens=9, num_beams=beams
    )
    assert [len(a.ids) for a in answers] == limits
    for b, limit in enumerate(limits):
        row = prompts(model, rows=slice(b, b + 1))
        (alone,) = generate(model, *row, max_new_tokens=limit, min_new_tokens=9, num_beams=beams)
        assert alone.ids == answers[b].ids


@pytest.mark.parametrize("beams", [1, 3])
def test_an_answer_stops_where_it_is_told_and_says_so(beams: int) -> None:
    model = small()
    asked: set[int] = set()

    def third(row: int, ids: Any) -> bool:
        asked.add(row)
        return row != 1 and len(ids) == 3

    answers = generate(
        model, *prompts(model), max_new_tokens=6, min_new_tokens=6, num_beams=beams, stop=third
    )
    assert [len(a.ids) for a in answers] == [3, 6, 3, 3]
    assert [a.finish for a in answers] == ["stop", "length", "stop", "stop"]
    assert asked == {0, 1, 2, 3}


@pytest.mark.sampled
@pytest.mark.parametrize("beams", [1, 3])
def test_an_end_is_kept_out_of_the_ids_and_counted_in_the_score(beams: int) -> None:
    model = small()
    row = prompts(model, rows=slice(1, 2))
    (free,) = generate(model, *row, max_new_tokens=5, min_new_tokens=5)
    end = free.ids[2]
    (answer,) = generate(model, *row, max_new_tokens=5, eos_ids=[end], num_beams=beams)
    assert end not in answer.ids
    if beams == 1:
        assert (answer.ids, answer.finish) == (free.ids[: free.ids.index(end)], "eos")
        ((ranked,),) = rank(model, *row, continuations=[[[*answer.ids, end]]])
        assert answer.score == pytest.approx(ranked.sum, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_tags_are_never_produced_unless_allowed(beams: int) -> None:
    model = small()
    with torch.no_grad():
        model.decoder.lm_head.weight[[IMAGE, EOC]] *= 30
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "num_beams": beams}
    for answer in generate(model, *prompts(model), **options):
        assert not {IMAGE, EOC} & set(answer.ids)
    free = generate(model, *prompts(model), banned_ids=(), **options)
    assert any({IMAGE, EOC} & set(a.ids) for a in free)
    closed = generate(model, *prompts(model), max_new_tokens=4, eos_ids=[EOC], num_beams=beams)
    assert any(a.finish == "eos" for a in closed)


@pytest.mark.slow
def test_beams_find_what_greedy_misses() -> None:
    gains = []
    for seed in range(6):
        model = small(seed=seed)
        options = {"max_new_tokens": 5, "min_new_tokens": 5, "length_penalty": 0.0}
        greedy = generate(model, *prompts(model), **options)
        beams = generate(model, *prompts(model), num_beams=4, **options)
        gains += [b.score - g.score for b, g in zip(beams, greedy, strict=True)]
    assert min(gains) > -1e-4 and max(gains) > 0.1


@pytest.mark.sampled
@pytest.mark.parametrize("window", [4096, 5])
def test_a_ranked_continuation_is_as_likely_as_in_the_whole_text(window: int) -> None:
    language = {"sliding_window": window}
    model = small(language=small().config.language.to_dict() | language)
    ids, mask, latents, n_images = prompts(model)
    greedy = [list(a.ids) for a in generate(model, *prompts(model), max_new_tokens=3)]
    asked = [[[5], [6, 7, 8], greedy[0]], [greedy[1]], [[9, 10], [11]], []]
    ranked = rank(model, ids, mask, latents, n_images, continuations=asked)
    assert [len(row) for row in ranked] == [3, 1, 2, 0]
    assert ranked[0][2].is_greedy and ranked[1][0].is_greedy and not ranked[0][1].is_greedy
    for b, row in enumerate(asked):
        for continuation, result in zip(row, ranked[b], strict=True):
            text = torch.tensor([ids[b][mask[b].bool()].tolist() + continuation])
            with torch.no_grad():
                logp = model(text, None, latents[b : b + 1], n_images[b : b + 1])[0].log_softmax(-1)
            n = len(continuation)
            expected = [logp[-n - 1 + i, token].item() for i, token in enumerate(continuation)]
            assert list(result.tokens) == pytest.approx(expected, abs=2e-5)
            assert result.sum == pytest.approx(sum(expected), abs=5e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "counts from 1"),
        ({"max_new_tokens": [3, 0, 3, 3]}, "counts from 1"),
        ({"max_new_tokens": 3, "num_beams": 0}, "num_beams is 0"),
        ({"max_new_tokens": 118}, "exceed the model's 128 positions"),
        ({"max_new_tokens": 3, "beam_length_rule": "original"}, "did you mean 'original-4.35'"),
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, Any], message: str) -> None:
    model = small()
    with pytest.raises(UsageError, match=message):
        generate(model, *prompts(model), **options)


@pytest.mark.parametrize(
    ("continuation", "message"),
    [
        ([], "empty"),
        ([5, IMAGE], "picture tag"),
        ([5] * 118, "positions"),
        ([5, -1], "beyond 0..79"),
        ([80], "beyond 0..79"),
    ],
)
def test_what_cannot_be_ranked_is_refused(continuation: list[int], message: str) -> None:
    model = small()
    asked = [[[5]], [[6]], [continuation], [[7]]]
    with pytest.raises(UsageError, match=message):
        rank(model, *prompts(model), continuations=asked)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_row_that_shares_most_of_its_prompt_fits_beside_one_that_shares_nothing(
    beams: int,
) -> None:
    model = small()
    text = torch.randint(3, 70, (2, 20))
    prefix = model.new_cache(1, 18)
    model.prefill(prefix, text[:1, :18], [18])
    options: dict[str, Any] = {"max_new_tokens": 2, "min_new_tokens": 2, "num_beams": beams}
    shared = generate(model, text, prefixes=[prefix, None], **options)
    assert [a.ids for a in shared] == [a.ids for a in generate(model, text, **options)]
