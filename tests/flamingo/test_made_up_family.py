"""A family from outside the package: everything that works for InfiMM works for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import (
    LAYOUTS,
    Flamingo,
    gather_pictures,
    load,
    rank,
    save_pretrained,
)
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.prefill import pack
from infimm_eval.flamingo.processor import Processor
from infimm_eval.flamingo.templates import Turn
from infimm_eval.flamingo.tokenizer import Tokenizer
from tests.flamingo.made_up import EOC, IMAGE, LAYOUT, config_of, made_up, plain_logits
from tests.flamingo.small import generate
from tests.flamingo.test_cuda_graphs import again

ROWS = [
    ([5, 6, 7], []),
    ([8, IMAGE, 9, 10, 11, 12], [0]),
    ([IMAGE, 13, EOC, IMAGE, 14, 15, 16, EOC, 17], [1, 2]),
    ([18, 19, IMAGE, IMAGE], [2, 0]),
]
REACH = [None, 4]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYOUTS, "made-up", LAYOUT)


@torch.no_grad()
def pictures(model: Flamingo) -> Tensor:
    size = model.tower.image_size
    return model.encode_images(
        torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    )


def batch(model: Flamingo, side: str = "left") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    widest = max(len(ids) for ids, _ in ROWS)
    ids, mask = [], []
    for row, _ in ROWS:
        pad, ones = [0] * (widest - len(row)), [1] * len(row)
        ids.append(pad + row if side == "left" else row + pad)
        mask.append(pad + ones if side == "left" else ones + pad)
    latents, n_images = gather_pictures(pictures(model), [shown for _, shown in ROWS])
    return torch.tensor(ids), torch.tensor(mask), latents, n_images


def plain(model: Flamingo, b: int, more: list[int] | tuple[int, ...] = ()) -> Tensor:
    """Logits of row b, continued by `more`, in the plainest way."""
    ids, shown = ROWS[b]
    return plain_logits(model, [*ids, *more], pictures(model)[shown])


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


@pytest.mark.sampled
@pytest.mark.parametrize("reach", REACH)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_padded_on_either_side_is_every_text_by_itself(side: str, reach: Any) -> None:
    model = made_up(reach=reach)
    ids, mask, *seen = batch(model, side)
    with torch.no_grad():
        logits = model(ids, mask, *seen)
    for b, row in enumerate(mask.bool()):
        close(logits[b][row], plain(model, b))


@pytest.mark.parametrize("reach", REACH)
def test_cached_steps_are_the_whole_text_at_once(reach: Any) -> None:
    model = made_up(reach=reach)
    ids, mask, *seen = batch(model)
    right, lengths = pack(ids, mask)
    cache = model.new_cache(4, 20)
    more = torch.tensor([[21, 22, 23, 24], [25, 26, 27, 28], [29, 30, 31, 32], [33, 34, 35, 36]])
    steps = [model.prefill(cache, right, lengths, *seen)[:, None]]
    steps += [model.step(cache, part) for part in (more[:, :1], more[:, 1:3], more[:, 3:])]
    for b, logits in enumerate(torch.cat(steps, dim=1)):
        close(logits, plain(model, b, more[b].tolist())[-5:])


def test_gates_that_always_act_do_so_without_a_picture_and_never_look_ahead() -> None:
    model = made_up()
    ids = torch.tensor([[5, 6, 7, IMAGE, 8]])
    with torch.no_grad():
        before = model(ids, None, pictures(model)[None, :1])[:, :3]
        alone = model(ids[:, :3])
        close(before, alone)
        for gate in model.gates.values():
            gate.ff_gate.zero_()
        assert (model(ids[:, :3]) - alone).abs().max() > 0.1


def greedy(model: Flamingo, b: int, count: int) -> list[int]:
    said: list[int] = []
    for _ in range(count):
        logits = plain(model, b, said)[-1]
        logits[[IMAGE, EOC]] = -torch.inf
        said.append(int(logits.argmax()))
    return said


def beams(model: Flamingo, b: int, count: int, width: int) -> tuple[list[int], float]:
    """The best of `width` texts that grow side by side, each read anew at every step."""
    held: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(count):
        grown = []
        for total, said in held:
            logp = plain(model, b, said)[-1].log_softmax(-1)
            logp[[IMAGE, EOC]] = -torch.inf
            grown += [(total + p, [*said, i]) for i, p in enumerate(logp.tolist())]
        held = sorted(grown, reverse=True)[:width]
    return held[0][1], held[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("reach", REACH)
@pytest.mark.parametrize("width", [1, 3])
def test_searches_find_what_the_plain_computation_finds(
    width: int, reach: Any, graphs: bool
) -> None:
    model = made_up(reach=reach)
    recorded = CudaGraphs(after=1, capture=again) if graphs else None
    options: dict[str, Any] = {"max_new_tokens": 5, "min_new_tokens": 5, "length_penalty": 0.0}
    answers = generate(model, *batch(model), num_beams=width, graphs=recorded, **options)
    assert recorded is None or recorded.count == 1
    for b, answer in enumerate(answers):
        if width == 1:
            assert list(answer.ids) == greedy(model, b, 5)
        else:
            ids, score = beams(model, b, 5, width)
            assert list(answer.ids) == ids
            assert answer.score == pytest.approx(score, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 3])
def test_rows_that_end_early_leave_the_others_as_they_are(width: int) -> None:
    model = made_up()
    limits = [1, 2, 1, 7]
    answers = generate(
        model,
        *batch(model),
        max_new_tokens=limits,
        min_new_tokens=7,
        num_beams=width,
        length_penalty=0.0,
    )
    for b, (answer, limit) in enumerate(zip(answers, limits, strict=True)):
        assert list(answer.ids) == beams(model, b, limit, width)[0]


def test_a_row_that_held_a_tree_is_as_good_as_new_for_a_shared_beginning() -> None:
    model = made_up()
    tree, prefix = model.new_cache(1, 12), model.new_cache(1, 4)
    seen = torch.ones(1, 4, 6, dtype=torch.bool)
    model.prefill(tree, torch.tensor([[5, 6]]), [2])
    model.step(tree, torch.tensor([[7, 8, 9, 10]]), torch.tensor([[2, 2, 3, 3]]), seen)
    tree.free([0])
    model.prefill(prefix, torch.tensor([[8, IMAGE, 9, 10]]), [4], pictures(model)[None, :1])
    tree.adopt([0], prefix, [0])
    logits = model.step(tree, torch.tensor([[11, 12]]))
    close(logits[0], plain(model, 1)[-2:])


def test_an_answer_ends_at_the_token_that_the_layout_says() -> None:
    model = made_up()
    with torch.no_grad():
        model.decoder.table[EOC] = 3 * model.decoder.table[greedy(model, 1, 1)[0]]
    (answer,) = generate(model, *(part[1:2] for part in batch(model)), max_new_tokens=5)
    assert (answer.ids, answer.finish) == ((), "eos")


@pytest.mark.parametrize("reach", REACH)
def test_ranked_continuations_are_as_likely_as_in_the_plain_computation(reach: Any) -> None:
    model = made_up(reach=reach)
    asked = [[[21], [22, 23, 24]], [[25, 26]], [[27, 28, 29, 30, 31], [32], [33, 34]], []]
    for b, row in enumerate(rank(model, *batch(model), continuations=asked)):
        for ids, ranked in zip(asked[b], row, strict=True):
            logp = plain(model, b, ids).log_softmax(-1)[-len(ids) - 1 : -1]
            assert list(ranked.tokens) == pytest.approx(
                logp.gather(1, torch.tensor(ids)[:, None])[:, 0].tolist(), abs=2e-5
            )


@pytest.mark.parametrize("width", [1, 3])
def test_a_shared_beginning_changes_no_answer(width: int) -> None:
    model = made_up()
    ids, mask, latents, n_images = batch(model, "right")
    prefix = model.new_cache(1, 5)
    model.prefill(prefix, ids[2:3, :5], [5], latents[2:3])
    options: dict[str, Any] = {"max_new_tokens": 4, "min_new_tokens": 4, "num_beams": width}
    expected = generate(model, ids, mask, latents, n_images, **options)
    prefixes = [None, None, prefix, None]
    shared = generate(model, ids, mask, latents, n_images, prefixes=prefixes, **options)
    assert [a.ids for a in shared] == [a.ids for a in expected]
    (ranked, expected_ranked) = (
        rank(model, ids, mask, latents, n_images, continuations=[[[21, 22]]] * 4, prefixes=given)
        for given in (prefixes, ())
    )
    assert ranked[2][0].tokens == pytest.approx(expected_ranked[2][0].tokens, abs=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saving_and_loading_by_the_layouts_own_keys_changes_no_bit(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    model = made_up(reach=4).to(dtype)
    save_pretrained(model, tmp_path)
    again = load(tmp_path, dtype=dtype)
    left, right = model.state_dict(), again.state_dict()
    assert left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
    assert again.decoder.sliding_window == 4
    keys = set(load_file(tmp_path / "model.safetensors"))
    assert {"words", "eye.look.weight", "reader.1.gate.attn_gate", "reader.2.keys.weight"} <= keys
    assert not any(key.startswith(("tower", "decoder", "gates")) for key in keys)


def test_other_spellings_a_tied_table_and_ignored_buffers_are_read(tmp_path: Path) -> None:
    model = made_up()
    save_pretrained(model, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    spelt = {f"module.{k.replace('reader.', 'reader.blocks.')}": t for k, t in state.items()}
    extra = {"head.weight": state["words"].clone(), "reader.0.mask": torch.ones(2)}
    save_file(spelt | extra, tmp_path / "model.safetensors")
    found = load(tmp_path).state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.state_dict().items())


def test_a_missing_part_of_a_fused_projection_is_named_as_the_file_would(tmp_path: Path) -> None:
    save_pretrained(made_up(), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["reader.1.values.weight"]
    state["reader.1.keys.weight"] = torch.zeros(3, 24)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert "1 missing (reader.1.values.weight)" in str(caught.value)
    assert "reader.1.keys.weight in model.safetensors is (3, 24), not (12, 24)" in str(caught.value)


def test_a_conversation_is_written_as_the_layout_says(tmp_path: Path, wordwise: Tokenizer) -> None:
    wordwise.raw.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps(config_of()))
    (tmp_path / "preprocessor_config.json").write_text('{"image_size": 8}')
    template = Processor.load(tmp_path).template
    assert list(template.render(None, [Turn("user", "Hello")])) == ["1 said"]


def test_without_its_layout_it_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pretrained(made_up(), tmp_path)
    monkeypatch.delitem(LAYOUTS, "made-up")
    with pytest.raises(UsageError, match=r"a 'made-up' model of no layout .*\(infimm, openf"):
        load(tmp_path)
