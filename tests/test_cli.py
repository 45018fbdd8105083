"""The command line as scripts rely on it: what stands where, and what the exit code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infimm_eval import cli, registry
from infimm_eval.logs import Log
from infimm_eval.run import evaluate

Done = tuple[int, str, str]
"""Exit code, stdout, stderr."""


@pytest.fixture
def go(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Done]:
    """Run a command in this process."""

    def command(*words: object) -> Done:
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        return (code, *capsys.readouterr())

    return command


@pytest.fixture
def made(go: Callable[..., Done], tmp_path: Path) -> Callable[..., Path]:
    """A finished run of a fake model: ``made("yes", limit=60)``."""

    def run(says: str = "yes", tasks: str = "vqav2", limit: int = 60) -> Path:
        folder = tmp_path / f"{says}-{tasks}-{limit}"
        asked = ("--model", f"fake:{says}", "--tasks", tasks, "--data", "demo", "--limit", limit)
        code, _, said = go(*asked, "--output", folder, "-q")
        assert (code, said) == (0, "")
        return folder

    return run


Go = Callable[..., Done]
Made = Callable[..., Path]


# -- run -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_verb_means_run(go: Go, tmp_path: Path) -> None:
    for verb in ([], ["run"]):
        out = tmp_path / "-".join(["out", *verb])
        code, table, said = go(
            *verb, "--model", "fake:yes", "--tasks", "vqav2", "--limit", 3, "--data", "demo",
            "--output", out,
        )  # fmt: skip
        assert code == 0 and "VQAv2" in table and "limited to 3" in table
        assert "data demo" in said and "report: " in said
        assert {path.name for path in out.iterdir()} >= {
            *("run.db", "results.json", "report.md", "report.html")
        }


@pytest.mark.slow
def test_results_json_is_what_scripts_were_promised(made: Made) -> None:
    body = json.loads((made(limit=4) / "results.json").read_text())
    assert body["schema"] == 2 and body["model"]["name"] == "fake:yes"
    (cell,) = body["cells"]
    promised = "task shots seed headline value ci95 n unscored complete metrics breakdown settings"
    assert set(promised.split()) <= cell.keys()
    assert (cell["limit"], cell["complete"], cell["n"], len(cell["ci95"])) == (4, False, 4, 2)


@pytest.mark.slow
def test_quiet_says_nothing_on_stderr_and_the_table_on_stdout(go: Go, tmp_path: Path) -> None:
    code, table, said = go(
        *("--model", "fake:yes", "--tasks", "vqav2,mme", "--limit", 2, "--data", "demo", "-q"),
        *("--output", tmp_path / "run", "--shots", "0,2"),
    )
    assert (code, said) == (0, "") and table.count("VQAv2") == 2


def test_zero_shot_benchmarks_are_said_to_be_so(go: Go, tmp_path: Path) -> None:
    words = ("--model", "fake", "--tasks", "mme", "--limit", 2, "--data", "demo", "--shots", "0,4")
    _, _, said = go(*words, "--output", tmp_path / "run")
    assert "zero-shot only, run at 0 shots: mme" in said


@pytest.mark.slow
def test_errors_of_a_model_leave_the_run_incomplete(go: Go, tmp_path: Path) -> None:
    words = ("--tasks", "vqav2", "--limit", 9, "--data", "demo", "--output", tmp_path / "run", "-q")
    assert go("--model", "fake:yes?error_every=3", *words)[0] == 3
    code, _, said = go("--model", "fake:yes?fail_at=2", *words[:-2], tmp_path / "new", "-q")
    assert code == 3 and said.startswith("infimm-eval: the fake model gave way")


def test_withheld_answers_are_no_failure(go: Go, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from dataclasses import replace\n"
        "from infimm_eval import registry\n"
        "whole = registry.load('vqav2:test2015')\n"
        "TASK = replace(whole, name='mine', "
        "sample=lambda row: replace(whole.sample(row), references=()))\n"
    )
    words = ("--model", "fake", "--tasks", plugin, "--limit", 3, "--data", "demo", "-q")
    assert go(*words, "--output", tmp_path / "run")[0] == 0


@pytest.mark.slow
def test_options_may_stand_in_a_file_and_the_command_line_overrules_them(
    go: Go, tmp_path: Path
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        'model = "fake:yes"\ndata = "demo"\ntasks = ["vqav2"]\nshots = [0, 2]\nlimit = 7\n'
        "zero-shot-demos = 1\nquiet = true\n"
        '[prompts.vqav2]\nask = "{{ images }}Q: {{ question }}"\n'
    )
    code, _, said = go("--config", config, "--limit", 3, "--output", tmp_path / "run")
    assert (code, said) == (0, "")
    cells = json.loads((tmp_path / "run" / "results.json").read_text())["cells"]
    assert [(cell["shots"], cell["n"]) for cell in cells] == [(0, 3), (2, 3)]
    protocol = cells[0]["settings"]["protocol"]
    assert protocol["zero_shot_demos"] == 1
    assert protocol["prompt"]["ask"] == "{{ images }}Q: {{ question }}"


@pytest.mark.slow
def test_encoded_pictures_are_kept_for_later_runs(go: Go, tmp_path: Path) -> None:
    def encoded(shots: int) -> dict[str, float]:
        asked = ("--tasks", "vqav2", "--limit", 4, "--shots", shots, "-q")
        out = tmp_path / str(shots)
        code, _, said = go(*asked, "--picture-cache", tmp_path / "kept", "--output", out)
        assert (code, said) == (0, "")
        (cell,) = json.loads((out / "results.json").read_text())["cells"]
        statistics: dict[str, float] = cell["statistics"]
        return statistics

    first = encoded(2)
    assert first["pictures_encoded"] == first["pictures_distinct"] > 4
    later = encoded(0)
    assert "pictures_encoded" not in later
    assert later["pictures_from_disk"] == later["pictures_distinct"] > 0


@pytest.mark.slow
def test_ocr_is_for_benchmarks_that_bring_it(go: Go, tmp_path: Path) -> None:
    words = ("--model", "fake", "--limit", 2, "--data", "demo", "--output", tmp_path / "run", "-q")
    code, _, said = go("--ocr", "--tasks", "vqav2", *words)
    assert code == 2 and "none of these benchmarks brings OCR tokens; textvqa does" in said
    code, table, _ = go("--ocr", "--tasks", "textvqa,vqav2", *words)
    assert code == 0 and "TextVQA with OCR" in table
    assert "with OCR tokens in the prompt" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--tasks vqa2", "unknown task 'vqa2'; did you mean 'vqav2'?"),
        ("--tasks vqav2:test", "unknown split of vqav2 'test'; did you mean 'test"),
        ("--tasks vqav2 --shtos 4", "No such option '--shtos'. Did you mean '--shots'?"),
        ("--tasks vqav2 --shots four", "'four' is no list of whole numbers such as 0,4"),
        ("--tasks vqav2 --shots -1", "'-1' is no list of whole numbers"),
        ("--tasks vqav2 --limit 0", "0 is not in the range x>=1"),
        ("--tasks vqav2 --batch-size few", "'few' is neither auto nor a number"),
        ("--tasks vqav2 --model fkae", "unknown model 'fkae'; did you mean 'fake'?"),
        ("--tasks vqav2 --model fake --data nowhere", "no data folder"),
        ("--tasks vqav2 --model fake --picture-cache x", "--picture-cache is for models that run"),
        ("--model fake", "name the benchmarks: --tasks coco,vqav2, or --tasks all"),
        ("reprot", "unknown command 'reprot'; did you mean 'report'?"),
        ("score --task vqav2", "name one predictions file: score FILE --task TASK"),
        ("show nowhere", "nowhere is not a run folder"),
        ("report nowhere", "nowhere is not a folder; give the --output of a finished run"),
        ("submit nowhere --task vqav2", "'nowhere' does not exist"),
        ("compare nowhere new", "nowhere"),
    ],
)
def test_the_users_mistake_is_one_line_and_exit_code_2(
    words: str, line: str, go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, said = go(*words.split())
    assert (code, printed) == (2, "")
    last = said.splitlines()[-1]
    assert last.startswith("infimm-eval: ") and line in last


def test_a_config_file_with_a_typo_is_named(go: Go, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("shtos = 4\n")
    code, _, said = go("--config", tmp_path / "a.toml")
    assert code == 2 and "a.toml 'shtos'; did you mean 'shots'?" in said
    (tmp_path / "b.toml").write_text("shots = = 4\n")
    code, _, said = go("--config", tmp_path / "b.toml")
    assert code == 2 and "b.toml: " in said and len(said.splitlines()) == 1


# -- finished runs -------------------------------------------------------------------------------


@pytest.mark.slow
def test_show_prints_samples_of_a_run(go: Go, made: Made) -> None:
    code, printed, _ = go("show", made(), "--score", "right", "--limit", 2)
    assert code == 0 and printed.count("answer    yes") == 2 and "expected" in printed


@pytest.mark.slow
def test_report_writes_both_files_where_it_is_told(go: Go, made: Made, tmp_path: Path) -> None:
    code, printed, _ = go("report", made("yes"), made("no"), "--output", tmp_path / "both")
    assert code == 0
    assert printed.split() == [str(tmp_path / "both" / f"report.{kind}") for kind in ("md", "html")]
    text = (tmp_path / "both" / "report.md").read_text()
    assert "fake:yes" in text and "fake:no" in text


@pytest.mark.slow
def test_a_drop_is_a_regression_and_closes_the_gate(go: Go, made: Made, tmp_path: Path) -> None:
    good, bad = made("yes"), made("zzz")
    assert go("compare", good, bad)[0] == 0
    code, text, _ = go("compare", good, bad, "--gate", "--junit", tmp_path / "j.xml")
    assert code == 1 and "Regression" in text
    assert (tmp_path / "j.xml").read_text().count("<failure") == 1
    assert "said" not in text and "new       zzz" in text and "|" not in text
    code, text, _ = go("compare", good, bad, "--format", "markdown", "--samples", 1)
    assert code == 0 and "| Benchmark |" in text and "| zzz |" in text
    file = tmp_path / "c.md"
    assert go("compare", good, bad, "--samples", 1, "--markdown", file)[0] == 0
    written = file.read_text()
    assert len(written.splitlines()) == len(text.rstrip().splitlines()) and "| Picture |" in written
    assert "<img" not in text and "|" not in go("compare", good, bad)[1]
    assert go("compare", good, bad, "--gate", "--tolerance", "vqav2=50")[0] == 0
    assert go("compare", bad, good, "--gate")[0] == 0


@pytest.mark.slow
def test_what_turned_is_shown_with_both_answers_and_the_picture(
    go: Go, made: Made, tmp_path: Path
) -> None:
    good, bad, text, page = made("yes"), made("zzz"), tmp_path / "gate.md", tmp_path / "gate.html"
    code, printed, _ = go("compare", good, bad, "--gate", "--markdown", text, "--html", page,
                          "--tier", "vqav2=advisory", "--require", "vqav2")  # fmt: skip
    assert code == 0 and "VQAv2, 0-shot (advisory)" in printed
    assert "base      yes\n    new       zzz\n" in printed and "| yes | zzz |" in text.read_text()
    (shown, *_) = re.findall(r'<img src="([^"]+)"', text.read_text())
    assert (tmp_path / shown).read_bytes()[8:12] == b"WEBP"
    assert "data:image/webp;base64," in page.read_text() and "zzz (0)" in page.read_text()
    baseline = tmp_path / "baseline.json"
    go("compare", good, "--save-baseline", baseline)
    printed = go("compare", baseline, bad)[1]
    assert "base      (not kept)\n    new       zzz\n" in printed
    code, _, said = go("compare", good, bad, "--gate", "--require", "coco", "--tier", "advisory")
    assert code == 3
    code, _, said = go("compare", good, bad, "--tier", "vqav2=crucial")
    assert code == 2 and "did you mean 'critical'" in said


@pytest.mark.slow
def test_what_is_missing_closes_the_gate_too(go: Go, made: Made) -> None:
    code, text, _ = go("compare", made("yes", "vqav2,mme", 20), made("yes", "vqav2", 20), "--gate")
    assert code == 3 and "Incomplete" in text


@pytest.mark.slow
def test_a_baseline_is_a_small_file_to_compare_with(go: Go, made: Made, tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    code, printed, said = go("compare", made("yes"), "--save-baseline", baseline)
    assert (code, printed) == (0, "") and "baseline: " in said
    code, printed, _ = go("compare", baseline, made("yes"), "--gate", "--json")
    assert code == 0 and json.loads(printed)["rows"][0]["verdict"] == "same"
    code, _, said = go("compare", made("yes"))
    assert code == 2 and "compare BASE NEW" in said


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_submission_scores_what_the_run_scored(go: Go, made: Made, tmp_path: Path) -> None:
    run, path = made("yes", limit=30), tmp_path / "results.json"
    code, _, said = go("submit", run, "--task", "vqav2", "--output", path)
    assert code == 2 and "--limit 30" in said and not path.exists()
    code, printed, _ = go(
        "submit", run, "--task", "vqav2", "--output", path, "--allow-partial", "--data", "demo"
    )
    assert code == 0 and printed == f"{path}: 600 answers, 570 of them empty\n"
    code, printed, said = go(
        "score", "--task", "vqav2", "--predictions", path, "--references", "demo", "--json"
    )
    body = json.loads(printed)
    assert (code, said) == (0, "")
    assert {"task", "scorer", "value", "n", "metrics", "breakdown"} <= body.keys()
    assert (body["n"], body["scorer"]) == (600, "always")
    whole = json.loads((run / "results.json").read_text())["cells"][0]["value"]
    assert body["value"] == pytest.approx(whole * 30 / 600)
    code, printed, _ = go("score", "--task", "vqav2", "--predictions", path, "--references", "demo")
    assert "vqav2 (always), n = 600" in printed and "by answer_type" in printed


# -- about ---------------------------------------------------------------------------------------


def test_tasks_lists_every_benchmark_with_its_scorers(go: Go) -> None:
    code, printed, _ = go("tasks")
    assert code == 0
    for task in registry.select(["all"]):
        assert task.name in printed and task.title in printed
        assert all(scorer.name in printed for scorer in task.scorers)
        assert all(f"{task.name}:{split}" in printed for split in task.splits)


def test_models_lists_what_model_takes(go: Go) -> None:
    code, printed, _ = go("models")
    assert code == 0 and {"demo", "hf:...", "openai:..."} <= set(printed.split())


@pytest.mark.slow
def test_doctor_tells_what_this_machine_has(go: Go) -> None:
    code, printed, _ = go("doctor")
    assert code == (3 if "NO" in printed.split() else 0)
    assert {"python", "torch", "java", "device", "disk"} <= set(printed.split())


@pytest.mark.slow
def test_help_and_version_need_no_heavy_package() -> None:
    check = (
        "import sys; from infimm_eval.cli import main; code = main([sys.argv[1]]); "
        "heavy = {'numpy', 'torch', 'PIL', 'pandas', 'jinja2', 'tqdm'} & set(sys.modules); "
        "sys.exit(code or ', '.join(heavy) or 0)"
    )
    for word, expected in (("--help", "Options of run"), ("--version", "infimm-eval")):
        done = subprocess.run([sys.executable, "-c", check, word], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "") and expected in done.stdout


# -- what nobody foresaw -------------------------------------------------------------------------


def test_a_crash_keeps_its_traceback_and_is_no_regression(
    go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(chosen: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(registry, "select", broken)
    code, _, said = go("--tasks", "vqav2", "--model", "fake")
    assert code == 3 and "Traceback" in said and "nobody thought of this" in said


def test_another_scorer_makes_the_headline(go: Go, tmp_path: Path) -> None:
    asked = ("--model", "fake:yes", "--tasks", "textvqa", "--data", "demo", "--limit", 4)
    out = tmp_path / "out"
    assert go(*asked, "--ruler", "textvqa=official", "--output", out, "-q")[0] == 0
    (cell,) = json.loads((out / "results.json").read_text())["cells"]
    assert cell["settings"]["protocol"]["scorer"]["name"] == "official"
    code, _, said = go(*asked, "--ruler", "textvqa=oficial")
    assert (code, said.count("\n")) == (2, 1) and "did you mean 'official'" in said


def test_a_wording_for_no_task_of_the_run_is_named(go: Go, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        'tasks = ["vqav2"]\nmodel = "fake"\n[prompts.vqav3]\nask = "{{ question }}"\n'
    )
    code, _, said = go("--config", config)
    assert code == 2 and "unknown task in [prompts] 'vqav3'; did you mean 'vqav2'?" in said


def test_options_that_may_be_repeated_stand_in_a_config_too(go: Go, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        'model = "fake:yes"\ndata = "demo"\ntasks = ["textvqa"]\nlimit = 3\n'
        'scorer = ["textvqa=official"]\nmax-new-tokens = 33\n'
    )
    assert go("--config", config, "--output", tmp_path / "run", "-q")[0] == 0
    (cell,) = json.loads((tmp_path / "run" / "results.json").read_text())["cells"]
    assert cell["settings"]["protocol"]["scorer"]["name"] == "official"
    assert cell["settings"]["protocol"]["decoding"]["max_new_tokens"] == 33


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_the_users_mistake(go: Go, made: Made) -> None:
    run = made("yes")
    code, printed, said = go("compare", run, run, "--junit", "/nonexistent/j.xml")
    assert code == 2 and "same" in printed
    assert "cannot write /nonexistent/j.xml: No such file or directory; choose another" in said


def test_a_model_that_calls_exit_is_no_success(go: Go, tmp_path: Path) -> None:
    (tmp_path / "quits.py").write_text(
        "class MODEL:\n    name, style, settings = 'quits', 'completion', {}\n"
        "    def generate(self, requests):\n        raise SystemExit(0)\n"
    )
    words = ("--model", tmp_path / "quits.py", "--tasks", "vqav2", "--data", "demo", "--limit", 2)
    code, _, said = go(*words, "--output", tmp_path / "run", "-q")
    assert code == 3 and "something called sys.exit(0)" in said


def test_the_folder_of_a_model_of_ones_own_is_called_after_its_file() -> None:
    names = ("./constant.py", "../a/my-model.py:NAME", "pkg.mod:NAME")
    assert [evaluate.slug(name) for name in names] == ["constant", "my-model-NAME", "pkg.mod-NAME"]


@pytest.mark.slow
def test_companion_figures_can_be_left_out(go: Go, tmp_path: Path) -> None:
    asked = ("--model", "fake:a red circle", "--tasks", "coco", "--data", "demo", "--limit", 3)
    assert go(*asked, "--no-companions", "--output", tmp_path / "run", "-q")[0] == 0
    (cell,) = json.loads((tmp_path / "run" / "results.json").read_text())["cells"]
    assert set(cell["metrics"]) == {"CIDEr"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--choice", "rank"), "none of these benchmarks has options to rank; "),
        (("--revision", "abc"), "pins a commit of the hub's data, and the data is demo"),
        (("--shots", "4", "--zero-shot-demos", "1"), "is asked at 0 shots"),
        (("--ocr",), "brings OCR tokens; textvqa does"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    go: Go, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    asked = ("--model", "fake:yes", "--tasks", "vqav2", "--data", "demo", "--output", tmp_path)
    code, _, line = go(*asked, *words)
    assert code == 2 and said in line and line.count("\n") == 1


def test_fixed_support_of_zero_shot_benchmarks_is_refused(go: Go, tmp_path: Path) -> None:
    asked = ("--model", "fake:yes", "--tasks", "mmvet", "--data", "demo", "--output", tmp_path)
    code, _, line = go(*asked, "--support", "fixed")
    assert code == 2 and "asked without examples" in line


@pytest.mark.slow
def test_show_names_near_ids_where_none_is_as_asked(go: Go, made: Made) -> None:
    run = made()
    with Log(run) as log:
        (cell,) = log.shown()
        known = next(iter(log.entries(cell.key))).sample.id
    code, out, line = go("show", run, "--id", f"{known}x")
    assert (code, out) == (2, "") and known in line
    code, out, line = go("show", run, "--search", "no such words")
    assert code == 2 and "leave one out" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "\u00b2"], "neither auto nor a number of at least 1"),
        (["--timeout", "nan"], "'nan' is no finite number"),
        (["--wait-for-workers", "inf"], "'inf' is no finite number"),
    ],
)
def test_what_only_looks_like_a_number_is_refused_in_a_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--tasks", "vqav2", "--model", "fake", "--data", "demo", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


@pytest.mark.parametrize(("value", "kind"), [("2020-01-01", "a date"), ("{a = 1}", "a table")])
def test_a_setting_of_another_kind_in_a_file_of_options_is_refused_in_a_line(
    value: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "options.toml"
    file.write_text(f'tasks = "vqav2"\nlimit = {value}\n')
    assert cli.main(["--config", str(file)]) == 2
    told = capsys.readouterr().err
    assert f"--limit is {kind}" in told and told.count("\n") == 1
