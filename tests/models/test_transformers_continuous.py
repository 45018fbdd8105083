"""Continuous batches of models of the transformers library say what ``model.generate`` says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from infimm_eval.models.transformers import reader
from infimm_eval.models.transformers.kv_cache import ROOM, gathered, new_cache
from infimm_eval.models.transformers.reader import Reader
from infimm_eval.types import Answer, Request
from tests.models.families import ENCODING_ALL, FAMILIES, MORE, answers, llava, load, saved
from tests.models.tiny import few_shot, painted, request

ALL = FAMILIES | MORE | ENCODING_ALL
FAST = ("llava", "idefics2", "qwen2", "mllama")
WHOLE = {"idefics", "idefics_resampled", "gemma3", "paligemma", "mllama"}
"""Families whose prompts with pictures are read whole."""
# PaliGemma's processor makes an array of its tensors in the old way.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.sampled,
]


@pytest.fixture(
    scope="module",
    params=[name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in ALL],
)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("families") / request.param, ALL[request.param])


def told(found: dict[str, Answer]) -> dict[str, Any]:
    return {id: (answer.text, answer.finish, dict(answer.notes)) for id, answer in found.items()}


def fixed_support(count: int, **decoding: Any) -> list[Request]:
    """The same three examples before every question."""
    shots: list[Any] = []
    for n in range(3):
        shots += [(painted(n), "Question: what is on the beach? Answer:"), "a red house"]
    words = ["dog", "cat", "a very large tree", "blue", "nobody at all"]
    return [
        request(str(i), *shots, (painted(i % 5 + 3), f"is {i} {words[i % 5]}?"), **decoding)
        for i in range(count)
    ]


@pytest.mark.parametrize(
    "decoding",
    [
        {"max_new_tokens": 9},
        pytest.param({"max_new_tokens": 9, "stop": ("e", "a\n")}, marks=pytest.mark.slow),
        pytest.param(
            {"max_new_tokens": 7, "banned": ("a", "be", "?"), "min_new_tokens": 3},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_answer_is_that_of_a_plain_loop(folder, decoding):
    asked = few_shot(9, **decoding)
    if "paligemma" not in folder.name:  # whose processor wants a picture in every prompt
        asked.append(request("text", "no picture here at all", **decoding))
    model = load(folder, batch_size=4)
    found = answers(model, asked)
    assert told(found) == told(answers(load(folder, batch_size=1, sharing=False), asked))
    assert len({answer.text for answer in found.values()}) > 3
    assert ("seconds_generate" in model.statistics) == reads_whole(folder)


def reads_whole(folder: Path) -> bool:
    return folder.name in WHOLE


@pytest.mark.slow
def test_shots_that_all_prompts_share_are_read_once(folder):
    asked = fixed_support(8)
    model = load(folder, batch_size=4)
    found = told(answers(model, asked))
    assert found == told(answers(load(folder, sharing=False), asked))
    if not reads_whole(folder):
        # Where a context is too short for all shots, longer questions begin with fewer.
        dropped = {notes.get("dropped_shots", 0) for _, _, notes in found.values()}
        assert model.statistics["prefixes_read"] == len(dropped)
        assert model.statistics["prefix_tokens_saved"] > 7 * 100


@pytest.mark.slow
def test_beginnings_are_kept_within_their_memory_the_latest_always(tmp_path, monkeypatch):
    folder = saved(tmp_path / "llava", llava)
    asked = fixed_support(4) + [
        request(f"other {n}", (painted(9), "which of these " * 9), "no", (painted(n), "and?"))
        for n in range(4)
    ]
    expected = told(answers(load(folder, sharing=False), asked))
    monkeypatch.setattr(reader, "free_bytes", lambda _: 0)
    model = load(folder, batch_size=2)
    assert told(answers(model, asked)) == expected
    assert model.statistics["prefixes_read"] >= 2 and len(model.engine.reader._prefixes) == 1
    model.close()
    assert not model.engine.reader._prefixes


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return saved(tmp_path / "llava", llava)


@pytest.mark.slow
def test_rows_leave_and_others_join_in_their_place(tiny, monkeypatch):
    asked = few_shot(14, max_new_tokens=30, stop=("e",))
    expected = told(answers(load(tiny, batch_size=1, sharing=False), asked))
    rows: list[tuple[int, ...]] = []
    forward = Reader.forward

    def noted(self: Any, ids: Any, *rest: Any) -> Any:
        rows.append(tuple(ids.shape))
        return forward(self, ids, *rest)

    monkeypatch.setattr(Reader, "forward", noted)
    model = load(tiny, batch_size=4)
    assert told(answers(model, asked)) == expected
    assert max(count for count, _ in rows) == 4
    assert len({len(text) for text, _, _ in expected.values()}) > 3
    steps = sum(tokens == 1 for _, tokens in rows)
    alone = sum(notes["tokens_out"] for _, _, notes in expected.values())
    assert steps < alone / 2


@pytest.mark.slow
def test_memory_that_gives_out_begins_the_rows_again_in_a_smaller_batch(tiny, monkeypatch):
    asked = few_shot(9)
    expected = told(answers(load(tiny, batch_size=1, sharing=False), asked))
    forward = Reader.forward

    def small(self: Any, ids: Any, *rest: Any) -> Any:
        if len(ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, ids, *rest)

    monkeypatch.setattr(Reader, "forward", small)
    model = load(tiny, batch_size=8)
    assert told(answers(model, asked)) == expected
    assert model.statistics["oom_halvings"] == 2
    assert model.engine.limiter.size == 2


@pytest.mark.slow
def test_prompts_that_lead_a_batch_astray_are_left_to_the_library(tiny, monkeypatch, caplog):
    asked = few_shot(6)
    expected = told(answers(load(tiny, batch_size=1, sharing=False), asked))
    forward = Reader.forward

    def strict(self: Any, ids: Any, *rest: Any) -> Any:
        if len(ids) > 1:
            raise ValueError("one row at a time")
        return forward(self, ids, *rest)

    monkeypatch.setattr(Reader, "forward", strict)
    with caplog.at_level(logging.WARNING):
        assert told(answers(load(tiny, batch_size=3), asked)) == expected
    assert "one row at a time" in caplog.text


@pytest.mark.slow
def test_a_model_that_reads_parts_otherwise_is_asked_by_the_library_and_a_warning_says_so(
    tiny, monkeypatch, caplog
):
    asked = few_shot(6)
    expected = told(answers(load(tiny, batch_size=1, sharing=False), asked))
    forward = Reader.forward

    def forgetful(self: Any, ids: Any, mask: Any, positions: Any, *rest: Any) -> Any:
        return forward(self, ids, mask, positions * 0, *rest)

    monkeypatch.setattr(Reader, "forward", forgetful)
    with caplog.at_level(logging.WARNING):
        assert told(answers(load(tiny), asked)) == expected
    assert "cannot read prompts with pictures in parts" in caplog.text


@pytest.mark.slow
def test_features_that_were_dropped_before_they_were_read_leave_a_prompt_to_the_library(
    tiny, monkeypatch
):
    asked = few_shot(6)
    expected = told(answers(load(tiny, batch_size=1, sharing=False), asked))
    model = load(tiny, batch_size=3)
    monkeypatch.setattr(model.engine.features, "holds", lambda _: True)
    assert told(answers(model, asked)) == expected


@pytest.mark.slow
def test_pictures_that_lead_the_tower_astray_are_encoded_with_their_prompts(
    tiny, monkeypatch, caplog
):
    asked = few_shot(6)
    expected = told(answers(load(tiny, batch_size=1, sharing=False), asked))
    model = load(tiny, batch_size=3)

    def failing(*_: Any) -> Any:
        raise ValueError("no such shape")

    monkeypatch.setattr(model.engine.generation.images, "_encode", failing)
    with caplog.at_level(logging.WARNING):
        assert told(answers(model, asked)) == expected
    assert "no such shape" in caplog.text


def test_a_cache_grows_in_its_room_and_rows_keep_their_ends():
    first, second = new_cache(), new_cache()
    numbers = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    first.update(numbers, -numbers, 0)
    second.update(numbers[:1, :, :2], -numbers[:1, :, :2], 0)
    both = gathered([(first, [1]), (second, [0, 0])], 4)
    (layer,) = both.layers
    assert layer.keys.shape == (3, 3, 4, 4)
    assert layer.keys[0].equal(numbers[1, :, 1:]) and layer.values[0].equal(-numbers[1, :, 1:])
    assert layer.keys[2, :, 2:].equal(numbers[0, :, :2]) and not layer.keys[2, :, :2].any()
    memory = layer.keys.data_ptr()
    for step in range(ROOM + 1):
        column = torch.full((3, 3, 1, 4), float(step))
        keys, _ = both.update(column, column, 0)
        assert keys.shape[2] == 5 + step and keys[0, 0, -1, 0] == step
        assert (keys.data_ptr() == memory) == (step < ROOM)
    assert keys[0, :, :4].equal(numbers[1, :, 1:])
