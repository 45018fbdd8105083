"""What a person asks for of a fleet, and what is refused before anything is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import infimm_eval as ie
from infimm_eval.cli import main
from infimm_eval.models import ModelOptions
from infimm_eval.models.fake import Fake
from infimm_eval.workers import opening
from infimm_eval.workers.calls import pictures
from infimm_eval.workers.identity import differences
from infimm_eval.workers.recipe import Recipe
from infimm_eval.workers.travel import PictureStore, SentImage
from tests.workers.asked import requests

RUN = ["--model", "fake", "--data", "demo", "--tasks", "vqav2"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--workers", "0"], "'0' is neither auto nor a number of at least 1"),
        (["--workers", "2.5"], "'2.5' is neither auto nor a number of at least 1"),
        (["--gpus-per-worker", "1"], "are for --workers or --ray"),
        (["--wait-for-workers", "9"], "are for --workers or --ray"),
        (["--workers", "2", "--model", "fak"], "unknown model 'fak'; did you mean 'fake'?"),
        (["--workers", "2", "--model", "openai:x"], "openai:x is served elsewhere"),
        (["--workers", "2", "--model", "demo", "--device", "cuda:1"], "write --device cuda"),
        (
            ["--workers", "1", "--gpus-per-worker", "2", "--model", "demo"],
            "runs on one accelerator",
        ),
        (["--workers", "2", "--gpus-per-worker", "1"], "--workers 2 with 1 accelerators each"),
        (["--ray", "ray://somewhere:10001"], "give HOST:PORT of the cluster's head"),
        (["--ray", "somewhere"], "--ray somewhere: give HOST:PORT of the cluster's head"),
        (["--ray", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1 (Connection refused)"),
        (["--ray", "somewhere:99999"], "give HOST:PORT of the cluster's head, or auto"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(
    words: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "visible_gpus", lambda: 0)
    assert main(["run", *RUN, "-q", "--output", str(tmp_path / "run"), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_live_object_is_refused_in_one_line() -> None:
    with pytest.raises(
        ie.UsageError, match="a live Fake cannot be sent to workers; name the model"
    ):
        ie.evaluate(Fake(), "vqav2", data="demo", workers=2)


@pytest.mark.parametrize("workers", [0, -1, True, "two", 1.5])
def test_a_number_of_workers_that_is_none_is_refused(workers: Any) -> None:
    with pytest.raises(ie.UsageError, match="workers should be a number from 1, or 'auto'"):
        ie.evaluate("fake", "vqav2", data="demo", workers=workers)


@pytest.mark.slow
def test_no_module_of_ray_is_imported_without_workers(tmp_path: Path) -> None:
    code = (
        "import sys; from infimm_eval.cli import main; "
        f"code = main([*{RUN!r}, '--limit', '3', '--output', {str(tmp_path)!r}, '-q']); "
        "print('ray:', sorted(m for m in sys.modules if m.partition('.')[0] == 'ray')); "
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "ray: []"


def test_ray_that_is_not_installed_is_named_with_the_way_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", *RUN, "-q", "--output", str(tmp_path), "--workers", "2"]) == 2
    assert "pip install 'infimm-eval[ray]'" in capsys.readouterr().err


def test_differences_are_said_by_name() -> None:
    wanted = {"fingerprint": "a", "dtype": "float32", "torch": "2.15.0"}
    assert differences(wanted, {**wanted, "more": 1}) == ""
    said = differences(wanted, {**wanted, "dtype": "bfloat16", "torch": "2.6.0"})
    assert said == "dtype 'bfloat16', not 'float32', torch '2.6.0', not '2.15.0'"


@pytest.mark.slow
def test_a_picture_is_put_into_the_store_once_while_there_is_room() -> None:
    shown = list(dict.fromkeys(pictures(requests())))
    kept: list[bytes] = []
    store = PictureStore(1 << 30, lambda file: kept.append(file) or len(kept))
    sent = [store.packed(image) for image in (*shown, *shown)]
    assert len(kept) == store.puts == len({image.digest() for image in shown})
    assert all(handle.key == image.key for (handle, _), image in zip(sent, shown, strict=False))
    small = PictureStore(1, lambda file: kept.append(file) or len(kept))
    small.packed(shown[0]), small.packed(shown[1]), small.packed(shown[0])
    assert small.puts == 3


def test_a_picture_that_cannot_be_read_travels_as_it_is() -> None:
    store = PictureStore(1, len)
    assert isinstance(store.packed(SentImage("a", "k", "d", b"x"))[0], SentImage)
    from infimm_eval.data.pictures import FileImage

    gone = FileImage("/nowhere", "a.jpg")
    assert store.packed(gone) == (gone, None)


def test_the_file_of_a_model_of_ones_own_comes_along_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from infimm_eval.models.fake import Fake\n\ndef make():\n    return Fake('a')\n"
    )
    recipe = Recipe.of(f"{own}:make", ModelOptions())
    own.unlink()
    (empty := tmp_path / "empty").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(empty))
    assert recipe.load().name == "fake:a"
    assert not list(empty.iterdir())


OPENED = """
import os, sys

os.environ["RAY_AUTH_MODE"] = "token"
from infimm_eval.models import ModelOptions
from infimm_eval.workers.opening import Wanted, open_fleet

fleet = open_fleet("demo", ModelOptions(), Wanted(workers=1), say=print, count=lambda count: None)
print(fleet.name, "torch" in sys.modules)
fleet.close()
"""


@pytest.mark.slow
def test_the_driver_of_workers_on_this_machine_loads_nothing_of_the_model() -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    done = subprocess.run(
        [sys.executable, "-c", OPENED], capture_output=True, text=True, check=True
    )
    assert done.stdout == "demo False\n"
