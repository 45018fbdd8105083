"""Pictures as people have them, before processors of the transformers library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from infimm_eval.flamingo.pictures import PictureError
from infimm_eval.models.transformers.pictures import decoded
from infimm_eval.types import Answer, Image
from tests.models.families import ENCODING_ALL, FAMILIES, MORE, answers, llava, load, saved
from tests.models.tiny import Painted, few_shot, painted, request

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class File(Image):
    """An encoded file."""

    content: bytes
    name: str = "file.png"

    @property
    def key(self) -> str:
        return self.name

    def read(self) -> bytes:
        return self.content


def encoded(picture: Pillow.Image, kind: str = "PNG", **settings: Any) -> bytes:
    out = BytesIO()
    picture.save(out, kind, **settings)
    return out.getvalue()


def strip(size: tuple[int, int]) -> File:
    return File(encoded(Pillow.new("RGB", size, "red")), f"strip {size[0]}x{size[1]}.png")


RAMP = np.linspace(0, 255, 40 * 30).astype(np.uint8).reshape(30, 40)
BROKEN = [
    Painted(None, "coco/7.jpg"),
    File(encoded(Pillow.fromarray(RAMP))[:-90], "coco/7.jpg"),
    File(b"", "coco/7.jpg"),
    File(encoded(Pillow.fromarray(RAMP.astype(np.float32)), "TIFF"), "coco/7.jpg"),
    File(encoded(Pillow.fromarray(RAMP.astype(np.int32)), "TIFF"), "coco/7.jpg"),
]


def failed(found: dict[str, Answer]) -> dict[str, str]:
    return {id: a.notes["error"] for id, a in found.items() if a.finish == "error"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("llava"), llava)


@pytest.mark.parametrize("picture", BROKEN)
def test_a_picture_that_cannot_be_shown_costs_the_questions_that_show_it_alone(folder, picture):
    broken = [request(f"x{n}", (painted(n), picture, "Output:")) for n in range(3)]
    found = answers(load(folder, batch_size=4), [broken[0], *few_shot(3), *broken[1:]])
    assert failed(found).keys() == {"x0", "x1", "x2"}
    assert all(why.startswith("coco/7.jpg: ") for why in failed(found).values())


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "pixtral", "llava", "mllama"])
@pytest.mark.parametrize("ranked", [False, True])
def test_a_strip_is_answered_or_costs_its_own_question(tmp_path, family, ranked):
    place = saved(tmp_path, (FAMILIES | MORE | ENCODING_ALL)[family])
    options = (" a dog", " no") if ranked else ()
    plain = [request(str(n), (painted(n), "Output:"), options=options) for n in range(5)]
    odd = [
        request("wide", (painted(1), strip((300, 1)), "Output:"), options=options),
        request("dot", (strip((1, 1)), "Output:"), options=options),
    ]
    ask = "rank" if ranked else "generate"
    found = {a.id: a for a in getattr(load(place, batch_size=4), ask)([*odd, *plain])}
    assert len(found) == 7
    assert failed(found).keys() <= {"wide"}
    assert bool(failed(found)) == (family not in ("llava", "mllama"))
    assert all(re.match(r"strip 300x1\.png: ", why) for why in failed(found).values())
    expected = {a.id: a for a in getattr(load(place, batch_size=4), ask)(plain)}
    for id, answer in expected.items():
        assert found[id].text == answer.text
        assert found[id].logliks == pytest.approx(answer.logliks, abs=1e-4)


def test_a_question_that_leads_the_model_astray_costs_nobody_else_an_answer(folder, monkeypatch):
    model = load(folder, batch_size=4)
    generate = model.model.generate

    def astray(input_ids: Any, **rest: Any) -> Any:
        if any(row[-1] == model.engine.generation.tokenizer.encode("!")[-1] for row in input_ids):
            raise IndexError("index out of range in self")
        return generate(input_ids=input_ids, **rest)

    monkeypatch.setattr(model.model, "generate", astray)
    found = answers(model, [request("odd", (painted(1), "Output!")), *few_shot(5)])
    assert failed(found) == {"odd": "1.png: index out of range in self"}


def test_grey_of_sixteen_bits_is_what_it_is_in_eight():
    deep = encoded(Pillow.fromarray(RAMP.astype(np.uint16) * 257))
    expected = np.stack([RAMP] * 3, axis=-1)
    assert np.array_equal(np.asarray(decoded(deep, "deep.png")), expected)
    assert np.array_equal(np.asarray(decoded(encoded(Pillow.fromarray(RAMP)), "")), expected)


def test_a_picture_stands_upright_as_its_exif_says():
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned = encoded(Pillow.fromarray(RAMP), "PNG", exif=exif)
    expected = np.rot90(np.stack([RAMP] * 3, axis=-1), -1)
    assert np.array_equal(np.asarray(decoded(turned, "turned.png")), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_turns_nothing():
    turned = encoded(Pillow.fromarray(RAMP), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert decoded(turned, "odd.png").size == (40, 30)


def test_numbers_without_a_scale_are_refused_by_name():
    with pytest.raises(PictureError, match=r"depth\.tiff.*mode F.*8 or 16 bits"):
        decoded(encoded(Pillow.fromarray(RAMP.astype(np.float32)), "TIFF"), "depth.tiff")
