"""The other benchmarks' demo rows: their columns, and that every answer is the picture's."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import pytest

from infimm_eval.demo import choice_rows, judged_rows, open_rows
from infimm_eval.demo.questions import FRUITS, STATEMENTS, UNANSWERABLE
from infimm_eval.demo.scenes import Split, scene
from infimm_eval.types import Row

COUNTS: dict[Split, int] = {"test": 150, "train": 600}
VQA = {
    "image",
    "image_id",
    "question_id",
    "question",
    "answers",
    "question_type",
    "answer_type",
}


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (open_rows.textvqa_rows, VQA | {"ocr_tokens"}),
        (open_rows.okvqa_rows, VQA | {"raw_answers"}),
        (open_rows.vizwiz_rows, VQA),
    ],
)
def test_open_questions_have_ten_answers_and_an_id_of_their_own(
    rows: Callable[[Split], Iterable[Row]], columns: set[str]
) -> None:
    for split, count in COUNTS.items():
        found = list(rows(split))
        assert len({row["question_id"] for row in found}) == len(found) == count
        assert all(set(row) == columns and len(row["answers"]) == 10 for row in found)
    train, test = ({row["image_id"] for row in rows(split)} for split in COUNTS)
    assert train.isdisjoint(test)


def test_the_word_on_the_sign_is_the_answer() -> None:
    for row in open_rows.textvqa_rows("test"):
        assert row["answers"][0].upper() == row["ocr_tokens"][0]


def test_okvqa_counts_each_of_five_people_twice() -> None:
    row = next(iter(open_rows.okvqa_rows("test")))
    assert row["answers"][::2] == row["answers"][1::2] == row["raw_answers"][::2]


def test_some_of_vizwiz_has_no_answer() -> None:
    kinds = Counter(row["answer_type"] for row in open_rows.vizwiz_rows("test"))
    assert 10 < kinds[UNANSWERABLE] < 75


def test_flickr_pictures_are_not_cocos() -> None:
    rows = list(open_rows.flickr30k_rows("test"))
    assert len({row["image_id"] for row in rows}) == 150
    assert all(row["filename"].startswith(str(row["image_id"])) for row in rows)
    assert min(row["image"].index for row in rows) >= 2000


def test_scienceqa_answers_are_among_two_to_four_choices() -> None:
    rows = list(choice_rows.scienceqa_rows("test"))
    assert len({row["id"] for row in rows}) == 120
    assert sum(row["image"] is None for row in rows) == 24
    for row in rows:
        assert 0 <= row["answer"] < len(row["choices"]) == len(set(row["choices"])) <= 4
        assert len(row["choices"]) >= 2


def test_mmbench_rotations_turn_the_options_and_keep_the_answer() -> None:
    rows = {row["index"]: row for row in choice_rows.mmbench_rows()}
    for index, row in rows.items():
        base = rows[index % 1_000_000]
        assert row[row["answer"]] == base[base["answer"]]
        assert row["question"] == base["question"]
    turns = Counter(index % 1_000_000 for index in rows)
    for index, turned in turns.items():
        assert turned == sum(letter in rows[index] for letter in "ABCD")


def test_mmmu_names_every_picture_it_shows() -> None:
    rows = list(choice_rows.mmmu_rows())
    assert len({row["id"] for row in rows}) == 120
    assert Counter(row["question_type"] for row in rows) == {"multiple-choice": 90, "open": 30}
    for row in rows:
        text = row["question"] + " ".join(row["options"])
        for number in range(1, 8):
            assert (f"<image {number}>" in text) == (row[f"image_{number}"] is not None)
        if row["question_type"] == "multiple-choice":
            assert "ABCD".index(row["answer"]) < len(row["options"])


def test_only_the_right_picture_shows_what_mmmu_asks_for() -> None:
    asked = [r for r in choice_rows.mmmu_rows() if r["question"].startswith("Which image")]
    assert len(asked) == 30
    for row in asked:
        color, shape = row["question"].rstrip("?").split()[-2:]
        shows = [
            (color, shape) in {(t.color, t.shape) for t in scene(p.split, p.index).things}
            for p in (row["image_1"], row["image_2"])
        ]
        assert shows == [row["answer"] == "A", row["answer"] == "B"]


def test_mme_asks_two_questions_a_picture_answered_yes_and_no() -> None:
    pairs = defaultdict(list)
    for row in choice_rows.mme_rows():
        assert row["question"].endswith("Please answer yes or no.")
        pairs[row["category"], row["question_id"]].append(row)
    assert {category for category, _ in pairs} == set(STATEMENTS)
    assert len(pairs) == 14 * 12
    for first, second in pairs.values():
        assert (first["answer"], second["answer"]) == ("Yes", "No")
        assert first["question"] != second["question"]
        assert first["image"] == second["image"]


def test_mme_says_of_position_what_the_picture_shows() -> None:
    for row in choice_rows.mme_rows():
        if row["category"] == "position":
            shown = {
                f"Is the {t.color} {t.shape} at the {place}?"
                for t in scene("test", row["image"].index).things
                for place in [("top left", "top right", "bottom left", "bottom right")[t.place]]
            }
            asked = row["question"].removesuffix(" Please answer yes or no.")
            assert (asked in shown) == (row["answer"] == "Yes")


def test_every_capability_of_mmvet_is_asked() -> None:
    rows = list(judged_rows.mmvet_rows())
    assert len({row["question_id"] for row in rows}) == 105
    asked = {ability for row in rows for ability in row["capability"]}
    assert asked == {"rec", "ocr", "know", "gen", "spat", "math"}
    fruits = [row["answer"] for row in rows if "know" in row["capability"]]
    assert set(fruits) <= set(FRUITS.values())


def test_core_mm_has_three_categories_and_some_questions_with_two_pictures() -> None:
    rows = list(judged_rows.core_mm_rows())
    assert Counter(row["category"] for row in rows) == {
        "Deductive": 35,
        "Abductive": 35,
        "Analogical": 35,
    }
    assert {len(row["images"]) for row in rows} == {1, 2}
    assert [row["id"] for row in rows] == [str(n) for n in range(1, 106)]
