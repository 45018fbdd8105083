"""The released code's own numbers, made by running it with small random weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from infimm_eval.flamingo import Flamingo, Generated, load, rank
from infimm_eval.flamingo.files import read_json
from infimm_eval.flamingo.layouts import infimm
from infimm_eval.flamingo.prefill import pack
from infimm_eval.flamingo.resampler import PerceiverResampler, ResamplerConfig
from infimm_eval.flamingo.towers.eva import EvaConfig, EvaTower
from tests.flamingo.small import generate
from tests.golden.recorded import recorded

NAMES = ("zephyr_tiny", "resampler_16x")
BATCHES = ("mixed", "rightpad", "single", "noimg", "excess_tokens", "unused_image")


class Golden:
    """One folder of recorded arrays and the model that must reproduce them."""

    def __init__(self, name: str) -> None:
        self.folder = recorded(name)
        self.arrays = np.load(self.folder / "golden.npz")
        self.model = load(self.folder, resampler_heads=16 if name == "resampler_16x" else None)

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def prompt(self, batch: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ids, mask, latents and picture counts; slots of zero pixels stand for no picture."""
        pixels = self["mixed.pixel_values" if batch == "rightpad" else f"{batch}.pixel_values"]
        pixels = pixels[:, :, 0]
        with torch.no_grad():
            latents = self.model.encode_images(pixels.flatten(0, 1))
        counts = (pixels.abs().amax(dim=(2, 3, 4)) > 0).sum(dim=1)
        latents_BIVD = latents.unflatten(0, pixels.shape[:2])
        return self[f"{batch}.input_ids"], self[f"{batch}.attention_mask"], latents_BIVD, counts

    def answers(self, batch: str, model: Flamingo | None = None, **kw: Any) -> list[Generated]:
        # The released code bans no token.
        kw = {"max_new_tokens": 16, "banned_ids": ()} | kw
        return generate(model or self.model, *self.prompt(batch), **kw)


@cache
def golden(name: str) -> Golden:
    return Golden(name)


def padded(answers: list[Generated], width: int = 16) -> list[list[int]]:
    return [[*a.ids, *[2] * (width - len(a.ids))] for a in answers]


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_vision_features_and_latents_are_the_recorded_ones(name: str) -> None:
    g = golden(name)
    pixels = g["mixed.pixel_values"].flatten(0, 2)
    with torch.no_grad():
        features = g.model.tower(pixels)
        latents = g.model.resampler(features)
    expected = g["mixed.vision_features"].flatten(0, 2)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(latents, g["mixed.perceiver"].flatten(0, 1), atol=1e-4, rtol=0)


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", BATCHES)
def test_logits_of_real_tokens_are_the_recorded_ones(name: str, batch: str) -> None:
    g = golden(name)
    ids, mask, latents, counts = g.prompt(batch)
    with torch.no_grad():
        logits = g.model(ids, mask, latents, counts)
    real = mask.bool()
    torch.testing.assert_close(logits[real], g[f"{batch}.logits"][real], atol=3e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_and_gated_block_is_the_recorded_one(name: str) -> None:
    g = golden(name)
    ids, mask, latents, counts = g.prompt("mixed")
    seen: dict[str, Tensor] = {}
    handles = []
    layers = g.model.decoder.layers
    for i, layer in enumerate(layers):
        block = dict(g.model.gates).get(str(i))
        entrance = layer if block is None else block
        handles.append(
            entrance.register_forward_pre_hook(
                lambda _, args, i=i: seen.update({f"hidden_states.{i}": args[0]})
            )
        )
        if block is not None:
            handles += [
                block.attn.register_forward_hook(
                    lambda _, args, out, i=i: seen.update({f"xattn_attn_out.{i}": out})
                ),
                block.register_forward_hook(
                    lambda _, args, out, i=i: seen.update({f"xattn_block_out.{i}": out[0]})
                ),
            ]
    with torch.no_grad():
        right, lengths = pack(ids, mask)
        last = g.model.hidden(right, _right_mask(lengths), latents, counts)
    for handle in handles:
        handle.remove()
    seen[f"hidden_states.{len(layers)}"] = last
    recorded = [k for k in g.arrays if ".hidden_states." in k or ".xattn_" in k]
    assert len(recorded) >= 7
    for key in recorded:
        ours = seen[key.removeprefix("mixed.")]
        for b, n in enumerate(lengths):
            theirs = g[key][b, -n:]
            torch.testing.assert_close(ours[b, :n], theirs, atol=2e-4, rtol=0, msg=key)


def _right_mask(lengths: list[int]) -> Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy_forced": {"min_new_tokens": 16},
    "beam3": {"num_beams": 3},
    "beam3_forced": {"num_beams": 3, "min_new_tokens": 16},
    "beam3_lp_m2": {"num_beams": 3, "length_penalty": -2.0},
    "beam3_lp0": {"num_beams": 3, "length_penalty": 0.0},
    "beam3_early": {"num_beams": 3, "early_stopping": True},
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", ["mixed", "single", "noimg"])
@pytest.mark.parametrize("tag", SEARCHES)
@pytest.mark.parametrize("rule", ["original-4.35", "transformers"])
def test_generated_ids_and_beam_scores_are_the_recorded_ones(
    name: str, batch: str, tag: str, rule: str
) -> None:
    g = golden(name)
    greedy = tag.startswith("greedy")
    key = f"{batch}.{tag}" + ("_newlen" if rule == "transformers" and not greedy else "")
    answers = g.answers(batch, beam_length_rule=rule, **SEARCHES[tag])
    assert padded(answers) == g[f"{key}.ids"].tolist()
    if not greedy:
        scores = [a.score for a in answers]
        np.testing.assert_allclose(scores, g[f"{key}.sequences_scores"], rtol=1e-4, atol=1e-5)


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_candidates_are_as_likely_as_recorded(name: str) -> None:
    g = golden(name)
    rows, candidates = g["loglik.row"].tolist(), g["loglik.cand"].tolist()
    asked = [
        [[t for t in c if t >= 0] for c, r in zip(candidates, rows, strict=True) if r == b]
        for b in range(5)
    ]
    ranked = [r for row in rank(g.model, *g.prompt("mixed"), continuations=asked) for r in row]
    np.testing.assert_allclose([r.sum for r in ranked], g["loglik.sum"], atol=1e-4)
    assert [r.is_greedy for r in ranked] == g["loglik.is_greedy"].tolist()
    for r, expected in zip(ranked, g["loglik.tok"].numpy(), strict=True):
        np.testing.assert_allclose(r.tokens, expected[~np.isnan(expected)], atol=1e-4)


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_forced_decode_steps_give_the_recorded_logits(name: str) -> None:
    g = golden(name)
    ids, mask, latents, counts = g.prompt("mixed")
    right, lengths = pack(ids, mask)
    memory = g.model.new_cache(5, 40)
    g.model.prefill(memory, right, lengths, latents, counts)
    for step, tokens in enumerate(g["cached_steps.tokens"]):
        logits = g.model.step(memory, tokens[:, None])[:, 0]
        expected = g[f"cached_steps.logits.{step}"]
        torch.testing.assert_close(logits, expected, atol=3e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_sliding_window_of_eight_gives_the_recorded_numbers(name: str) -> None:
    g = golden(name)
    config = g.model.config
    windowed = infimm.build(replace(config, language=replace(config.language, sliding_window=8)))
    windowed.load_state_dict(g.model.state_dict())
    ids, mask, latents, counts = g.prompt("mixed")
    with torch.no_grad():
        logits = windowed(ids, mask, latents, counts)
    real = mask.bool()
    torch.testing.assert_close(logits[real], g["mixed.logits_sliding8"][real], atol=3e-4, rtol=0)
    answers = g.answers("mixed", windowed, min_new_tokens=16)
    assert padded(answers) == g["mixed.greedy_sliding8.ids"].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_every_original_key_is_known_and_every_parameter_has_an_original_key(name: str) -> None:
    keys = read_json(recorded(name) / "keys.json")["state_dict_keys"]
    ours = {k for n in golden(name).model.state_dict() for k in infimm.KEYS.keys(n)}
    assert {infimm.KEYS.canonical(key, ours) for key in keys} == ours


@pytest.mark.parametrize("name", NAMES)
def test_rope_tables_are_computed_as_they_were_stored(name: str) -> None:
    stored = load_file(recorded(name) / "model.safetensors")
    fresh = EvaTower(golden(name).model.config.visual)
    assert fresh.rope is not None
    tables = {"freqs_cos": fresh.rope.freqs_cos, "freqs_sin": fresh.rope.freqs_sin}
    for table, computed in tables.items():
        expected = stored[f"model.vision_encoder.rope.{table}"]
        torch.testing.assert_close(computed, expected, atol=1e-6, rtol=0, msg=table)


def test_a_resampler_of_sixteen_heads_gives_the_recorded_latents() -> None:
    folder = recorded("perceiver_16x")
    arrays = np.load(folder / "golden.npz")
    features = torch.from_numpy(arrays["vision_features"])[:, 0]
    resampler = PerceiverResampler(features.shape[-1], ResamplerConfig(heads=16, dim_head=12))
    stored = load_file(folder / "model.safetensors")
    resampler.load_state_dict(
        {k.removeprefix("model.perceiver."): t.float() for k, t in stored.items()}
    )
    with torch.no_grad():
        latents = resampler(features)
    torch.testing.assert_close(latents, torch.from_numpy(arrays["perceiver"]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "name", ["vit_towers/L", "vit_towers/g", "vit_towers/E", "tower_g", "tower_E"]
)
def test_a_tower_gives_the_recorded_features(name: str) -> None:
    folder = recorded(name)
    tower = EvaTower(EvaConfig.from_dict(read_json(folder / "visual.json")))
    stored = load_file(folder / "model.safetensors")
    prefix = "model.vision_encoder."
    tower.load_state_dict(
        {k.removeprefix(prefix): t.float() for k, t in stored.items() if ".attn.rope." not in k}
    )
    arrays = np.load(folder / "golden.npz")
    with torch.no_grad():
        features = tower(torch.from_numpy(arrays["pixel_values"]))
    torch.testing.assert_close(features, torch.from_numpy(arrays["features"]), atol=1e-4, rtol=0)
    if tower.rope is not None:
        stored_cos = stored["model.vision_encoder.rope.freqs_cos"]
        fresh = EvaTower(tower.config)
        assert fresh.rope is not None
        torch.testing.assert_close(fresh.rope.freqs_cos, stored_cos, atol=1e-6, rtol=0)
