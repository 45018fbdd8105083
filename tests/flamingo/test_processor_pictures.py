"""Pictures become the original's tensors, bit for bit; bad ones are refused by name."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.pictures import PictureError, Pictures, preprocess
from tests.golden.recorded import PARITY, in_full

GOLDEN = PARITY / "processor"
NAMES = sorted(json.loads((GOLDEN / "images.json").read_text())["images"])

KINDS = ["PNG", "JPEG", "BMP", "WEBP", "TIFF", *(["AVIF"] if features.check("avif") else [])]


def golden() -> dict[str, Any]:
    described: dict[str, Any] = json.loads((GOLDEN / "images.json").read_text())
    return described


def recorded_picture(name: str) -> Path:
    """Most of them lie here; a few plain ones only among the full recordings."""
    ours = GOLDEN / "images" / name
    return ours if ours.is_file() else in_full(f"processor/images/{name}")


def digest(tensor: torch.Tensor) -> str:
    return sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_picture_is_the_originals_to_the_bit(name: str) -> None:
    tensor = preprocess(recorded_picture(name))
    expected = golden()["images"][name]
    if expected["f32_sha256"] == digest(tensor):
        return
    assert Path(name).suffix in {".jpg", ".webp"}, "lossless pictures have no excuse"
    # JPEG and WebP decoders may differ between builds of Pillow by a level or two.
    assert tensor.mean((1, 2)).tolist() == pytest.approx(expected["mean"], abs=2e-3)
    assert tensor.std((1, 2)).tolist() == pytest.approx(expected["std"], abs=2e-3)


def test_a_path_its_bytes_and_the_open_picture_are_the_same_picture() -> None:
    path = GOLDEN / "images" / "palette_transparent_150x200.png"
    with Image.open(path) as picture:
        shown = [preprocess(source) for source in (path, str(path), path.read_bytes(), picture)]
        assert "transparency" in picture.info, "the caller's picture stays as it was"
    assert len({digest(tensor) for tensor in shown}) == 1


def test_many_threads_see_what_one_sees() -> None:
    files = [
        file
        for file in sorted((GOLDEN / "images").iterdir())
        if not file.name.startswith(("wide", "tall"))
    ]
    alone = [digest(preprocess(file)) for file in files]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda file: digest(preprocess(file)), files)) == alone


def test_no_picture_at_all_is_the_originals_black_one() -> None:
    black = Pictures().black()
    assert black.shape == (3, 336, 336)
    for channel, value in zip(black, (-1.7922625541687012, -1.7520971298217773), strict=False):
        assert channel.eq(value).all()


def test_exif_orientation_is_ignored_and_an_animation_shows_its_first_frame() -> None:
    upright = gradient(40, 30)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(upright, exif=exif)
    assert torch.equal(preprocess(turned, 30), preprocess(upright, 30))
    film = encoded(Image.new("P", (9, 9), 1), "GIF", save_all=True, append_images=[upright])
    assert preprocess(film, 9).std((1, 2)).max() == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"])
@pytest.mark.parametrize("size", [(7, 5), (16, 16), (3, 40)])
def test_every_mode_of_pillow_is_shown(mode: str, size: tuple[int, int]) -> None:
    assert preprocess(Image.new(mode, size), 16).isfinite().all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"])
def test_every_other_mode_of_pillow_too(mode: str) -> None:
    assert preprocess(Image.new(mode, (7, 5)), 16).shape == (3, 16, 16)


def test_a_mode_without_a_way_to_rgb_is_refused_by_name() -> None:
    with pytest.raises(PictureError, match=r"scan 3: a La picture"):
        preprocess(Image.new("La", (7, 5)), 16, name="scan 3")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"cat\.jpg: there is no such file"):
        preprocess(tmp_path / "cat.jpg")


@pytest.mark.parametrize("junk", [b"", b"GIF89a", b"version https://git-lfs.github.com/spec/v1\n"])
def test_bytes_that_are_no_picture_are_refused(junk: bytes) -> None:
    with pytest.raises(PictureError, match=f"a picture of {len(junk)} bytes: not a readable"):
        preprocess(junk)


@pytest.mark.parametrize("source", [np.zeros((9, 9, 3)), None, [b""], bytearray(b"GIF89a")])
def test_what_is_no_source_of_pictures_is_refused_by_its_kind(source: Any) -> None:
    with pytest.raises(PictureError, match=f"^row 3: .*, not a {type(source).__name__}$"):
        preprocess(source, name="row 3")


@pytest.mark.parametrize("address", ["https://a.b/cat.png", "data:image/png;base64,iVBORw0KGgo="])
def test_an_address_is_not_opened(address: str) -> None:
    with pytest.raises(PictureError, match="addresses are not opened; pass a path or the bytes"):
        preprocess(address)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_picture_is_refused_not_filled_with_grey(kind: str) -> None:
    whole = encoded(gradient(90, 70), kind)
    preprocess(whole, 16)
    with pytest.raises(PictureError, match=r"row 17: not a readable"):
        preprocess(whole[: len(whole) // 2], 16, name="row 17")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*KINDS, "GIF"])
def test_damaged_bytes_give_a_picture_or_a_clear_refusal(kind: str) -> None:
    whole, dice = encoded(gradient(40, 30), kind), random.Random(kind)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 12)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            assert preprocess(bytes(damaged), 16).shape == (3, 16, 16)
        except PictureError:
            refused += 1
    assert refused > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_gigantic_picture_is_refused_before_it_is_decoded() -> None:
    bomb = encoded(Image.new("1", (20_000, 12_000)))
    with pytest.raises(PictureError, match="beyond 89478485 pixels"):
        preprocess(bomb)
    with pytest.raises(PictureError, match="40 x 30 is beyond 1000 pixels"):
        preprocess(gradient(40, 30), 16, max_pixels=1000)


def test_a_picture_that_would_become_gigantic_is_refused() -> None:
    with pytest.raises(PictureError, match="1 x 5000 is too narrow"):
        preprocess(Image.new("L", (1, 5000)))


def test_the_numbers_come_from_the_checkpoint(tmp_path: Path) -> None:
    config = tmp_path / "preprocessor_config.json"
    with pytest.raises(UsageError, match=r"has no preprocessor_config\.json"):
        Pictures.load(tmp_path)
    config.write_text('{"image_size": 224}')
    assert Pictures.load(tmp_path) == Pictures(224)
    config.write_text('{"image_size": 8, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    assert Pictures.load(tmp_path)(Image.new("RGB", (9, 9), (255, 0, 51)))[:, 0, 0].tolist() == [
        1.0,
        0.0,
        pytest.approx(0.2),
    ]


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"image_size": 0}', '{"image_std": [1, 0, 1]}']
)
def test_a_senseless_preprocessor_config_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(UsageError, match=r"preprocessor_config\.json"):
        Pictures.load(tmp_path)
