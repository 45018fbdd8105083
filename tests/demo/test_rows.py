"""Demo scenes and rows: repeatable, split cleanly, shaped like the real ones."""

import io
import pickle
import random
from collections import Counter
from itertools import islice

import pytest
from PIL import Image as Pillow

from infimm_eval.demo.rows import caption_rows, vqa_rows
from infimm_eval.demo.scenes import Drawn, Scene, Thing, scene
from infimm_eval.demo.words import HOUSE, PLAIN, Style, any_style, caption
from infimm_eval.types import Image


def test_a_picture_has_the_same_bytes_every_time_and_in_another_process() -> None:
    picture = Drawn("test", 7)
    again = pickle.loads(pickle.dumps(picture))
    assert again == picture
    assert again.read() == picture.read()
    assert picture.digest() != Drawn("test", 8).digest()


def test_a_picture_is_a_png_of_the_stated_size() -> None:
    with Pillow.open(io.BytesIO(Drawn("train", 0, "sign").read())) as picture:
        assert (picture.format, picture.size, picture.mode) == ("PNG", (224, 224), "RGB")


def test_nothing_that_is_tested_was_described_in_training() -> None:
    trained = {repr(scene("train", i)) for i in range(1100)}
    tested = {repr(scene("test", i)) for i in range(300)}
    assert trained.isdisjoint(tested)


def test_a_scene_has_one_to_three_things_in_reading_order() -> None:
    counts: Counter[int] = Counter()
    for index in range(200):
        places = [thing.place for thing in scene("train", index).things]
        assert places == sorted(set(places))
        counts[len(places)] += 1
    assert set(counts) == {1, 2, 3}


def test_captions_come_in_fives_with_the_house_style_first() -> None:
    rows = list(caption_rows("test"))
    assert len(rows) == 300
    assert len({row["image_id"] for row in rows}) == 300
    for index, row in enumerate(rows):
        assert isinstance(row["image"], Image)
        assert row["filename"] == row["image"].name
        assert len(row["captions"]) == 5
        assert row["captions"][0] == caption(scene("test", index), HOUSE)
        assert row["captions"][4] == caption(scene("test", index), PLAIN)


def test_rows_are_the_same_every_time() -> None:
    assert list(islice(vqa_rows("train"), 50)) == list(islice(vqa_rows("train"), 50))


def test_ten_annotators_agree_mostly_but_not_always() -> None:
    rows = list(vqa_rows("test"))
    assert len({row["question_id"] for row in rows}) == len(rows) == 600
    assert all(len(row["answers"]) == 10 for row in rows)
    agreement = sum(row["answers"].count(row["answers"][0]) for row in rows) / len(rows)
    assert 7.5 < agreement < 9.5
    assert {row["answer_type"] for row in rows} == {"yes/no", "number", "other"}


def test_two_questions_about_a_picture_differ() -> None:
    asked = Counter((row["image_id"], row["question"]) for row in vqa_rows("test"))
    assert set(asked.values()) == {1}


def test_pictures_of_the_two_splits_never_share_a_number() -> None:
    ids = [{row["image_id"] for row in rows("train")} for rows in (caption_rows, vqa_rows)]
    for trained, rows in zip(ids, (caption_rows, vqa_rows), strict=True):
        assert trained.isdisjoint({row["image_id"] for row in rows("test")})


@pytest.mark.parametrize(
    ("style", "text"),
    [
        (PLAIN, "a small red circle and a large blue star on a black background"),
        (HOUSE, "a black backdrop with a tiny crimson circle beside a huge azure star"),
    ],
)
def test_a_style_decides_names_and_order(style: Style, text: str) -> None:
    things = (Thing(0, "small", "red", "circle"), Thing(3, "large", "blue", "star"))
    assert caption(Scene(things, "black"), style) == text


def test_the_house_style_is_never_among_those_trained_on() -> None:
    rng = random.Random(0)
    styles = {any_style(rng) for _ in range(5000)}
    assert HOUSE not in styles
    assert len(styles) == 3**5 * 2 - 1
