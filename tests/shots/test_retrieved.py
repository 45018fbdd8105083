"""Retrieved shots: those that the original selection code picks, and never the query's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infimm_eval.errors import UsageError
from infimm_eval.shots import Selector, Shots, pool, retrieval
from infimm_eval.shots.encoders import kept_pictures, kept_texts
from infimm_eval.shots.search import Neighbours, nearest, unit
from infimm_eval.shots.split import Split
from infimm_eval.types import Image, Sample

GOLDENS = Path(__file__).parents[1] / "golden" / "rices.npz"
COUNTS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Named(Image):
    """A picture whose name is all there is of it."""

    called: str

    @property
    def name(self) -> str:
        return self.called

    @property
    def key(self) -> str:
        return self.called

    def read(self) -> bytes:
        return self.called.encode()


@dataclass(frozen=True)
class Looked:
    """Encodes pictures and texts by looking their names up."""

    features: Mapping[str, Any]
    salt: str = ""

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"looked up": self.salt}

    text_identity = identity

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        return np.stack([self.features[image.name] for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Any:
        return np.stack([self.features[text] for text in texts])


@dataclass(frozen=True)
class Made:
    """Selectors over one split, with features by name."""

    train: list[Sample]
    queries: list[Sample]
    features: Mapping[str, Any]
    folder: Path

    def __call__(self, support: str, width: int = 32, **more: Any) -> Selector:
        split, encoder = Split(self.train), Looked(self.features)
        asked = retrieval.Queries(self.queries, split)

        def told(done: int, total: int) -> None:
            """Nobody listens."""

        pictures = kept_pictures(encoder, self.folder / "pictures", told)
        texts = kept_texts(encoder, self.folder / "texts", told)
        otherwise = Shots("made-up", 0, self.train, distinct=more.get("distinct", False))
        ranked: Callable[[Sample], Any]
        if support == "text":
            ranked = retrieval.text_space(split, asked, texts, width).rows
        else:
            wide = retrieval.CANDIDATES if support in ("mmices", "oracle") else width
            space = retrieval.picture_space(split, asked, pictures, wide)
            ranked = space.rows
        if support == "mmices":
            by_text = retrieval.text_space(split, asked, texts, 0)
            ranked = retrieval.mmices(split, space, by_text)
        if support == "oracle":
            return retrieval.Oracle(
                split=split,
                otherwise=otherwise,
                read=lambda sample, text: text.lower(),
                pictures=space,
                **more,
            )
        return retrieval.Retrieved(
            support=support,
            split=split,
            ranked=ranked,
            otherwise=otherwise,
            needs_picture=support != "text",
            **more,
        )


def ids(shots: Sequence[Sample]) -> list[str]:
    return [shot.id for shot in shots]


def rows(selector: Selector, queries: Sequence[Sample], count: int) -> list[list[int]]:
    return [list(map(int, ids(selector.pick(query, count)))) for query in queries]


# ---- the original code's picks


def of_goldens(
    found: Any, folder: Path, train: str, query: str, of_row: Any, texts: Any = None
) -> Made:
    """Features of the goldens under names: p0 ... and q0 ... of pictures, the same of texts."""
    features = {f"p{n}": vector for n, vector in enumerate(found[train])}
    features |= {f"q{n}": vector for n, vector in enumerate(found[query])}
    asks = [""] * len(of_row)
    asked = [""] * len(found[query])
    if texts is not None:
        all_texts, query_texts, text_of_row = texts
        features |= {f"t{n}": vector for n, vector in enumerate(all_texts)}
        features |= {f"u{n}": vector for n, vector in enumerate(query_texts)}
        asks = [f"t{n}" for n in text_of_row]
        asked = [f"u{n}" for n in range(len(query_texts))]
    return Made(
        [
            Sample(id=str(n), images=(Named(f"p{p}"),), question=(ask,), target="x")
            for n, (p, ask) in enumerate(zip(of_row, asks, strict=True))
        ],
        [
            Sample(id=f"query {n}", images=(Named(f"q{n}"),), question=(ask,))
            for n, ask in enumerate(asked)
        ],
        features,
        folder,
    )


@pytest.mark.slow
def test_rices_picks_what_the_original_code_picks(tmp_path: Path) -> None:
    with np.load(GOLDENS) as found:
        made = of_goldens(found, tmp_path, "rices_train", "rices_query", range(3000))
        selector = made("rices")
        for count in COUNTS:
            assert rows(selector, made.queries, count) == found[f"rices_rows_k{count}"].tolist()


@pytest.mark.slow
def test_rows_that_share_a_picture_come_lowest_first(tmp_path: Path) -> None:
    with np.load(GOLDENS) as found:
        of_row = found["ties_picture_of_row"]
        made = of_goldens(found, tmp_path, "ties_pictures", "ties_query", of_row)
        selector = made("rices")
        for count in COUNTS:
            picked = rows(selector, made.queries, count)
            assert picked == found[f"ties_rows_lowest_first_k{count}"].tolist()
            pictures = of_row[np.array(picked)]
            assert (pictures == found[f"ties_pictures_in_prompt_k{count}"]).all()


def test_equal_pictures_in_files_of_their_own_tie_as_one_picture_does(tmp_path: Path) -> None:
    with np.load(GOLDENS) as found:
        each = {
            "train": found["ties_pictures"][found["ties_picture_of_row"]],
            "query": found["ties_query"],
        }
        made = of_goldens(each, tmp_path, "train", "query", range(3000))
        picked = rows(made("rices"), made.queries, 16)
        assert picked == found["ties_rows_lowest_first_k16"].tolist()


@pytest.mark.slow
def test_mmices_picks_what_the_original_code_picks(tmp_path: Path) -> None:
    with np.load(GOLDENS) as found:
        texts = found["mmices_text"], found["mmices_query_text"], found["mmices_text_of_row"]
        made = of_goldens(found, tmp_path, "rices_train", "mmices_query", range(3000), texts)
        published = made("mmices", nearest_last=False)
        turned = made("mmices", nearest_last=True)
        for count in COUNTS:
            wanted = found[f"mmices_rows_nearest_first_k{count}"]
            assert rows(published, made.queries, count) == wanted.tolist()
            assert rows(turned, made.queries, count) == wanted[:, ::-1].tolist()
            asked = found["mmices_text_of_row"][wanted]
            assert (asked == found[f"mmices_texts_in_prompt_k{count}"]).all()


@pytest.mark.slow
def test_text_puts_the_nearest_question_last_as_the_original_code_does(
    tmp_path: Path, shared: Callable[[str], Path]
) -> None:
    with np.load(shared("icl") / "rices_golden.npz") as found:
        texts = found["mmices_own_text"], found["mmices_query_text"], range(3000)
        made = of_goldens(found, tmp_path, "mmices_train", "mmices_query", range(3000), texts)
        expected = {
            "text_rows": (made("text"), found["text_clear"]),
            "mmices_own_rows": (made("mmices", nearest_last=False), found["mmices_own_clear"]),
        }
        for name, (selector, clear) in expected.items():
            some = [query for query, ok in zip(made.queries, clear, strict=True) if ok]
            for count in COUNTS:
                assert rows(selector, some, count) == found[f"{name}_k{count}"][clear].tolist()


# ---- whom a query may not have


VECTORS = {f"p{n}": np.array([np.cos(n / 9), np.sin(n / 9)]) for n in range(20)}


def vqa(folder: Path) -> Made:
    """Five questions about each of 8 pictures on a circle, and a query about each of three."""
    train = [
        Sample(
            id=f"t{p}.{n}",
            images=(Named(f"p{p}"),),
            question=(f"how many {n}",),
            target="yes" if n % 2 else "no",
            group=f"g{p}",
        )
        for p in range(8)
        for n in range(5)
    ]
    queries = [
        Sample(id=f"q{p}", images=(Named(f"p{p}"),), group=f"g{p}", references=("YES",))
        for p in (0, 3, 7)
    ]
    return Made(train, queries, VECTORS, folder)


def test_a_query_is_never_shown_its_own_picture_nor_another_question_about_it(
    tmp_path: Path,
) -> None:
    made = vqa(tmp_path)
    for support in ("rices", "oracle"):
        for query in made.queries:
            picked = made(support).pick(query, 7)
            assert len(picked) == 7 and all(shot.group != query.group for shot in picked)
    strange = replace(made.queries[1], group="", id="t3.0")
    made.queries.append(strange)
    assert ids(made("rices").pick(strange, 4)) == ["t3.4", "t3.3", "t3.2", "t3.1"]


def test_the_most_similar_shot_stands_next_to_the_question(tmp_path: Path) -> None:
    made = vqa(tmp_path)
    assert ids(made("rices").pick(made.queries[0], 7)) == [
        *("t2.1", "t2.0"),
        *("t1.4", "t1.3", "t1.2", "t1.1", "t1.0"),
    ]


def test_distinct_pictures_shows_the_first_row_of_each(tmp_path: Path) -> None:
    made = vqa(tmp_path)
    selector = made("rices", distinct=True)
    assert ids(selector.pick(made.queries[0], 4)) == ["t4.0", "t3.0", "t2.0", "t1.0"]
    assert selector.protocol()["distinct_pictures"]
    drawn = Shots("made-up", 0, made.train, distinct=True)
    for query in made.queries:
        assert len({shot.images for shot in drawn.pick(query, 7)}) == 7


def test_more_shots_than_the_split_has_is_said_so(tmp_path: Path) -> None:
    made = vqa(tmp_path)
    with pytest.raises(UsageError, match="36 shots asked for, the training rows give 35"):
        made("rices", width=36).pick(made.queries[0], 36)


def test_a_question_without_a_picture_has_its_random_draw(tmp_path: Path) -> None:
    made = vqa(tmp_path)
    made.queries.append(Sample(id="blind"))
    picked = made("rices").pick(made.queries[-1], 4)
    assert picked == Shots("made-up", 0, made.train).pick(made.queries[-1], 4)


def test_several_pictures_are_compared_by_their_mean(tmp_path: Path) -> None:
    made = vqa(tmp_path)
    made.queries.append(Sample(id="two", images=(Named("p2"), Named("p6"))))
    picked = made("rices", distinct=True).pick(made.queries[-1], 1)
    assert ids(picked) == ["t4.0"]


# ---- the oracle


def test_the_oracles_shots_share_the_answer_nearest_last(tmp_path: Path) -> None:
    made = vqa(tmp_path)
    picked = made("oracle").pick(made.queries[0], 4)
    assert ids(picked) == ["t2.3", "t2.1", "t1.3", "t1.1"]
    assert "answers" in made("oracle").protocol()["upper_bound"]


def test_what_the_oracle_lacks_is_drawn_at_random_and_stands_first(tmp_path: Path) -> None:
    made = vqa(tmp_path)
    rare = replace(made.train[12], target="Seven")
    made.train[12] = rare
    query = replace(made.queries[0], references=("seven",))
    picked = made("oracle").pick(query, 4)
    drawn = [shot for shot in Shots("made-up", 0, made.train).pick(query, 4) if shot != rare]
    assert picked == [*reversed(drawn[:3]), rare]


# ---- search


def test_blocks_do_not_change_what_is_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    base = unit(rng.normal(size=(300, 8)))
    which, queries = np.arange(250, dtype=np.int32), np.arange(250, 300, dtype=np.int32)
    similar, whole = nearest(base, which, queries, 20)
    monkeypatch.setattr("infimm_eval.shots.search.ROWS", 16)
    monkeypatch.setattr("infimm_eval.shots.search.QUERIES", 7)
    again, in_blocks = nearest(base, which, queries, 20)
    assert (whole == in_blocks).all() and (similar == again).all()
    exact = np.argsort(-(base[queries] @ base[which].T), axis=1, kind="stable")[:, :20]
    assert (whole == exact).all()


def test_nothing_but_equal_vectors_comes_in_the_order_of_the_split() -> None:
    base = unit(np.ones((5000, 300)) * 0.1)
    neighbours = Neighbours(base, np.arange(5000, dtype=np.int32))
    neighbours.search(np.array([7], np.int32), 4)
    assert len(neighbours) == 1
    assert neighbours.rows(7)[:4].tolist() == [0, 1, 2, 3]


def test_a_split_gives_its_samples_back_and_passes_over_those_without_an_answer() -> None:
    made = [replace(s, tags={"n": s.id}) for s in vqa(Path()).train]
    split = Split([*made, Sample(id="withheld", images=(Named("p1"),))])
    assert list(split) == made and [split[row] for row in range(len(split))] == made
    assert len(split.pictures) == 8 and len(split.questions) == 5
    assert pool(split, "made-up", 0, 9) == pool(made, "made-up", 0, 9)
