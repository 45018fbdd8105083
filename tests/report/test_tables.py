"""Tables: figures where the papers have them, with all that qualifies them."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from markupsafe import escape

from infimm_eval import report
from infimm_eval.errors import UsageError
from infimm_eval.logs import FILE, read
from infimm_eval.published import Number
from infimm_eval.report.frame import frame
from infimm_eval.report.gather import gather
from infimm_eval.report.markdown import escaped
from infimm_eval.report.protocol import differences, protocols
from infimm_eval.report.series import breakdowns, over_steps, slopes
from infimm_eval.report.tables import Figure, Table, against, figure, pairs, tables
from tests.report.made import HOSTILE, Made, MakeRun


def measured(table: Table, column: str, shots: int = 0) -> Figure:
    (entry,) = (
        line.entries[column]
        for line in table.lines
        if line.measured and line.shots == shots and column in line.entries
    )
    assert isinstance(entry, Figure)
    return entry


def test_a_measured_row_stands_above_the_published_row_of_its_model(make_run: MakeRun) -> None:
    (table,) = tables(gather([make_run()]))
    assert [(line.name, line.shots) for line in table.lines][:4] == [
        ("Infi-MM/infimm-zephyr", 0),
        ("InfiMM-Zephyr-7B", 0),
        ("Infi-MM/infimm-zephyr", 4),
        ("InfiMM-Zephyr-7B", 4),
    ]
    assert len([line for line in table.lines if not line.measured]) == 10
    below = table.lines[1].entries["COCO CIDEr"]
    assert isinstance(below, Number) and below.value == 78.8


@pytest.mark.slow
def test_the_difference_says_whether_the_published_number_lies_in_the_interval(
    make_run: MakeRun,
) -> None:
    run = make_run("run", Made(value=52.0, ci95=(33.0, 60.0)), Made(shots=4, value=52.0))
    inside, outside = pairs(gather([run]))
    assert [n.value for n in inside.figure.against] == [33.7]
    assert inside.figure.within(inside.figure.against[0]) is True
    assert outside.figure.within(Number("", "", "", "", 4, "", 60.5, "", "")) is False
    page = report.write([run], run.parent)[0].read_text(encoding="utf-8")
    assert "+18.3, inside" in page and "−7.1, inside" in page  # noqa: RUF001
    assert "the code base descends from OpenFlamingo" in page


def test_a_chat_models_figure_is_also_set_beside_the_multi_task_stage(make_run: MakeRun) -> None:
    made = Made(task="okvqa", title="OK-VQA", columns={"OK-VQA acc": "accuracy"})
    (pair,) = pairs(gather([make_run("run", made)]))
    assert [(n.stage, n.value) for n in pair.figure.against] == [
        ("pretraining", 17.1),
        ("multi-task", 55.4),
    ]


def test_demo_data_is_labelled_and_never_compared_with_a_paper(make_run: MakeRun) -> None:
    run = make_run("run", Made(demo=True))
    runs = gather([run])
    assert pairs(runs) == []
    (table,) = tables(runs)
    assert table.lines[0].demo
    assert "drawn scenes" in report.screen(read(run))
    text = report.write([run], run.parent)[0].read_text(encoding="utf-8")
    assert "> **Demo.**" in text and "(demo)" in text
    assert "Beside the published" not in text


def test_the_demo_model_is_told_by_its_name(make_run: MakeRun) -> None:
    assert "tiny model" in report.screen(read(make_run("run", model="demo")))


@pytest.mark.slow
def test_marks_say_complete_limited_and_unscored(make_run: MakeRun) -> None:
    run = make_run(
        "run",
        Made(values=(1.0, 1.0, 0.0, 0.0)),
        Made(shots=4, limit=4, complete=False),
        Made(shots=8, values=(1.0, 1.0, 0.0, 0.0), complete=False),
    )
    (table,) = tables(gather([run]))
    assert measured(table, "VQAv2 acc").marks == ("complete",)
    assert measured(table, "VQAv2 acc", 4).marks == ("limited to 4", "1 unscored")
    assert measured(table, "VQAv2 acc", 8).marks == ("incomplete",)


def test_seeds_become_a_mean_and_a_deviation(make_run: MakeRun) -> None:
    seeds = (Made(seed=seed, value=50.0 + 2 * seed, ci95=(40.0 + seed, 60.0)) for seed in range(3))
    run = make_run("run", *seeds)
    (table,) = tables(gather([run]))
    figure = measured(table, "VQAv2 acc")
    assert (figure.value, figure.deviation, figure.seeds) == (52.0, 2.0, 3)
    assert figure.interval == (41.0, 60.0)
    assert "52.0 ± 2.0" in report.screen(read(run)) and "x 3 seeds" in report.screen(read(run))


def test_one_task_may_fill_two_columns_and_only_its_headline_has_an_interval(
    make_run: MakeRun,
) -> None:
    run = make_run(
        "run",
        Made(
            task="mme",
            title="MME",
            headline="perception",
            columns={"MME perception": "perception", "MME cognition": "cognition"},
            value=1398.2,
            ci95=(1370.0, 1425.0),
            metrics={"perception": 1398.2, "cognition": 331.1},
            breakdown={
                "score": {"existence": 190.0, "OCR": 95.0},
                "accuracy": {"existence": 98.0, "OCR": 60.0},
            },
        ),
    )
    runs = gather([run])
    (table,) = tables(runs)
    assert measured(table, "MME perception").interval == (1370.0, 1425.0)
    cognition = measured(table, "MME cognition")
    assert (cognition.value, cognition.interval) == (331.1, None)
    score, accuracy = breakdowns(runs)
    assert (score.title, score.top) == ("MME: score by group", 200.0)
    assert (accuracy.title, accuracy.top) == ("MME: accuracy by group", 100.0)


def test_mmmu_disciplines_stand_beside_the_leaderboards(make_run: MakeRun) -> None:
    disciplines = {"Art and Design": 55.0, "Humanities and Social Science": 60.1}
    run = make_run(
        "run",
        Made(
            task="mmmu",
            title="MMMU val",
            columns={"MMMU val": "accuracy"},
            breakdown={"discipline": disciplines},
        ),
    )
    table = tables(gather([run]))[1]
    assert table.title == "MMMU val by discipline"
    assert measured(table, "Art & Design").value == 55.0
    assert measured(table, "Humanities & Social Science").value == 60.1
    assert table.lines[1].name == "InfiMM-Zephyr-7B"


def test_a_benchmark_that_no_paper_has_gets_a_table_of_its_own(make_run: MakeRun) -> None:
    run = make_run("run", Made(task="vizwiz", title="VizWiz", columns={}))
    (table,) = tables(gather([run]))
    assert (table.title, table.columns) == ("Further benchmarks", ("VizWiz (accuracy)",))


def test_a_figure_that_could_not_be_scored_is_a_dash_not_a_zero(make_run: MakeRun) -> None:
    nothing = Made(values=(None, None), answers=("a", "b"), metrics={}, breakdown={}, ci95=None)
    run = make_run("run", nothing)
    (table,) = tables(gather([run]))
    assert measured(table, "VQAv2 acc").value is None
    row = report.screen(read(run)).splitlines()[1]
    assert "–" in row and "2 unscored" in row  # noqa: RUF001
    report.write([run], run.parent)


def test_checkpoints_of_one_model_are_told_apart_by_step_and_drawn_over_it(
    make_run: MakeRun,
) -> None:
    late = make_run("late", Made(value=60.0), model="mine", step=2000)
    early = make_run("early", Made(value=50.0), model="mine", step=1000)
    runs = gather([late, early])
    assert [run.name for run in runs] == ["mine (step 2,000)", "mine (step 1,000)"]
    (chart,) = over_steps(runs)
    (track,) = chart.tracks
    assert [(point.x, point.figure.value) for point in track.points] == [(1000, 50.0), (2000, 60.0)]


@pytest.mark.slow
def test_runs_of_one_model_without_steps_are_told_apart_by_folder(make_run: MakeRun) -> None:
    runs = gather([make_run("greedy", model="mine"), make_run("beam", model="mine")])
    assert [run.name for run in runs] == ["mine (greedy)", "mine (beam)"]


@pytest.mark.slow
def test_two_models_stand_in_one_table_and_chart(make_run: MakeRun) -> None:
    runs = gather([make_run("a", model="first"), make_run("b", model="second")])
    (table,) = tables(runs)
    assert [line.name for line in table.lines if line.measured] == ["first"] * 2 + ["second"] * 2
    (chart,) = slopes(runs)
    assert [track.name for track in chart.tracks] == ["first", "second"]
    assert not chart.flat


@pytest.mark.slow
def test_a_folder_of_run_folders_stands_for_its_runs(make_run: MakeRun) -> None:
    folder = make_run("a", model="first").parent
    make_run("b", model="second")
    assert [run.model for run in gather([folder])] == ["first", "second"]


def test_the_protocol_shows_whatever_the_run_recorded(make_run: MakeRun) -> None:
    first = protocols(gather([make_run()]))[0]
    facts = {fact.label: fact.value for _, facts in first.sections for fact in facts}
    assert facts["decoding · beams"] == "3"
    assert facts["decoding · stop"] == r"'\n', <|endofchunk|>"
    assert facts["template"].startswith("{{ images }}Question:")
    assert facts["answers the scorer could not read"] == "1 of 4 (25.0 %)"
    assert "completion prompts, 0 shots, 2 text-only examples, beam 3" in first.summary


@pytest.mark.slow
def test_names_and_answers_cannot_break_the_markdown(make_run: MakeRun) -> None:
    for name in HOSTILE:
        run = make_run(
            f"run{len(name)}",
            Made(
                title=name,
                columns={},
                headline="acc|uracy",
                breakdown={"a|b": {name: 1.0, "x": 2.0}},
            ),
            model=name,
        )
        text = report.write([run], run)[0].read_text(encoding="utf-8")
        assert "<script" not in text and "<img" not in text and "<!--" not in text
        rows = [line for line in text.split("\n") if line.startswith("| ")]
        widths = {row.replace("\\|", "").count("|") for row in rows}
        assert widths <= {3, 4}, name


def test_the_terminal_table_is_aligned_and_sends_no_control_characters(make_run: MakeRun) -> None:
    run = make_run("run", Made(title="图像 \x1b[31m red"), Made(task="z", title="plain"))
    lines = report.screen(read(run)).splitlines()
    assert "\x1b" not in "".join(lines) and r"\u001b" in lines[1]
    assert len(lines) == 3


# -- runs that cannot be reported ------------------------------------------------------------


def test_a_folder_without_a_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a run folder.*run\.db"):
        report.write([tmp_path], tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        report.write([tmp_path / "none"], tmp_path)


@pytest.mark.slow
def test_a_damaged_run_is_named_and_nothing_is_written(make_run: MakeRun, tmp_path: Path) -> None:
    good, bad = make_run("good"), make_run("bad")
    for extra in bad.glob("run.db-*"):
        extra.unlink()
    data = bytearray((bad / FILE).read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    (bad / FILE).write_bytes(bytes(data))
    with pytest.raises(UsageError, match=r"bad.*run\.db"):
        report.write([good, bad], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_of_another_schema_is_named_with_both_versions(make_run: MakeRun) -> None:
    run = make_run()
    with sqlite3.connect(run / FILE) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(UsageError, match="schema 99, this version reads"):
        report.write([run], run)


def test_a_damaged_cell_is_named(make_run: MakeRun) -> None:
    run = make_run()
    with sqlite3.connect(run / FILE) as db:
        db.execute("UPDATE cell SET body='{' WHERE roster IN (SELECT id FROM roster WHERE shots=0)")
    db.close()
    with pytest.raises(UsageError, match=r"run\.db.*cell cannot be read"):
        report.write([run], run)


def test_a_cell_that_was_begun_is_said_not_to_be_finished(make_run: MakeRun) -> None:
    run = make_run()
    with sqlite3.connect(run / FILE) as db:
        db.execute("DELETE FROM cell WHERE roster IN (SELECT id FROM roster WHERE shots=4)")
    db.close()
    text = report.write([run], run)[0].read_text(encoding="utf-8")
    assert "**Not finished.**" in text and "4 shots, seed 0: 4 of 4 answered" in text
    with sqlite3.connect(run / FILE) as db:
        db.execute("DELETE FROM cell")
    db.close()
    with pytest.raises(UsageError, match=r"no finished cell.*continue it"):
        report.write([run], run)


@pytest.mark.slow
def test_an_unwritable_output_is_one_line(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="choose another --output"):
        report.write([run], tmp_path / "file" / "inner")


OPEN_FLAMINGO = "openflamingo/OpenFlamingo-9B-vitl-mpt7b"
LADDER = (0, 1, 2, 4, 8, 16, 32)


def names(table: Table) -> set[str]:
    return {line.name for line in table.lines if not line.measured}


@pytest.mark.slow
def test_every_printed_row_has_its_notes_beside_it_in_both_reports(make_run: MakeRun) -> None:
    mme = Made(task="mme", title="MME", columns={"MME perception": "accuracy"})
    run = make_run("run", Made(), Made(shots=4), mme, model="HuggingFaceM4/idefics-80b")
    text, html = (path.read_text(encoding="utf-8") for path in report.write([run], run.parent))
    notes = dict(re.findall('<li id="(note-[^"]*)">(.*?)</li>', html))
    html = re.sub('href="#(note-[^"]*)"', lambda found: notes[found[1]], html)
    pages = [text, html]
    for table in tables(gather([run])):
        rows = [line for line in table.lines if not line.measured]
        assert rows
        for line in rows:
            for number in line.entries.values():
                assert isinstance(number, Number)
                remarks = [remark for remark in number.note.split("; ") if remark]
                for page, write in zip(pages, (escaped, escape), strict=True):
                    rows_of_page = [at for at in re.split(r"\n\||<tr", page) if line.name in at]
                    assert any(all(str(write(r)) in at for r in remarks) for at in rows_of_page)


def test_where_two_cards_disagree_both_figures_stand_and_say_so(make_run: MakeRun) -> None:
    run = make_run("run", Made(shots=4), model="HuggingFaceM4/idefics-80b")
    (table,) = tables(gather([run]))
    printed = {
        line.name: number
        for line in table.lines
        if isinstance(number := line.entries.get("VQAv2 acc"), Number) and number.shots == 4
        if "80B" in line.name and "Instruct" not in line.name
    }
    assert {name: number.value for name, number in printed.items()} == {
        "IDEFICS-80B": 64.6,
        "IDEFICS-80B, IDEFICS model card": 63.6,
    }
    assert "IDEFICS' own card says 63.6" in printed["IDEFICS-80B"].note
    (pair,) = pairs(gather([run]))
    assert [number.value for number in pair.figure.against] == [64.6, 63.6]


@pytest.mark.slow
def test_tables_show_the_runs_own_family_at_its_own_shots(make_run: MakeRun) -> None:
    run = make_run("run", *(Made(shots=shots) for shots in LADDER), model=OPEN_FLAMINGO)
    (table,) = tables(gather([run]))
    assert [line.shots for line in table.lines if line.measured] == list(LADDER)
    assert {"OpenFlamingo-3B", "OpenFlamingo-9B", "Flamingo-9B"} <= names(table)
    assert not {name for name in names(table) if "IDEFICS" in name or "InfiMM" in name}
    place = [line.name for line in table.lines].index("OpenFlamingo-9B")
    assert table.lines[place - 1].measured and table.lines[place - 1].shots == 0
    assert "VizWiz acc" not in table.columns
    (chart,) = slopes(gather([run]))
    drawn = frame(chart, 320, 190)
    places = [drawn.x(shots) for shots in LADDER]
    assert min(b - a for a, b in pairwise(places)) > 20
    assert (places[0], places[-1]) == (drawn.left, drawn.width - drawn.right)


def test_whose_printed_rows_stand_in_a_table_can_be_chosen(make_run: MakeRun) -> None:
    runs = gather([make_run("run", Made())])
    assert names(tables(runs, "none")[0]) == set()
    assert {"OpenFlamingo-9B", "IDEFICS-9B-Instruct"} <= names(tables(runs, "all")[0])
    chosen = names(tables(runs, "idefics, OpenFlamingo-9B")[0])
    assert {"IDEFICS-80B", "OpenFlamingo-9B"} <= chosen and "InfiMM-Zephyr-7B" not in chosen
    with pytest.raises(UsageError, match="unknown published system 'Kosmos-2'"):
        tables(runs, "Kosmos-2")


def test_shots_by_similarity_are_compared_with_those_of_the_paper(make_run: MakeRun) -> None:
    made = Made(shots=4, columns={"COCO CIDEr": "accuracy"})
    (cell,) = read(make_run("run", made, model=OPEN_FLAMINGO))
    assert [n.value for n in against("COCO CIDEr", cell)] == [89.0]
    similar = replace(cell, support="rices")
    assert [n.value for n in against("COCO CIDEr", similar)] == [93.1]


def test_a_format_is_compared_with_what_was_published_in_it(make_run: MakeRun) -> None:
    (cell,) = read(make_run("run", Made(shots=4), model=OPEN_FLAMINGO))
    told = cell.settings["protocol"]
    for name, values in (("openflamingo", [54.8, 49.4]), ("openflamingo-2023-06", [49.4, 54.8])):
        settings = {**cell.settings, "protocol": {**told, "prompt_format": name}}
        asked = replace(cell, settings=settings)
        assert [n.value for n in against("VQAv2 acc", asked)] == values


@pytest.mark.slow
def test_a_report_says_in_what_protocols_differ(make_run: MakeRun) -> None:
    run = make_run("run", Made(shots=4), model="HuggingFaceM4/idefics-9b")
    (pair,) = pairs(gather([run]))
    (number,) = pair.figure.against
    assert differences(pair.cell, 3, number) == (
        "prompt format (infimm, published idefics), beams (3, published 1), "
        "seeds (3, published 1), split (val, published test-dev)"
    )
    bare = replace(pair.cell, shots=0)
    assert "text-only examples" not in differences(bare, 1, number)
    told = {**pair.cell.settings["protocol"], "zero_shot_demos": 0}
    bare = replace(bare, settings={**bare.settings, "protocol": told})
    assert "text-only examples (0, published 2)" in differences(bare, 1, number)
    assert "shots (fixed, published random)" in differences(
        replace(pair.cell, support="fixed"), 1, number
    )
    for path in report.write([run], run.parent):
        assert "split (val, published test-dev)" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_figure_says_how_many_prompts_lost_how_many_shots(make_run: MakeRun) -> None:
    (cell,) = read(make_run("run", Made(shots=32)))
    short = figure([replace(cell, shortened=3, lost_shots=40)], "accuracy")
    assert "3 prompts without some shots (40 in all)" in short.marks
