"""Encoded pictures are kept by what they depend on, so that checkpoints share a frozen tower."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from infimm_eval import models
from infimm_eval.models.flamingo.build import DEMO
from tests.models import families
from tests.models.tiny import few_shot


def changed(source: Path, folder: Path, moved: Callable[[str], bool]) -> Path:
    """The checkpoint after some training: those tensors are other ones."""
    shutil.copytree(source, folder)
    weights: dict[str, Tensor] = load_file(folder / "model.safetensors")
    assert any(map(moved, weights)) and not all(map(moved, weights))
    for name, tensor in weights.items():
        if moved(name) and tensor.is_floating_point():
            weights[name] = (tensor * 1.01 + 0.001).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def texts(model: Any) -> dict[str, str]:
    asked = few_shot(10)
    return {answer.id: answer.text for answer in model.generate(asked)}


def counted(model: Any, name: str) -> int:
    return int(model.statistics.get(name, 0))


TOWER = ("vision", "visual", "tower")


def is_tower(name: str) -> bool:
    return any(part in name for part in TOWER)


def is_resampler(name: str) -> bool:
    return "perceiver" in name or "resampler" in name


@pytest.mark.slow
@pytest.mark.parametrize("part", ["nothing", "decoder", "resampler", "tower"])
def test_a_flamingo_s_tower_runs_again_only_where_its_own_tensors_changed(
    tmp_path: Path, part: str
) -> None:
    moves: dict[str, Callable[[str], bool]] = {
        "decoder": lambda name: not is_tower(name) and not is_resampler(name),
        "resampler": is_resampler,
        "tower": is_tower,
    }
    later = DEMO if part == "nothing" else changed(DEMO, tmp_path / "later", moves[part])
    kept = {"picture_cache": tmp_path / "kept", "by_tower": True, "device": "cpu"}
    first = models.load(str(DEMO), **kept)
    texts(first)
    pictures = counted(first, "pictures_encoded")
    assert pictures > 3
    second = models.load(str(later), **kept)
    said = texts(second)
    assert counted(second, "pictures_encoded") == (pictures if part == "tower" else 0)
    assert counted(second, "pictures_recalled") == (pictures if part == "resampler" else 0)
    assert said == texts(models.load(str(later), device="cpu"))


@pytest.mark.slow
def test_a_transformers_model_s_tower_runs_again_only_where_what_sees_changed(
    tmp_path: Path,
) -> None:
    first_folder = families.saved(tmp_path / "first", families.llava)
    reading = changed(first_folder, tmp_path / "reading", lambda name: "language_model" in name)
    seeing = changed(first_folder, tmp_path / "seeing", lambda name: "projector" in name)
    kept = {"picture_cache": tmp_path / "kept", "by_tower": True}
    first = families.load(first_folder, **kept)
    texts(first)
    pictures = counted(first, "pictures_encoded")
    assert pictures > 3
    for folder, again in ((reading, 0), (seeing, pictures)):
        model = families.load(folder, **kept)
        said = texts(model)
        assert counted(model, "pictures_encoded") == again
        assert said == texts(families.load(folder))
