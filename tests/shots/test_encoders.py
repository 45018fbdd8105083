"""Encoders by name, and what each of them refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from infimm_eval.demo.scenes import Drawn
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.shots.encoders import find, kept_pictures
from infimm_eval.types import Image

PICTURES = [Drawn("train", number) for number in range(3)]
TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a tiny CLIP that the library knows by name."""
    library = pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip.json").write_text(json.dumps(TINY))
    (folder / "tiny-clip-quickgelu.json").write_text(json.dumps({**TINY, "quick_gelu": True}))
    library.add_model_config(folder)
    torch.manual_seed(0)
    weights = library.create_model("tiny-clip", pretrained=None).state_dict()
    save_file({name: w.contiguous() for name, w in weights.items()}, folder / "tiny.safetensors")
    torch.save(weights, folder / "tiny.pt")
    (folder / "no.pt").write_text("no weights")
    return folder


def opened(spec: str, notes: list[str] | None = None) -> Any:
    return find(spec, Fake(), "cpu", (notes if notes is not None else []).append)


@pytest.mark.slow
def test_clip_encodes_pictures_and_texts_as_the_library_does(clip: Path) -> None:
    found = opened(f"open_clip:tiny-clip@{clip / 'tiny.safetensors'}")
    library = pytest.importorskip("open_clip")
    model, _, transform = library.create_model_and_transforms(
        "tiny-clip", pretrained=str(clip / "tiny.pt")
    )
    with torch.inference_mode():
        pixels = torch.stack([transform(picture.pillow()) for picture in PICTURES])
        expected = model.eval().encode_image(pixels)
        words = model.encode_text(library.get_tokenizer("tiny-clip")(["a cat", "a dog"]))
    made = found.pictures.encode_pictures(PICTURES)
    np.testing.assert_allclose(made, expected.numpy(), rtol=1e-5, atol=1e-5)
    texts = found.texts.encode_texts(["a cat", "a dog"])
    np.testing.assert_allclose(texts, words.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_activation_is_told_apart_and_recorded(clip: Path) -> None:
    notes: list[str] = []
    plain = opened(f"open_clip:tiny-clip@{clip / 'tiny.pt'}", notes).pictures
    quick = opened(f"open_clip:tiny-clip-quickgelu@{clip / 'tiny.pt'}", notes).pictures
    assert [plain.identity["quick_gelu"], quick.identity["quick_gelu"]] == [False, True]
    assert plain.identity["weights"] == quick.identity["weights"]
    assert abs(plain.encode_pictures(PICTURES) - quick.encode_pictures(PICTURES)).max() > 1e-4
    (note,) = notes
    assert "QuickGELU: open_clip:tiny-clip-quickgelu@FILE" in note


@pytest.mark.slow
def test_a_tag_says_which_activation_its_weights_want(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("open_clip")
    told = {"url": "", "quick_gelu": True, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    monkeypatch.setattr(library, "get_pretrained_cfg", lambda name, tag: told)
    identity = opened(f"open_clip:tiny-clip/openai@{clip / 'tiny.pt'}").pictures.identity
    assert identity["quick_gelu"] and identity["transform"]["mean"] == [0.5, 0.5, 0.5]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("own", "fake has no eyes of its own.*open_clip:NAME@FILE"),
        ("open_clip:tiny-clip", "names no weights; write open_clip:tiny-clip@FILE"),
        ("open_clip:tiny-clip@{}/gone.pt", "there is no file .*gone.pt"),
        ("open_clip:tiny-clip@{}/no.pt", "no.pt cannot be loaded into tiny-clip"),
        ("open_clip:ViT-B-32@{}/tiny.pt", "tiny.pt cannot be loaded into ViT-B-32"),
        ("open_clip:ViT-B-23@{}/tiny.pt", "unknown architecture of open_clip 'ViT-B-23'; did you"),
        ("open_clip:ViT-B-32/opnai", "unknown tag of ViT-B-32 'opnai'; did you mean 'openai'"),
        ("clip", "'clip': write open_clip:NAME@FILE"),
        ("text:{}/gone", "there is no such folder"),
    ],
)
def test_what_is_no_encoder_is_refused_in_a_line(clip: Path, spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        opened(spec.format(clip))


def test_without_an_encoder_nothing_is_compared() -> None:
    nobody = find(None, Fake(), "cpu", print)
    with pytest.raises(
        UsageError, match=r"--support rices compares pictures, and fake has no eyes"
    ):
        nobody.require_pictures("rices")
    with pytest.raises(UsageError, match=r"--support text compares questions.*text:FOLDER"):
        nobody.require_texts("text")


@dataclass
class Counted:
    """Encodes by the file's length, and counts."""

    scale: float = 1.0
    seen: list[str] = field(default_factory=list)
    identity = {"encoder": "counted"}  # noqa: RUF012

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        self.seen += [image.name for image in images]
        return np.array([[len(image.read()), 1.0] for image in images]) * self.scale


def test_each_distinct_picture_is_encoded_once_ever(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first, second = Counted(), Counted()
    kept = kept_pictures(first, tmp_path, lambda *count: told.append(count))
    kept.see_to([*PICTURES, *PICTURES])
    assert (kept.encoded, kept.reused, first.seen) == (3, 0, [p.name for p in PICTURES])
    again = kept_pictures(second, tmp_path, lambda *count: told.append(count))
    again.see_to([*PICTURES, Drawn("train", 3)])
    assert (again.encoded, again.reused, len(second.seen)) == (1, 3, 1)
    assert again.row(PICTURES[1]) == kept.row(PICTURES[1]) == 1
    np.testing.assert_allclose(np.linalg.norm(again.store.vectors, axis=1), 1, rtol=1e-6)
    assert not told  # so few are no news


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    kept = kept_pictures(Counted(scale=float("nan")), tmp_path, lambda *count: None)
    with pytest.raises(MachineryError, match="not finite numbers"):
        kept.see_to(PICTURES)
