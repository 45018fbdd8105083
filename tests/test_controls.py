"""Controls: what each changes, what it leaves, and the cells that they make."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from infimm_eval import evaluate, icl, logs, models, prompts, registry
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.run import Plan
from infimm_eval.shots import Chance, Shots, Shown, controls, shown
from infimm_eval.shots.blanks import Blank, blank
from infimm_eval.types import Image, Request, Sample


@dataclass(frozen=True, slots=True)
class Named(Image):
    """A picture of one colour, by name."""

    name: str
    size: tuple[int, int] = (12, 8)

    @property
    def key(self) -> str:
        return self.name

    def read(self) -> bytes:
        file = io.BytesIO()
        Pillow.new("RGB", self.size, "red").save(file, "PNG")
        return file.getvalue()


def vqa(number: int, answer: str, kind: str = "what") -> Sample:
    return Sample(
        id=str(number),
        images=(Named(f"p{number}"),),
        question=(f"{kind} {number}?",),
        target=answer,
        references=(answer,),
        group=f"g{number}",
        tags={"question_type": kind},
    )


POOL = [vqa(n, f"a{n % 7}", ("what", "is it")[n % 2]) for n in range(40)]
QUERY = replace(vqa(99, "a1"), id="q")
SHOTS = POOL[:4]


def changed(name: str, shots: list[Sample] = SHOTS, query: Sample = QUERY) -> Shown:
    chance = Chance(key=f"0/vqav2/{query.id}/{name}", pool=POOL)
    return controls.function(name)(shown(shots, query), chance)


def keys(samples: tuple[Sample, ...]) -> list[tuple[str, ...]]:
    return [tuple(image.key for image in controls.slots(sample)) for sample in samples]


def test_none_takes_all_pictures_and_leaves_the_words() -> None:
    made = changed("pictures=none")
    assert made.text_only and made.shots == tuple(SHOTS) and made.changed == 4


def test_blank_pictures_have_the_size_of_those_they_stand_for() -> None:
    inside = replace(
        SHOTS[0], question=("see ", Named("inside", (5, 7))), options=((Named("o", (3, 3)),),)
    )
    made = changed("pictures=blank", [inside, *SHOTS[1:]])
    assert [image.key for image in controls.slots(made.shots[0])] == [
        "blank-1:12x8", "blank-1:5x7", "blank-1:3x3",
    ]  # fmt: skip
    assert made.query is QUERY and made.changed == 4
    assert [shot.target for shot in made.shots] == [shot.target for shot in (inside, *SHOTS[1:])]


def test_a_blank_picture_is_of_one_colour_and_one_file_a_size() -> None:
    made = blank(Named("x", (30, 20)))
    assert (made.name, made.key) == ("blank 30x20", "blank-1:30x20")
    with Pillow.open(io.BytesIO(made.read())) as picture:
        assert picture.size == (30, 20) and picture.getcolors() == [(600, (122, 116, 104))]
    assert made.digest() == Blank(30, 20).digest() and made == blank(Named("y", (30, 20)))


def test_a_blank_stands_as_a_turned_photograph_is_seen() -> None:
    class Turned(Named):
        def read(self) -> bytes:
            file = io.BytesIO()
            exif = Pillow.Exif()
            exif[0x0112] = 6
            Pillow.new("RGB", (12, 8)).save(file, "JPEG", exif=exif)
            return file.getvalue()

    assert blank(Turned("turned")).key == "blank-1:8x12"


def test_a_picture_without_a_size_is_named() -> None:
    class Broken(Named):
        def read(self) -> bytes:
            return b"nothing"

    with pytest.raises(UsageError, match=r"broken\.png: its size cannot be read"):
        blank(Broken("broken.png"))


def test_swapped_pictures_leave_no_shot_its_own() -> None:
    made = changed("pictures=swapped")
    assert sorted(keys(made.shots)) == sorted(keys(tuple(SHOTS))) and made.changed == 4
    assert all(
        now != before for now, before in zip(keys(made.shots), keys(tuple(SHOTS)), strict=True)
    )
    assert [shot.target for shot in made.shots] == [shot.target for shot in SHOTS]
    assert made.drawn == tuple(shot.id for shot in SHOTS)


def test_pictures_are_swapped_among_shots_with_equally_many() -> None:
    two = replace(SHOTS[1], question=("with ", Named("more")))
    bare = replace(SHOTS[2], images=())
    made = changed("pictures=swapped", [SHOTS[0], two, bare, SHOTS[3]])
    assert keys(made.shots) == [("p3",), ("p1", "more"), (), ("p0",)] and made.changed == 2


@pytest.mark.parametrize("name", ["pictures=swapped", "answers=shuffled", "order=reversed"])
def test_one_shot_has_nothing_to_change_places_with(name: str) -> None:
    made = changed(name, SHOTS[:1])
    assert made.shots == (SHOTS[0],) and made.changed == 0


def test_equal_pictures_are_not_swapped() -> None:
    same = [replace(shot, images=(Named("one"),)) for shot in SHOTS]
    assert changed("pictures=swapped", same) == shown(same, QUERY)


def test_other_pictures_are_neither_the_shots_nor_the_querys() -> None:
    made = changed("pictures=other")
    for shot, before in zip(made.shots, SHOTS, strict=True):
        assert keys((shot,)) != keys((before,)) and shot.question == before.question
    assert changed("pictures=other", SHOTS[:1]).shots[0] == made.shots[0]  # whatever the place


def test_no_row_has_as_many_pictures() -> None:
    two = replace(SHOTS[1], question=("with ", Named("more")))
    made = changed("pictures=other", [two])
    assert made.shots == (two,) and made.changed == 0


def test_shuffled_answers_leave_no_shot_its_own() -> None:
    made = changed("answers=shuffled")
    assert sorted(shot.target for shot in made.shots) == sorted(shot.target for shot in SHOTS)
    assert all(now.target != was.target for now, was in zip(made.shots, SHOTS, strict=True))
    assert keys(made.shots) == keys(tuple(SHOTS))
    assert all(shot.references == (shot.target,) for shot in made.shots)


def test_answers_are_equal_as_the_scorer_reads_them() -> None:
    same = [
        replace(shot, target=word)
        for shot, word in zip(SHOTS, ("Two", "two ", "TWO", "two"), strict=True)
    ]
    assert changed("answers=shuffled", same).changed == 0


def test_letters_change_places_among_equally_many_options() -> None:
    def lettered(number: int, letter: str, count: int) -> Sample:
        return replace(vqa(number, letter), options=tuple((f"o{n}",) for n in range(count)))

    three = [lettered(0, "A", 3), lettered(1, "D", 4), lettered(2, "C", 3)]
    assert [shot.target for shot in changed("answers=shuffled", three).shots] == ["C", "D", "A"]
    others = changed("answers=other", three).shots
    assert all(o.target != s.target for o, s in zip(others, three, strict=True))
    assert all(o.target in "ABC" for o in (others[0], others[2])) and others[1].target in "ABC"


def test_other_answers_are_of_the_same_type_and_differ_in_words() -> None:
    made = changed("answers=other")
    for shot, before in zip(made.shots, SHOTS, strict=True):
        donor = next(row for row in POOL if f"{before.id}|answers={row.id}" == shot.id)
        assert donor.tags == before.tags and shot.target == donor.target != before.target


def test_orders_are_permutations_with_their_ids() -> None:
    backwards = changed("order=reversed")
    assert backwards.shots == tuple(SHOTS[::-1]) and backwards.drawn == ("3", "2", "1", "0")
    drawn = {changed(f"order=permuted:{n}").drawn for n in range(1, 12)}
    assert len(drawn) > 4 and all(sorted(ids) == ["0", "1", "2", "3"] for ids in drawn)


def test_the_random_orders_are_those_of_their_key() -> None:
    places = list(range(4))
    Random("0/vqav2/q/order=permuted:2").shuffle(places)
    assert changed("order=permuted:2").drawn == tuple(str(place) for place in places)


def test_a_blank_query_leaves_the_shots() -> None:
    made = changed("query=blank")
    assert made.shots == tuple(SHOTS) and keys((made.query,)) == [("blank-1:12x8",)]
    assert changed("query=blank", query=replace(QUERY, images=())).changed == 0


def test_changed_samples_are_rendered_as_changed() -> None:
    """The examples of a template are kept by id: a changed one has an id of its own."""
    prompter = prompts.Prompter("completion", prompts.flamingo_vqa())
    asked = {
        name: prompter(QUERY, changed(name).shots)
        for name in controls.CONTROLS
        if name != "query=blank"
    }
    plain = prompter(QUERY, SHOTS)
    assert [name for name, prompt in asked.items() if prompt == plain] == ["pictures=none"]


@given(st.lists(st.sampled_from("abc"), max_size=6), st.integers(0, 50))
def test_a_derangement_permutes_and_moves_what_it_can(values: list[str], seed: int) -> None:
    sources = controls.deranged(values, [0] * len(values), Random(seed))
    assert sorted(sources) == list(range(len(values)))
    moved = sum(values[place] != values[at] for place, at in enumerate(sources))
    most = max((values.count(value) for value in values), default=0)
    assert moved == 0 if most == len(values) else moved > 0
    if 2 * most <= len(values) <= 4:
        assert moved == len(values)


def test_names_stand_for_what_they_say() -> None:
    assert controls.named(["blind", "query=blank", "order=permuted:02"]) == (
        "query=blank",
        "order=permuted:2",
    )
    assert set(controls.named(["all"])) == {
        *controls.CONTROLS, "order=permuted:1", "order=permuted:2", "order=permuted:3",
    }  # fmt: skip
    with pytest.raises(UsageError, match="did you mean 'pictures=blank'"):
        controls.named(["pictures=blanc"])


def test_foreign_shots_never_show_the_querys_picture() -> None:
    shots = Shots("other", 0, POOL)
    query = replace(QUERY, images=(Named("p7"),))
    for count in (1, 8, 30):
        picked = controls.foreign_shots(shots, query, "mine", count)
        assert len(picked) == count and ("p7",) not in keys(tuple(picked))
    first = controls.foreign_shots(shots, QUERY, "mine", 4)
    assert first == shots.pick(Sample(id="mine/q"), 4)


# -- the cells that they make ----------------------------------------------------------------------

Go = Callable[..., list[logs.Cell]]


def entries(folder: Path, control: str, shots: int = 4) -> dict[str, logs.Entry]:
    with logs.Log(folder) as log:
        cell = next(c for c in log.shown() if (c.control or "", c.shots) == (control, shots))
        return {entry.sample.id: entry for entry in log.entries(cell.key)}


@pytest.mark.slow
def test_every_control_is_a_cell_beside_its_plain_one(run: Go, tmp_path: Path) -> None:
    names = controls.named(["all"])
    cells = run("vqav2", shots=(0, 4), limit=6, controls=names)
    assert [(cell.shots, cell.control) for cell in cells] == [
        (0, None), (0, "query=blank"), (4, None), *((4, name) for name in names),
    ]  # fmt: skip
    plain = entries(tmp_path / "run", "")
    for cell in cells[3:]:
        found = entries(tmp_path / "run", cell.control or "")
        assert found.keys() == plain.keys() and cell.n_changed == 6
        for id, entry in found.items():
            assert sorted(entry.shot_ids) == sorted(plain[id].shot_ids)
            assert entry.prompt != plain[id].prompt and entry.sample == plain[id].sample
    assert len({cell.key for cell in cells}) == len(cells)


def test_foreign_shots_speak_as_their_own_benchmark(run: Go, tmp_path: Path) -> None:
    cells = run("vqav2", shots=(2,), limit=3, controls=("support=foreign:coco",))
    assert cells[1].n_changed == 3
    for entry in entries(tmp_path / "run", "support=foreign:coco", 2).values():
        assert entry.prompt.count("Output:") == 2 and entry.prompt.count("Question:") == 1


def test_a_zero_shot_benchmark_has_its_blind_score(run: Go) -> None:
    cells = run("mme", limit=4, controls=("query=blank",))
    assert [cell.control for cell in cells] == [None, "query=blank"]


@pytest.mark.slow
def test_captions_run_one_of_two_controls_that_are_the_same(run: Go) -> None:
    cells = run("coco", shots=(2,), limit=2, controls=("pictures=swapped", "answers=shuffled"))
    assert [cell.control for cell in cells] == [None, "pictures=swapped"]


def test_prompts_that_a_control_leaves_as_they_are_cost_nothing(run: Go) -> None:
    model = Fake()
    plain, swapped = run("vqav2", shots=(1,), limit=5, controls=("pictures=swapped",), model=model)
    assert model.answered == 5 and swapped.n_changed == 0 and swapped.value == plain.value


@pytest.mark.slow
def test_the_plain_cell_is_the_same_without_controls(run: Go, tmp_path: Path) -> None:
    alone = run("vqav2", shots=(4,), limit=5, folder=tmp_path / "alone")
    beside = run(
        "vqav2", shots=(4,), limit=5, folder=tmp_path / "beside", controls=("query=blank",)
    )
    assert alone[0].key == beside[0].key and alone[0].value == beside[0].value


def test_controls_that_change_shots_need_shots() -> None:
    with pytest.raises(UsageError, match=r"at 0 shots only query=blank \(blind\) and"):
        evaluate(Fake(), "vqav2", [0], limit=1, data="demo", controls=["order=reversed"])
    with pytest.raises(UsageError, match="mme has no shots to show"):
        evaluate(Fake(), "vqav2", [2], limit=1, data="demo", controls="support=foreign:mme")
    with pytest.raises(UsageError, match="nothing to run"):
        evaluate(Fake(), "vqav2", [2], limit=1, data="demo", controls="support=foreign:vqav2")


def test_what_is_skipped_at_zero_shots_is_said_once() -> None:
    plan = Plan(tasks=[registry.load("vqav2")], shots=(0, 4), controls=controls.named(["all"]))
    assert "pictures=none" in plan.skipped_controls and "query=blank" not in plan.skipped_controls
    assert not Plan(tasks=plan.tasks, shots=(4,), controls=plan.controls).skipped_controls


# -- what is said of them --------------------------------------------------------------------------


@pytest.mark.slow
def test_results_and_their_file_say_what_the_shots_taught(tmp_path: Path) -> None:
    results = evaluate(
        Fake(says=_last_answer),
        "vqav2",
        [0, 4],
        limit=40,
        data="demo",
        controls="blind,pictures=blank,pictures=none,order=reversed",
        output=tmp_path,
        progress=False,
        samples_shown=0,
    )
    found = results.diagnosis("vqav2")
    assert found.shots == 4 and found.verdict == "copies the last shot"
    assert found["picture_tokens"].minuend == "pictures=blank" and found["blind"].value == 0
    assert found["picture_content"].changed == 0 and found.rates["copy"].value == 100
    assert found.majority_baseline is not None
    assert [point.shots for point in results.curve("vqav2").points] == [0, 4]
    written = json.loads((tmp_path / "results.json").read_text())["in_context"]
    assert written["diagnoses"][-1]["sentence"] == found.sentence
    with pytest.raises(UsageError, match="no control of vqav2 at 2 shots"):
        results.diagnosis("vqav2", 2)


def _last_answer(request: Request) -> str:
    said = [turn.content[0] for turn in request.prompt.turns if turn.role == "assistant"]
    return str(said[-1]) if said else "nothing"


@pytest.mark.slow
def test_a_log_without_the_shots_answers_says_what_is_missing(run: Go, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    cells = run("vqav2", shots=(2,), limit=5, controls=("query=blank",))
    with logs.Log(folder, writing=True) as log:
        log._db.execute("DROP TABLE shot")
    (found,), _ = icl.read({folder: cells})
    assert found.rates == {} and "does not hold the answers that the shots show" in found.notes[0]
    assert found["blind"].n == 5


@pytest.mark.slow
def test_samples_that_lost_other_shots_are_left_out_of_a_contrast(run: Go, tmp_path: Path) -> None:
    """A prompt without pictures is shorter, so that more of its shots may fit."""
    folder = tmp_path / "run"
    cells = run("vqav2", shots=(4,), limit=8, controls=("pictures=none", "pictures=blank"))
    with logs.Log(folder, writing=True) as log:
        roster = log.roster(cells[0].key)
        (key,) = log._db.execute(
            "SELECT answer FROM entry WHERE roster=? AND position=3", (roster,)
        ).fetchone()
        log._db.execute("UPDATE answer SET notes=? WHERE key=?", ('{"dropped_shots": 1}', key))
    (found,), _ = icl.read({folder: cells})
    assert (found["picture_content"].left_out, found["picture_content"].n) == (1, 7)


@pytest.mark.slow
def test_none_alone_is_said_to_mislead(run: Go, tmp_path: Path) -> None:
    cells = run("vqav2", shots=(2,), limit=5, controls=("pictures=none",))
    (found,), _ = icl.read({tmp_path / "run": cells})
    assert found.contrasts == () and "pictures=none alone misleads" in found.notes[0]


@pytest.mark.slow
def test_controls_without_new_pictures_encode_nothing_anew(run: Go, tmp_path: Path) -> None:
    def asked(*names: str) -> tuple[float, list[int]]:
        model = models.load("demo")
        cells = run(
            "vqav2",
            shots=(2,),
            limit=6,
            controls=names,
            model=model,
            folder=tmp_path / str(len(names)),
        )
        encoded = sum(cell.statistics["pictures_encoded"] for cell in cells)
        return encoded, [cell.statistics.get("pictures_new", 0) for cell in cells[1:]]

    plain, _ = asked()
    same = ("pictures=none", "pictures=swapped", "answers=shuffled", "order=reversed")
    assert asked(*same) == (plain, [0, 0, 0, 0])
    encoded, new = asked(*same, "pictures=blank", "query=blank")
    assert encoded == plain + 1 and new == [0, 0, 0, 0, 1, 0]
