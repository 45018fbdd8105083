"""Every command and every block of Python in the documentation runs as it stands there.

What a page names and a test cannot have (checkpoints, data, servers, a cluster) is stood in for by
something small under the same name (``stand_ins``).  Words that are replaced, and commands that
are not run, are listed here with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from socket import create_server
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from infimm_eval.cli import main
from tests.docs.pages import ALL, COMMANDS, PAGES, ROOT, SHELL, Block, blocks, name
from tests.docs.stand_ins import OPEN_CLIP, SMALL_CLIP, Shelf, clip_as_a_program
from tests.models import families
from tests.models.test_openai import says, serving

NOT_RUN = {
    "make": "installs from an index; what it then runs, CI runs",
    "source": "the environment of the test is active",
    "bash .ci/run": "is CI",
    "pip install": "installs from an index",
    "python -m infimm_eval.demo.train --output": "takes 45 minutes; tests/demo runs it in small",
    "sbatch": "needs SLURM; tests/workers/test_slurm.py runs the script with stand-ins",
}
"""Commands that are only looked at, by how they begin."""

REPLACED = (
    (r" --quantization 4bit", "", "bitsandbytes needs an accelerator"),
    (r" --scorer okvqa=stemmed", "", "NLTK's data has to be downloaded"),
    (r"(--controls all|--support rices)", r"\1 --limit 3", "the demo has 600 questions"),
    (r"^(?!.* watch )(.*--tasks coco\S*)", r"\1 --no-companions", "METEOR's Java is slow"),
    (r" watch runs/mine", " watch runs/mine --once", "else it waits for the next checkpoint"),
    (r"--shots 0,4,8,16,32", "--shots 0,32", "a Java program tokenizes each cell of captions"),
    (r"--prompt-format otter", "--prompt-format otter --max-new-tokens 8", "512 tokens each"),
    (r"--trials \d+", "--trials 1", "hours"),
    (r"simulate_series", "simulate_series --seconds 1 --samples 400", "hours"),
    (r'device="cuda"', 'device="cpu"', "there may be none"),
    (r"limit=50", "limit=5", "a minute"),
)
"""What is replaced in commands and in Python, by what, and why."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def shell(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A folder to run commands in, with a hub, a judge and two servers on this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(shelf.hub))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(lambda *_: says("1.0"))).url for _ in range(2)]
        monkeypatch.setenv("OPENAI_BASE_URL", urls[0])
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        with create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        named = {
            "http://A:8000/v1,http://B:8000/v1": ",".join(urls),
            "HEAD:6379": f"127.0.0.1:{port}",
            "--port=6379": f"--port={port}",
        }
        yield Shell(named, stack)


class Shell:
    """Runs commands one after another: the program's in this process, others as a shell would."""

    def __init__(self, named: Mapping[str, str], stack: ExitStack) -> None:
        self.named, self._stack = named, stack
        self._environment = {"PYTHONPATH": str(ROOT)}

    def run(self, command: str) -> None:
        command = adapted(command)
        for word, stand_in in self.named.items():
            command = command.replace(word, stand_in)
        for words in _with_and_without(command):
            match words:
                case ["export", *settings]:
                    self._environment |= dict(setting.split("=", 1) for setting in settings)
                case ["ray", "start", *options]:
                    self._start_ray(options)
                case ["infimm-eval", *rest] | ["python", "-m", "infimm_eval", *rest]:
                    if {"--workers", "--ray"} & {*rest}:
                        self._process([sys.executable, "-m", "infimm_eval", *rest])
                    else:
                        assert main(rest) == 0
                case ["python", *rest]:
                    self._process([sys.executable, *rest])
                case [program, *rest]:
                    self._process([str(Path(sys.executable).with_name(program)), *rest])

    def _process(self, words: list[str]) -> None:
        done = subprocess.run(
            words, env=self._everything, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def _everything(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        return {**clean, **self._environment}

    def _start_ray(self, options: list[str]) -> None:
        """A node that ends with the test, where a shell's would go on."""
        ray = str(Path(sys.executable).with_name("ray"))
        small = ["--num-cpus=1", "--object-store-memory=100000000", "--block"]
        if "--head" in options:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))
            small.append(f"--temp-dir={folder}")
        node = subprocess.Popen(
            [ray, "start", *options, *small], env=self._everything, stdout=subprocess.DEVNULL
        )
        self._stack.callback(node.wait)
        self._stack.callback(node.terminate)
        address = self.named["HEAD:6379"]
        check = [ray, "health-check", f"--address={address}"]
        until = time.monotonic() + 120
        while subprocess.run(check, env=self._everything, capture_output=True).returncode:
            assert node.poll() is None and time.monotonic() < until, "no head of a cluster"
            time.sleep(0.5)


def adapted(text: str) -> str:
    for pattern, new, _ in REPLACED:
        text = re.sub(pattern, new, text)
    return text


def _with_and_without(command: str) -> list[list[str]]:
    """A command as words; twice where a part of it stands in brackets."""
    bare = re.sub(r" \[--.*?\]", "", command)
    whole = re.sub(r" \[(--.*?)\]", r" \1", command)
    return [shlex.split(text) for text in dict.fromkeys((bare, whole))]


def is_run(command: str) -> bool:
    return not command.startswith(tuple(NOT_RUN))


# -- whole pages ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if {b.language for b in blocks(page)} & {SHELL, "python"}],
    ids=name,
)  # fmt: skip
def test_a_page_runs_from_its_first_line_to_its_last(
    page: Path, shelf: Shelf, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that a page repeats runs where it stands last."""
    here = list(blocks(page))
    shelf.lay_out(name(page), Path())
    _write_named_files(here)
    _needed_beside(page, monkeypatch)
    names = {"__name__": "page", "__file__": "page.py", **_known_to(page)}
    repeated = [command for block in here if block.language == SHELL for command in block.commands]
    for block in here:
        if block.language == "python":
            exec(compile(adapted(block.text), block.place, "exec", dont_inherit=True), names)
        for command in block.commands if block.language == SHELL else ():
            repeated.remove(command)
            if is_run(command) and command not in repeated:
                print(f"{block.place}: {command}")
                shell.run(command)


def _write_named_files(here: list[Block]) -> None:
    """Files that a page shows: TOML under the name in its first line, Python under that of the
    command that follows it."""
    shown = ""
    for block in here:
        if block.language == "toml":
            Path(block.text.split("\n")[0].removeprefix("# ")).write_text(block.text)
        elif block.language == "python":
            shown = block.text
        elif block.language == SHELL:
            for file in re.findall(r"\./(\w+\.py)\b", block.text):
                if not Path(file).exists():
                    Path(file).write_text(shown)


def _needed_beside(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What single pages want."""
    if page.stem == "in-context":
        library = pytest.importorskip("open_clip")
        monkeypatch.setitem(library.factory._MODEL_CONFIGS, OPEN_CLIP, SMALL_CLIP)
        clip_as_a_program(Path("ViT-L-14.pt"), Path("clip-l14-openai.safetensors"))
    if page.stem == "statistics-of-a-series":
        rng = np.random.default_rng(0)
        pool = {"value": rng.random((3, 900)) < 0.6, "cluster": np.arange(900) // 2}
        pool["stratum"] = np.zeros(900, int)
        np.savez("pool.npz", **{f"accuracy/{part}": array for part, array in pool.items()})
    if page.stem == "clusters" and find_spec("ray") is None:
        pytest.skip("the extra 'ray' is not installed")


def _known_to(page: Path) -> dict[str, Any]:
    """What the Python of a page takes as given."""
    if page.stem != "watch":
        return {}
    torch.manual_seed(0)
    module, processor = families.llava(families.TEMPLATE)

    def trainer(_: Any, callbacks: list[Any]) -> None:
        ids = torch.tensor([1, *range(10, 20), 2])
        row = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
        arguments = TrainingArguments(
            output_dir="training", max_steps=1, save_steps=1, report_to=[], use_cpu=True,
            disable_tqdm=True,
        )  # fmt: skip
        Trainer(module, arguments, train_dataset=[row], callbacks=callbacks).train()

    return {"module": module, "processor": processor, "step": 1500, "Trainer": trainer}


# -- what is not run, and other languages --------------------------------------------------------


@pytest.mark.parametrize("start", NOT_RUN)
def test_a_command_that_is_not_run_stands_in_a_page(start: str) -> None:
    assert any(command.startswith(start) for _, command in COMMANDS)


@pytest.mark.parametrize("pattern", [pattern for pattern, _, _ in REPLACED])
def test_a_word_that_is_replaced_stands_in_a_page(pattern: str) -> None:
    texts = [command for _, command in COMMANDS] + [b.text for b in ALL if b.language == "python"]
    assert any(re.search(pattern, text) for text in texts)


def test_every_goal_of_make_is_one_of_the_makefile() -> None:
    goals = [command.split()[1:] for _, command in COMMANDS if command.startswith("make ")]
    assert goals
    for goal in goals:
        done = subprocess.run(["make", "--dry-run", "--always-make", *goal], cwd=ROOT, check=False,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0 and "python -m" in done.stdout, done.stderr


def test_every_extra_that_is_installed_exists() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = re.findall(r"pip install\s+'infimm-eval\[([\w,]+)\]'", pages)
    assert named and {extra for group in named for extra in group.split(",")} <= known.keys()


@pytest.mark.parametrize("script", [".ci/run", "docs/slurm.sh"])
def test_a_script_that_a_page_names_is_one(script: str) -> None:
    assert any(script in command for _, command in COMMANDS)
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.place)
def test_a_block_is_what_it_says_it_is(block: Block) -> None:
    match block.language:
        case "json":
            assert [json.loads(line) for line in block.text.split("\n")]
        case "toml":
            assert tomllib.loads(block.text)
        case "python":
            compile(block.text, block.place, "exec")
        case language:
            assert language in (SHELL, "text")
