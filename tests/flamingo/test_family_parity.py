"""OpenFlamingo's and Otter's own numbers, made by running their codes with small random weights."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from infimm_eval.flamingo import Flamingo, Generated, load, rank, save_pretrained
from infimm_eval.flamingo.layouts import layout_of
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.prefill import pack
from infimm_eval.flamingo.processor import Processor
from tests.flamingo.small import generate
from tests.golden.recorded import FAMILY, PARITY, recorded

pytestmark = pytest.mark.sampled

NAMES = (
    "openflamingo_llama_tiny",
    "openflamingo_neox_tiny",
    "openflamingo_mpt1b_tiny",
    "openflamingo_mpt7b_tiny",
    "otter_llama_tiny",
    "otter_mpt7b_tiny",
)
OPENFLAMINGO = [name for name in NAMES if name.startswith("openflamingo")]
OTTER = [name for name in NAMES if name.startswith("otter")]
BATCHES = ("mixed", "rightpad", "single", "noimg", "excess_tokens", "unused_image")
LONGEST = 12


class Golden:
    """A checkpoint, the numbers that its own code gave, and our model of it."""

    def __init__(self, name: str) -> None:
        self.folder = recorded(name)
        self.arrays = np.load(self.folder / "golden.npz")
        self.model = load(self.folder)
        self.blind = load(self.folder, otter_cache="original") if name in OTTER else self.model

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def filled(self, key: str) -> list[list[int]]:
        """Recorded ids, which end with the longest answer, to the full length."""
        ids: list[list[int]] = self[key].tolist()
        end = self.model.tokens.end_of_chunk
        return [[*row, *[end] * (LONGEST - len(row))] for row in ids]

    def prompt(self, batch: str) -> tuple[Tensor, Tensor, Tensor, None]:
        """Ids, mask and latents; a picture that is missing is zero pixels, as in the originals."""
        ids = self[f"{batch}.input_ids"]
        pixels = self["mixed.pixel_values" if batch == "rightpad" else f"{batch}.pixel_values"]
        with torch.no_grad():
            latents = self.model.encode_images(pixels.flatten(0, 2))
        mask = f"{batch}.attention_mask"
        seen = self[mask] if mask in self.arrays else torch.ones_like(ids)
        return ids, seen, latents.unflatten(0, pixels.shape[:2]), None

    def answers(self, batch: str, model: Flamingo, **how: Any) -> list[list[int]]:
        # The released codes ban no token, and fill finished rows with the end mark.
        how = {"max_new_tokens": LONGEST, "banned_ids": ()} | how
        answers = generate(model, *self.prompt(batch), **how)
        return [padded(answer, self.model.tokens.end_of_chunk) for answer in answers]


def padded(answer: Generated, end: int) -> list[int]:
    return [*answer.ids, *[end] * (LONGEST - len(answer.ids))]


@cache
def golden(name: str) -> Golden:
    return Golden(name)


def close(ours: Tensor, theirs: Tensor, within: float) -> None:
    torch.testing.assert_close(ours, theirs, atol=within, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_vision_features_and_latents_are_the_recorded_ones(name: str) -> None:
    g = golden(name)
    with torch.no_grad():
        features = g.model.tower(g["mixed.pixel_values"].flatten(0, 2))
        latents = g.model.resampler(features)
    close(features, g["mixed.vision_features"].flatten(0, 2), 1e-4)
    close(latents, g["mixed.perceiver"].flatten(0, 1), 1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", BATCHES)
def test_logits_of_real_tokens_are_the_recorded_ones(name: str, batch: str) -> None:
    g = golden(name)
    ids, mask, latents, _ = g.prompt(batch)
    with torch.no_grad():
        logits = g.model(ids, mask, latents)
    if batch == "rightpad":  # the same texts: the numbers of the left padding serve
        theirs, real = g["mixed.logits"], g["mixed.attention_mask"]
    else:
        theirs, real = g[f"{batch}.logits"], mask
    close(logits[mask.bool()], theirs[real.bool()], 1e-3)


SHORT = [pytest.param(batch, marks=pytest.mark.slow) for batch in ("single", "noimg")]
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy_forced": {"min_new_tokens": LONGEST},
    "beam3": {"num_beams": 3},
    "beam3_forced": {"num_beams": 3, "min_new_tokens": LONGEST},
    "beam3_lp0": {"num_beams": 3, "length_penalty": 0.0},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "tag",
    [pytest.param(t, marks=pytest.mark.slow) if t.endswith("forced") else t for t in SEARCHES],
)
@pytest.mark.parametrize("batch", ["mixed", *SHORT])
@pytest.mark.parametrize("rule", ["original-4.35", "transformers"])
def test_generated_ids_are_the_recorded_ones(name: str, tag: str, batch: str, rule: str) -> None:
    """Otter's with its own cached decoding, which is what its code does unless told otherwise."""
    g = golden(name)
    newer = "_newlen" if rule == "transformers" and tag.startswith("beam") else ""
    ids = g.answers(batch, g.blind, beam_length_rule=rule, **SEARCHES[tag])
    assert ids == g.filled(f"{batch}.{tag}{newer}.ids")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_by_default_an_answers_tokens_see_pictures(name: str) -> None:
    g = golden(name)
    ids = g.answers("mixed", g.model, min_new_tokens=LONGEST)
    assert ids == g.filled("mixed.greedy_forced_cache_off.ids")


@pytest.mark.parametrize("name", NAMES)
def test_otters_original_cache_is_what_its_own_code_has_by_name(name: str) -> None:
    g = golden(name)
    ids = g.answers("mixed", g.blind, min_new_tokens=LONGEST)
    assert ids == g.filled("mixed.greedy_forced.ids")
    kept = g.filled("mixed.greedy_forced_cache_off.ids")
    assert (ids == kept) != g.blind.blind_decoding


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_forced_decode_steps_give_the_logits_of_the_whole_text(name: str) -> None:
    g = golden(name)
    ids, mask, latents, _ = g.prompt("mixed")
    right, lengths = pack(ids, mask)
    cache = g.model.new_cache(len(ids), 40)
    g.model.prefill(cache, right, lengths, latents)
    for step, tokens in enumerate(g["cached_steps.tokens"]):
        logits = g.model.step(cache, tokens[:, None])[:, 0]
        close(logits, g[f"full_steps.logits.{step}"], 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_candidates_are_as_likely_as_recorded(name: str) -> None:
    g = golden(name)
    rows, candidates = g["loglik.row"].tolist(), g["loglik.cand"].tolist()
    asked = [
        [[t for t in c if t >= 0] for c, r in zip(candidates, rows, strict=True) if r == b]
        for b in range(max(rows) + 1)
    ]
    ranked = [r for row in rank(g.model, *g.prompt("mixed"), continuations=asked) for r in row]
    assert [r.is_greedy for r in ranked] == g["loglik.is_greedy"].tolist()
    for r, expected in zip(ranked, g["loglik.tok"].numpy(), strict=True):
        np.testing.assert_allclose(r.tokens, expected[~np.isnan(expected)], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", OPENFLAMINGO)
def test_class_names_are_ranked_as_the_original_does_without_its_faulty_cache(name: str) -> None:
    g = golden(name)
    rows = g["rank.rows"].tolist()
    ids, mask, latents, _ = g.prompt("mixed")
    names = [[[31], [32, 33], [34, 35, 36]]] * len(rows)
    ranked = rank(g.model, ids[rows], mask[rows], latents[rows], continuations=names)
    ours = torch.tensor([[r.sum for r in row] for row in ranked], dtype=torch.float32)
    close(ours, g["rank.uncached.sum"], 3e-4)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_have_the_recorded_ids_by_the_checkpoints_own_tokenizer(name: str) -> None:
    g = golden(name)
    processor = Processor.load(g.folder)
    told = json.loads((g.folder / "prompts.json").read_text(encoding="utf-8"))
    rows = zip(told["texts"], told["input_ids"], told["attention_mask"], strict=True)
    for text, row, mask in rows:
        ids = processor.tokenizer.encode([text], literal=False)
        assert ids == [i for i, real in zip(row, mask, strict=True) if real], text
    assert processor.tokenizer.pad_id == g.model.tokens.pad
    assert processor.pictures.size == g.model.tower.image_size


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_model_has_the_originals_keys_and_loads_bit_by_bit(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = load(recorded(name), dtype=dtype)
    save_pretrained(model, tmp_path)
    again = load(tmp_path, dtype=dtype)
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert again.tokens == model.tokens and again.config == model.config
    if name in OPENFLAMINGO:
        original = torch.load(recorded(name) / "checkpoint.pt")
        saved = torch.load(tmp_path / "checkpoint.pt")
        # What was released of MPT-7B has one table; transformers' class writes it twice.
        assert original.keys() - saved.keys() <= {"lang_encoder.lm_head.weight"}
        assert saved.keys() <= original.keys()
        assert all(torch.equal(saved[key], original[key].to(dtype)) for key in saved)


@pytest.mark.parametrize("name", NAMES)
def test_every_original_key_is_known_and_every_parameter_has_an_original_key(name: str) -> None:
    g = golden(name)
    listed = json.loads((g.folder / "keys.json").read_text(encoding="utf-8"))
    keys = layout_of(g.model.config.to_dict()).key_map(g.model.config)
    ours = {key for parameter in g.model.state_dict() for key in keys.keys(parameter)}
    (theirs,) = (listed[part] for part in ("checkpoint.pt", "pytorch_model.bin") if part in listed)
    assert {keys.canonical(key, ours) for key in theirs} <= ours
    assert name in OPENFLAMINGO or {keys.canonical(key, ours) for key in theirs} == ours


@pytest.mark.parametrize(("family", "rgb_first"), [("openflamingo", False), ("otter", True)])
def test_pictures_at_224_are_the_originals_bit_for_bit(family: str, rgb_first: bool) -> None:
    digests = json.loads((FAMILY / "clip_processor.json").read_text(encoding="utf-8"))
    pictures = Pictures(size=224, rgb_first=rgb_first)
    lossless = [
        path
        for path in sorted((PARITY / "processor" / "images").iterdir())
        if path.suffix in (".png", ".bmp", ".gif", ".tif") and digests[path.name][family]
    ]
    assert len(lossless) > 10
    for path in lossless:
        pixels = pictures(path)
        assert sha256(pixels.numpy().tobytes()).hexdigest() == digests[path.name][family], path.name
