"""Baseline files, and the formats that other programs read."""

from __future__ import annotations

import gzip
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from infimm_eval import logs
from infimm_eval.compare import (
    Cell,
    Tolerance,
    Tolerances,
    as_json,
    compare,
    gate,
    junit,
    load,
    markdown,
    plain_text,
    save_baseline,
    with_texts,
)
from infimm_eval.errors import UsageError
from infimm_eval.types import Unit
from tests.report.made import Made, maker

HOSTILE = "</td><script>alert(1)</script> | @everyone `x` \x00\ud800\n*b*"

GOLDEN = Path(__file__).parent / "golden"


def cell(values: list[float], task: str = "vqav2", **changes: Any) -> Cell:
    made = Cell(
        task=task,
        title=task.upper(),
        shots=0,
        seed=0,
        model="some/model",
        headline="accuracy",
        value=100 * sum(values) / len(values),
        scale=100.0,
        n=len(values),
        unscored=0,
        complete=True,
        settings={"protocol": {"decoding": {"stop": ["\n"]}}, "model": {}},
        units=[Unit(f"q{i}", f"p{i // 3}", v) for i, v in enumerate(values)],
    )
    return replace(made, **changes)


# -- baselines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base.json", "base.json.gz"])
def test_a_baseline_gives_back_what_was_saved_to_the_last_bit(tmp_path: Path, name: str) -> None:
    strata = [Unit("a", "", 0.1 + 0.2, 2.0, "x"), Unit("a", "", math.pi / 10, 1.0, "y")]
    cells = [
        cell([1.0, 0.0, 0.3, 1 / 3] * 20),
        cell([0.5], "mme", units=strata, limit=1, complete=False, value=None),
        cell(
            [1.0, 0.0], "coco", units=[Unit("é\u2028", "é\u2028", 1.0), Unit(HOSTILE, HOSTILE, 0.0)]
        ),
    ]
    file = tmp_path / name
    save_baseline(cells, file)
    assert load(file) == cells
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_baseline_is_small_and_the_same_every_time(tmp_path: Path) -> None:
    cells = [cell([0.0, 0.3, 0.6, 0.9, 1.0] * 2000)]
    for name in ("one.json", "two.json", "one.gz", "two.gz"):
        save_baseline(cells, tmp_path / name)
    assert (tmp_path / "one.json").stat().st_size < 25 * 10_000
    assert (tmp_path / "one.gz").stat().st_size < 5 * 10_000
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_a_baseline_compares_like_the_run_it_was_made_from(tmp_path: Path) -> None:
    base, new = [cell([1.0, 0.3] * 60)], [cell([0.6, 0.3] * 60)]
    save_baseline(base, tmp_path / "base.json")
    assert compare(load(tmp_path / "base.json"), new) == compare(base, new)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a readable baseline"),
        (b'{"baseline": 1, "cells": [', "not a readable baseline"),
        (b"\xff\xfe\x00", "not a readable baseline"),
        (gzip.compress(b'{"baseline": 1}' * 100, mtime=0)[:-20], "not a readable baseline"),
        (b"[" * 100_000, "not a readable baseline"),
        (b'{"baseline": 1, "cells": [' + b"9" * 400 + b"]}", "not a readable baseline"),
        (b"[]", "is not a baseline"),
        (b'{"schema": 1, "cells": []}', "is not a baseline"),
        (b'{"baseline": 0, "cells": []}', "has baseline schema 0, this version reads 1"),
        (b'{"baseline": 3, "cells": []}', "has baseline schema 3, this version reads 1 to 2"),
        (b'{"baseline": 1, "cells": {}}', "no list of cells"),
        (b'{"baseline": 1, "cells": [3]}', "damaged: cell 1"),
        (b'{"baseline": 1, "cells": [{}]}', "damaged: cell 1"),
    ],
)
def test_a_damaged_or_foreign_baseline_is_one_clear_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "base.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        load(file)
    assert "\n" not in str(caught.value) and "--save-baseline" in str(caught.value)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("shots",), "four"),
        (("settings",), None),
        (("units", "value"), [1.0]),
        (("units", "value"), {"all": "one"}),
        (("units", "value"), {"of": [1.0], "at": [0, 1, 0, 0]}),
        (("units", "value"), {"all": math.nan}),
        (("units", "weight"), {"all": 0}),
        (("units", "id"), [1, 2, 3, 4]),
        (("units",), 7),
    ],
)
def test_a_baseline_edited_by_hand_is_one_clear_line(
    tmp_path: Path, where: tuple[str, ...], value: object
) -> None:
    file = tmp_path / "base.json"
    save_baseline([cell([1.0, 0.0, 1.0, 0.5])], file)
    body = json.loads(file.read_text())
    place = body["cells"][0]
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = value
    file.write_text(json.dumps(body))
    with pytest.raises(UsageError, match="damaged: cell 1"):
        load(file)


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be written"):
        save_baseline([], tmp_path / "none" / "base.json")


def test_a_folder_is_read_as_a_run(tmp_path: Path) -> None:
    run = logs.Cell(
        task="coco", title="COCO", shots=4, seed=1, model="m", headline="CIDEr", columns={},
        value=80.0, ci95=None, n=1, unscored=0, unparsed=0, complete=False, metrics={},
        breakdown={}, settings={"protocol": {}}, limit=1,
    )  # fmt: skip
    units = [Unit("1", "1", 0.8)]
    with logs.Log(tmp_path, writing=True) as log:
        log.finish(log.begin("draft", "coco", 4, 1), run, [], [], units)
    (found,) = load(tmp_path)
    assert (found.task, found.value, found.limit, found.units) == ("coco", 80.0, 1, units)
    assert found.finished


def test_a_baseline_and_a_run_of_the_first_schema_compare_as_they_did(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(GOLDEN / "run_of_schema_1.db", tmp_path / "run" / logs.FILE)
    found = compare(load(GOLDEN / "baseline_of_schema_1.json"), load(tmp_path / "run"))
    assert [(row.name, row.verdict) for row in found.rows] == [
        ("MME, 0-shot", "same"), ("VQAv2, 0-shot", "same"), ("VQAv2, 2-shot", "same"),
    ]  # fmt: skip


def scored(name: str, version: int, digest: str | None) -> Cell:
    scorer = {"name": name, "version": version, "digest": digest}
    return cell([1.0, 0.0] * 50, settings={"protocol": {"scorer": scorer}, "model": {}})


@pytest.mark.parametrize("new", [("always", 1, "b"), ("always", 2, "a"), ("evalai", 1, "a")])
def test_cells_of_different_scorers_are_incomparable_and_rescore_mends_it(
    new: tuple[str, int, str],
) -> None:
    (row,) = compare([scored("always", 1, "a")], [scored(*new)]).rows
    assert row.verdict == "incomparable" and any("rescore RUN" in gap for gap in row.gaps)


def test_a_scorer_recorded_by_name_alone_is_its_version_1() -> None:
    (row,) = compare([scored("always", 1, None)], [scored("always", 1, "a")]).rows
    assert row.verdict == "same"
    (row,) = compare([scored("always", 1, None)], [scored("always", 2, "a")]).rows
    assert row.verdict == "incomparable"


# -- formats -----------------------------------------------------------------------------------


def some() -> Any:
    base = [cell([1.0] * 100), cell([1.0, 0.0], "coco"), cell([1.0], "mme")]
    new = [cell([0.0] * 40 + [1.0] * 60), cell([1.0, 0.0], "coco"), cell([1.0], "okvqa")]
    return compare(base, new)


def test_the_table_has_a_line_a_row_and_says_what_is_wrong() -> None:
    text = markdown(some(), gate(some()))
    assert "**Regression: VQAV2, 0-shot.**" in text
    assert "| VQAV2 | 0 | 100.00 | 60.00 | -40.00 [" in text and "**worse** |" in text
    assert "| MME | 0 | 100.00 | - |  | 1 | missing |" in text
    assert "MME, 0-shot: the new run lacks it" in text
    assert "40 samples lost, 0 gained" in text and "and 30 more" in text
    assert "<code>q0</code> | 1 | 0 |" in text


def test_a_terminal_gets_plain_text_with_a_line_a_row() -> None:
    said = plain_text(some(), gate(some()))
    assert "Regression: VQAV2, 0-shot." in said and "MME, 0-shot: the new run lacks it" in said
    assert re.search(r"VQAV2 +0  100\.00   60\.00  -40\.00 \[.*\]  100  worse", said)
    assert "40 samples lost, 0 gained\n  q0  1 -> 0\n  q1  1 -> 0\n  q2  1 -> 0" in said
    assert "and 30 more" in said and not re.search(r"[|*]|&#", said)
    assert "samples lost" not in plain_text(some(), shown=0)


def test_a_terminal_is_steered_by_no_name() -> None:
    base = cell([1.0], title=HOSTILE, model=HOSTILE, units=[Unit("a\x1b[2J", "", 1.0)])
    new = replace(base, units=[Unit("a\x1b[2J", "", 0.0)])
    said = plain_text(compare([base], [new]))
    assert "\x1b" not in said and r"a\u001b[2J  1 -> 0" in said


def test_changed_samples_show_what_was_asked_said_and_expected(tmp_path: Path) -> None:
    make = maker(tmp_path)
    base = make("base", Made(values=(1.0, 1.0), answers=("yes", "two")))
    new = make("new", Made(values=(1.0, 0.0), answers=("yes", "<b>three</b>\x1b" + "!" * 500)))
    found = compare(load(base), load(new))
    assert found == with_texts(found, base, new, 0)
    told = with_texts(found, base, new, 10)
    said = plain_text(told)
    assert "q1  1 -> 0  What is in picture 1?" in said
    assert "    base      two\n    new       <b>three</b>\\u001b!!!" in said
    assert "!" * 300 not in said
    assert "    expected  yes / maybe / <b>three" in said
    table = markdown(told)
    assert "| two | &#60;b&#62;three" in table and "<b>" not in table and "… |" in table
    (change,) = as_json(told, gate(told))["rows"][0]["changes"]
    assert change["said"]["before"] == "two" and change["said"]["after"].endswith("!" * 500)


def test_a_baseline_has_no_texts_and_the_other_side_still_has(tmp_path: Path) -> None:
    make = maker(tmp_path)
    base = make("base", Made(values=(1.0,), answers=("yes",)))
    new = make("new", Made(values=(0.0,), answers=("no",)))
    save_baseline(load(base), tmp_path / "b.json")
    found = compare(load(tmp_path / "b.json"), load(new))
    said = plain_text(with_texts(found, tmp_path / "b.json", new, 10))
    assert "    base      (not kept)\n    new       no\n" in said


def test_names_cannot_break_out_of_the_table() -> None:
    base = cell([1.0], title=HOSTILE, model=HOSTILE, units=[Unit(HOSTILE, "", 1.0, 1.0, HOSTILE)])
    new = replace(base, units=[Unit(HOSTILE, "", 0.0, 1.0, HOSTILE)])
    text = markdown(compare([base], [new]))
    assert text.encode() and "<script" not in text and "@everyone" not in text and "`" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("| &")]
    assert line.count("|") == 8


def test_the_comment_never_outgrows_a_pull_request() -> None:
    units = [Unit(f"{i}" * 200, "", 1.0) for i in range(100)]
    base = [cell([1.0], f"task{i}", units=units) for i in range(40)]
    new = [replace(c, units=[replace(u, value=0.0) for u in units]) for c in base]
    text = markdown(compare(base, new), shown=50)
    assert 20_000 < len(text) < 65_536 and "rows are left out here for length" in text


def test_junit_fails_what_regressed_and_errs_on_gaps() -> None:
    suite = ElementTree.fromstring(junit(some(), gate(some())))[0]
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    kinds = {case.get("classname"): case[0].tag for case in suite}
    assert kinds == {
        "infimm_eval.vqav2": "failure",
        "infimm_eval.coco": "system-out",
        "infimm_eval.mme": "error",
        "infimm_eval.okvqa": "skipped",
    }
    assert "q0: 1 to 0" in (suite[0][0].text or "")
    assert "100.00 to 60.00; drop beyond chance, p < 0.001" in (suite[0][0].get("message") or "")


def test_junit_holds_any_name() -> None:
    base = [cell([1.0], HOSTILE, model=HOSTILE, headline=HOSTILE)]
    suite = ElementTree.fromstring(junit(compare(base, base), gate(compare(base, base))))[0]
    assert "<script>" in (suite[0].get("name") or "")


def test_json_is_json_and_says_everything() -> None:
    body = json.loads(json.dumps(as_json(some(), gate(some())), allow_nan=False))
    assert body["exit"] == 1
    assert [row["verdict"] for row in body["rows"]] == ["worse", "same", "missing", "added"]
    assert body["rows"][0]["difference"]["value"] == -40 and body["rows"][0]["regressed"]
    assert len(body["rows"][0]["changes"]) == 40
    assert body["rows"][2]["new"] is None and body["rows"][2]["difference"] is None


def test_a_drop_that_may_be_within_the_allowed_one_is_said_to_be_so() -> None:
    base, new = [cell([1.0] * 100)], [cell([0.0] * 24 + [1.0] * 76)]
    found = compare(base, new, Tolerances(Tolerance(20)))
    assert "not significantly beyond the allowed 20.00" in markdown(found)
    assert gate(found).code == 0


def test_what_was_forced_is_said() -> None:
    other = cell([1.0], settings={"protocol": {"task_version": 2}})
    text = markdown(compare([cell([1.0])], [other], force=True))
    assert "compared by force: decoding.stop" in text
