"""The page without a browser: closed, small, and every foreign string inert."""

from __future__ import annotations

import io
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from infimm_eval import report
from infimm_eval.errors import UsageError
from infimm_eval.logs import Log
from infimm_eval.report.album import Album
from infimm_eval.report.frame import kept_apart, round_ticks
from infimm_eval.report.gather import gather
from infimm_eval.report.samples import browse
from tests.report import made
from tests.report.made import HOSTILE, Made, MakeRun, picture


class Page(HTMLParser):
    """Tags with their attributes, and the text of the data script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][1].get("id") == "data" and not self.data:
            self.data = data


def written(*runs: Path, samples: int = 200) -> str:
    (_, path) = report.write(runs, runs[0], samples=samples)
    return path.read_text(encoding="utf-8")


def data(*runs: Path, samples: int = 200) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Page(written(*runs, samples=samples)).data)
    return values


@pytest.fixture
def hostile_run(make_run: MakeRun) -> Path:
    values = [1.0] * len(HOSTILE)
    cells = [
        Made(
            title=HOSTILE[1],
            answers=HOSTILE,
            values=values,
            shots=shots,
            headline=HOSTILE[0],
            breakdown={HOSTILE[2]: dict.fromkeys(HOSTILE, 50.0)},
            columns={},
        )
        for shots in (0, 2)
    ]
    return make_run("hostile", *cells, model=HOSTILE[0])


def test_the_page_names_nothing_outside_itself(hostile_run: Path) -> None:
    page = Page(written(hostile_run))
    kinds = [tag for tag, _ in page.tags]
    assert kinds.count("script") == 2 and kinds.count("style") == 1
    assert not {"link", "iframe", "img", "object", "base", "b-hacked"} & set(kinds)
    for tag, attributes in page.tags:
        assert "src" not in attributes and "style" not in attributes
        assert not any(name.startswith("on") for name in attributes), tag
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = (a["content"] for tag, a in page.tags if a.get("http-equiv"))
    assert policy and policy.startswith("default-src 'none'") and "unsafe" not in policy


@pytest.mark.slow
def test_hostile_strings_survive_the_page_unchanged(hostile_run: Path) -> None:
    html = written(hostile_run)
    text = Page(html).data
    assert "<" not in text and "\u2028" not in text
    samples = json.loads(text)["samples"]
    assert {answer["said"] for s in samples for answer in s["answers"]} == set(HOSTILE)


def test_the_browser_holds_prompts_with_the_pictures_of_shots_and_every_answer(
    make_run: MakeRun,
) -> None:
    values = data(make_run())
    assert [cell["name"] for cell in values["cells"]] == ["0 shots", "4 shots"]
    sample = next(s for s in values["samples"] if s["id"] == "q1")
    assert [answer["score"] for answer in sample["answers"]] == [0.3, 1.0]
    assert sample["changed"] == {"shots": "better"}
    assert sample["types"] == ["number"]
    assert sample["references"] == [["yes", 1], ["maybe", 1], ["two", 1]]
    prompt = values["prompts"][sample["answers"][1]["prompt"]]
    shown = [values["pictures"][part]["name"] for part in prompt if isinstance(part, int)]
    assert shown == [f"train/1-{k}.jpg" for k in range(4)] + ["val/1.jpg"]
    assert prompt[1:3] == ["Question:What colour? Short answer:red\n", prompt[2]]
    assert all(picture["webp"] for picture in values["pictures"])


def test_samples_that_changed_between_two_runs_are_picked_first(make_run: MakeRun) -> None:
    many = 200
    answers = ["yes"] * many
    base = make_run("a", Made(values=[1.0] * many, answers=answers), model="a", pictures=False)
    flipped = [0.0 if i % 40 == 7 else 1.0 for i in range(many)]
    new = make_run("b", Made(values=flipped, answers=answers), model="b", pictures=False)
    changed = [s["id"] for s in data(base, new, samples=20)["samples"] if s["changed"]]
    assert sorted(changed) == ["q127", "q167", "q47", "q7", "q87"]


def test_small_benchmarks_leave_their_share_to_large_ones(make_run: MakeRun) -> None:
    large = Made(values=[1.0] * 60, answers=["yes"] * 60)
    run = make_run("run", large, Made(task="okvqa", title="OK-VQA"), pictures=False)
    tasks = [sample["task"] for sample in data(run, samples=40)["samples"]]
    assert (tasks.count("vqav2"), tasks.count("okvqa")) == (36, 4)


def test_a_page_may_have_no_samples_or_all_of_them(make_run: MakeRun) -> None:
    run = make_run("run", Made(), pictures=False)
    assert data(run, samples=0)["samples"] == []
    assert len(data(run, samples=100_000)["samples"]) == 4


@pytest.mark.slow
def test_long_texts_are_cut_until_all_fit_and_pictures_shrink_into_the_rest(
    make_run: MakeRun,
) -> None:
    answers = ["\u6f22" * 9_000] * 200
    run = make_run("run", Made(answers=answers, values=[1.0] * 200))
    html = written(run)
    values = json.loads(Page(html).data)
    assert len(html.encode()) < 5_000_000 and len(values["samples"]) == 200
    said = {sample["answers"][0]["said"] for sample in values["samples"]}
    assert said == {"\u6f22" * 800 + " \u2026 (8,200 more characters in the log)"}
    assert all(picture["webp"] for picture in values["pictures"])


@pytest.mark.slow
def test_all_samples_lie_in_volumes_beside_a_small_page(make_run: MakeRun) -> None:
    values = [float(n % 3 > 0) for n in range(450)]
    answers = ["</script><b>" + "long " * 200] * 450
    run = make_run("run", Made(values=values, answers=answers), pictures=False)
    folder = run / "report-samples"
    (_, path) = report.write([run], run, samples=None)
    assert sorted(file.name for file in folder.iterdir()) == [f"{n}.js" for n in range(5)]
    page = Page(path.read_text(encoding="utf-8"))
    values_of_page = json.loads(page.data)
    lines = values_of_page["samples"]
    assert len(lines) == 450 and "said" not in lines[0]["answers"][0]
    scores = [line["answers"][0]["score"] for line in lines if line["volume"] < 2]
    assert scores.count(0.0) == 150 and scores.count(1.0) == 50
    assert path.stat().st_size < 250_000
    for file in folder.iterdir():
        text = file.read_text(encoding="ascii")
        assert "<" not in text
        number, _, volume = text.removeprefix("infimmVolume(").removesuffix(");\n").partition(",")
        here = {line["id"] for line in lines if line["volume"] == int(number)}
        assert {sample["id"] for sample in json.loads(volume)["samples"]} == here
    (policy,) = (a["content"] for tag, a in page.tags if a.get("http-equiv"))
    assert policy and "'self' file:" in policy and "unsafe" not in policy


def test_a_shorter_report_takes_away_the_volumes_of_a_longer_one(make_run: MakeRun) -> None:
    many = make_run("many", Made(values=[1.0] * 250, answers=["a"] * 250), pictures=False)
    few = make_run("few", Made(), pictures=False)
    folder = few / "report-samples"
    report.write([many], few, samples=None)
    (folder / "mine.js").write_text("kept")
    report.write([few], few, samples=None)
    assert sorted(file.name for file in folder.iterdir()) == ["0.js", "mine.js"]


def test_a_run_without_pictures_shows_their_names(make_run: MakeRun) -> None:
    values = data(make_run("run", pictures=False))
    assert {p["webp"] for p in values["pictures"]} == {None}
    assert "val/0.jpg" in {p["name"] for p in values["pictures"]}


@pytest.mark.slow
def test_two_hundred_samples_with_eight_shots_stay_below_five_megabytes(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = [_noise(seed) for seed in range(24)]
    monkeypatch.setattr(made, "picture", lambda index: noise[index % 24])
    answers = ["word " * 60] * 220
    run = make_run("run", Made(shots=8, values=[0.5] * 220, answers=answers))
    html = written(run)
    values = json.loads(Page(html).data)
    assert len(values["samples"]) == 200
    assert sum(picture["webp"] is not None for picture in values["pictures"]) > 1_700
    assert len(html.encode()) < 5_000_000


def _noise(seed: int) -> bytes:
    """A picture that hardly compresses."""
    file = io.BytesIO()
    Pillow.frombytes("RGB", (192, 144), random.Random(seed).randbytes(192 * 144 * 3)).save(
        file, "WEBP", quality=70
    )
    return file.getvalue()


def test_an_album_stays_within_its_budget_by_size_then_by_leaving_out() -> None:
    def album() -> Album:
        filled = Album()
        for k in range(6):
            filled.add(str(k), f"{k}.jpg", lambda k=k: picture(k), small=k > 2)
        return filled

    full = album().values(1_000_000)
    small = album().values(sum(len(p["webp"]) for p in full) // 2)
    assert all(p["webp"] for p in small)
    assert sum(len(p["webp"]) for p in small) * 2 <= sum(len(p["webp"]) for p in full)
    none = album().values(10)
    assert [p["webp"] for p in none] == [None] * 6


@pytest.mark.slow
def test_where_nothing_helps_pictures_of_shots_give_way_to_those_of_samples() -> None:
    album = Album()
    for k in range(40):
        album.add(str(k), f"{k}.jpg", lambda k=k: picture(k), small=k % 4 > 0)
    kept = [p["webp"] is not None for p in album.values(6_000)]
    assert kept[::4] == [True] * 10 and 0 < sum(kept) < 40


def test_a_damaged_thumbnail_is_named(make_run: MakeRun) -> None:
    run = make_run("run", Made(), pictures=False)
    with Log(run, writing=True) as log:
        log.add_picture("own-0", b"RIFF no picture")
        log.save()
    with pytest.raises(UsageError, match=r"thumbnail of val/0\.jpg is damaged"):
        report.write([run], run)


def test_long_texts_are_cut_and_say_so(make_run: MakeRun) -> None:
    run = make_run("run", Made(values=(1.0,), answers=("x" * 20_000,)))
    (sample,) = browse(gather([run]), 10, 100_000)["samples"]
    said = sample["answers"][0]["said"]
    assert len(said) < 13_000 and "8,000 more characters in the log" in said


@pytest.mark.slow
def test_the_same_runs_make_the_same_page(make_run: MakeRun) -> None:
    run = make_run()
    assert written(run) == written(run)


def test_ticks_are_round_and_enclose_the_figures() -> None:
    assert round_ticks([46.2, 108.9]) == (40, 60, 80, 100, 120)
    assert round_ticks([0.31, 0.34])[0] <= 0.31
    assert round_ticks([50.0, 50.0])[0] < 50 < round_ticks([50.0, 50.0])[-1]


def test_labels_are_kept_apart_in_their_order() -> None:
    assert kept_apart([10.0, 12.0, 50.0], 14) == [10.0, 24.0, 50.0]
    assert kept_apart([12.0, 10.0], 14) == [24.0, 10.0]


def test_every_drawing_says_its_figures(make_run: MakeRun) -> None:
    html = written(make_run())
    spoken = re.findall(r"<desc[^>]*>(.*?)</desc>", html, re.DOTALL)
    assert any("86.7 at 4 shots [40.0, 60.0]" in " ".join(text.split()) for text in spoken)
    assert any("yes/no 80.0" in text for text in spoken)
