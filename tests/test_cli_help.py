"""What the command line says of itself, and what it understands by a name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from infimm_eval import cli, registry
from infimm_eval.errors import UsageError

VERBS = sorted(cli.infimm_eval.commands.items())


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_every_option_says_what_it_does(name: str, verb: click.Command) -> None:
    options = [option for option in verb.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_every_verb_that_takes_something_shows_how_it_is_called(
    name: str, verb: click.Command
) -> None:
    if verb.params:
        assert f"infimm-eval {name} " in (verb.help or "") or name == "run"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("COCO", "coco"),
        ("OK-VQA", "okvqa"),
        ("ScienceQA-Img", "scienceqa"),
        ("infimm-eval", "core_mm"),
        ("core-mm", "core_mm"),
        ("VQAv2:Test2015", "vqav2:test2015"),
        ("Flickr30K", "flickr30k"),
    ],
)
def test_a_benchmark_is_found_however_people_write_it(said: str, meant: str) -> None:
    assert registry.load(said).name == meant


def test_two_spellings_of_a_benchmark_ask_it_once() -> None:
    assert [task.name for task in registry.select(["coco", "COCO", "vqav2"])] == ["coco", "vqav2"]


def test_a_name_that_means_nothing_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'coco'"):
        registry.load("cocco")


@pytest.mark.slow
def test_settings_by_task_take_the_same_spellings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "fake:yes", "--tasks", "TextVQA", "--limit", "2", "--data", "demo"]
    words += ["--scorer", "TEXTVQA=official", "--max-new-tokens", "text-vqa=7", "-q"]
    assert cli.main([*words, "--output", str(tmp_path)]) == 0
    assert '"name": "official"' in (tmp_path / "results.json").read_text()
    assert '"max_new_tokens": 7' in (tmp_path / "results.json").read_text()


def test_a_printed_config_is_read_back_as_the_same_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--tasks", "coco,vqav2", "--shots", "0,4", "--max-new-tokens", "vqav2=9", "--ocr"]
    given += ["--max-new-tokens", "30", "--model-option", "a=b c", "--output", str(tmp_path), "-q"]
    assert cli.main(["run", *given, "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "run.toml").write_text(printed)
    assert cli.main(["--config", str(tmp_path / "run.toml"), "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    assert 'tasks = ["coco", "vqav2"]' in printed and "\n# limit =\n" in printed


def test_one_benchmark_prints_its_prompt_to_the_letter_and_what_was_published(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["tasks", "VQAv2"]) == 0
    said = capsys.readouterr().out
    assert "214,354 samples" in said and "v2_mscoco_val2014_annotations.json" in said
    assert "    [user] [picture]Question:" in said and "beam 3, length penalty 0" in said
    assert "InfiMM-Zephyr-7B" in said and "vqav2:test2015" in said


@pytest.mark.slow
def test_no_two_published_lines_of_a_benchmark_look_alike(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for task in registry.select(["all"]):
        assert cli.main(["tasks", task.name]) == 0
        said = capsys.readouterr().out
        _, _, printed = said.partition("\npublished, ")
        rows = [line for line in printed.splitlines() if re.match(r"  \S", line)]
        assert len(rows) == len(set(rows)) and bool(rows) == bool(task.columns)


def test_published_figures_say_of_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", "mmmu"]) == 0
    said = capsys.readouterr().out
    assert "published, MMMU val, validation:\n" in said
    assert "  InfiMM-Zephyr-7B        39.4  MMMU leaderboard [3]\n" in said
    assert "      of which Art & Design 55.8, Business 28, Science 33.3, " in said
    assert "  [3] questions without a parsable answer were guessed at random\n" in said
    assert cli.main(["tasks", "coco"]) == 0
    said = capsys.readouterr().out
    assert "published, COCO CIDEr, split not stated:\n" in said
    assert re.search(r"OpenFlamingo-3B +74\.9 ± 0\.2 +77\.3 ± 0\.3 +85\.9 ± 0\.6 +93 ± 0\.6", said)


def test_a_task_of_ones_own_without_demo_rows_shows_its_templates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(_OWN)
    assert cli.main(["tasks", str(plugin)]) == 0
    said = capsys.readouterr().out
    assert "mine: Mine, zero-shot only" in said and "{{ question }}" in said


_OWN = """
from infimm_eval import metrics, prompts
from infimm_eval.scorers import choice
from infimm_eval.types import Sample, Source, Task

TASK = Task(
    name="mine", title="Mine", version=1, source=Source(),
    sample=lambda row: Sample(id=str(row["id"]), question=(row["question"],)),
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer()),
    scorers=(choice.letter,), metrics=metrics.choices(), headline="accuracy",
)
"""


# -- completion ----------------------------------------------------------------------------------


def completed(*words: str) -> list[str]:
    """What bash is offered for the last of the words."""
    asking = {
        "_INFIMM_EVAL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["infimm-eval", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from infimm_eval.cli import command; command()"],
        env={**os.environ, **asking},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_shell_completes_verbs_options_benchmarks_and_models() -> None:
    assert completed("sc") == ["score"]
    assert "--model-option" in completed("--mod")  # of run, where no verb is named
    assert completed("--tasks", "coco,vq") == ["coco,vqav2"]
    assert completed("run", "--model", "op") == ["openai:"]
    assert completed("tasks", "flick") == ["flickr30k"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_names_the_program(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "infimm-eval" in said and "_INFIMM_EVAL_COMPLETE" in said
