"""A training run that leaves checkpoints of a model of its own, and a watch over it."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import infimm_eval as ie
from infimm_eval import logs
from infimm_eval.run import ProgressListener

MODEL = '''
"""Says what its checkpoint says, and writes down what it was asked."""
from pathlib import Path
from infimm_eval.models.fake import Fake

class Told(Fake):
    def generate(self, requests):
        for answer in super().generate(requests):
            with (Path(__file__).parent / "asked.txt").open("a") as file:
                file.write(f"{self.step} {answer.id}\\n")
            yield answer

def make(weights, delay=0.0):
    model = Told((Path(weights) / "says.txt").read_text(), delay=float(delay))
    model.step = Path(weights).name
    return model
'''
RIGHT = "unanswerable"
"""What a third of the demo's VizWiz questions want."""


class Training:
    """A folder that a training run writes into, with a model of its own that says one word."""

    def __init__(self, place: Path) -> None:
        self.folder, self.place, self.output = place / "run", place, place / "series"
        self.folder.mkdir(parents=True)
        (place / "model.py").write_text(MODEL)

    def save(self, step: int, says: str = RIGHT, *, whole: bool = True) -> Path:
        checkpoint = self.folder / f"step-{step}"
        checkpoint.mkdir()
        (checkpoint / "says.txt").write_text(says)
        if whole:
            (checkpoint / "DONE").touch()
        return checkpoint

    @property
    def own(self) -> dict[str, Any]:
        return {
            "model": f"{self.place}/model.py:make",
            "model_option": {"weights": "{checkpoint}"},
            "data": "demo",
            "limit": 60,
            "output": self.output,
            "progress": False,
        }

    def watch(self, **how: Any) -> ie.Series:
        return ie.watch(self.folder, "vizwiz", **{**self.own, "once": True, **how})

    def baseline(self, says: str = RIGHT, **how: Any) -> Path:
        folder = self.place / f"base-{says}"
        how = {"data": "demo", "limit": 60, "progress": False, **how}
        ie.evaluate(f"fake:{says}", "vizwiz", output=folder, **how)
        return folder

    def command(self, *more: str) -> list[str]:
        command = [sys.executable, "-m", "infimm_eval", "watch", str(self.folder)]
        command += ["--tasks", "vizwiz", "--data", "demo", "--output", str(self.output)]
        command += ["--model", f"{self.place}/model.py:make", "--limit", "60"]
        return [*command, "--model-option", "weights={checkpoint}", *more]

    @property
    def asked(self) -> list[str]:
        file = self.place / "asked.txt"
        return file.read_text().splitlines() if file.exists() else []

    def series(self) -> Any:
        return json.loads((self.output / "series.json").read_text())


class Noted(ProgressListener):
    """Everything that a person should have read."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def answers(output: Path) -> dict[tuple[str, str], str]:
    """The answers on disk by run and key."""
    found = {}
    for file in output.glob(f"*/{logs.FILE}"):
        db = sqlite3.connect(file, timeout=10)
        try:
            rows = db.execute("SELECT key, text FROM answer").fetchall()
        except sqlite3.OperationalError:
            continue
        finally:
            db.close()
        found |= {(file.parent.name, key): text for key, text in rows}
    return found


def results(output: Path) -> Any:
    """``series.json`` but for times."""
    body = json.loads((output / "series.json").read_text())
    for point in body["points"]:
        for cell in point["cells"]:
            del cell["seconds"]
    return body


def answered(output: Path) -> set[str]:
    """The questions whose answers are on disk, as the model writes them down: step and id."""
    found = set()
    for file in output.glob(f"*/{logs.FILE}"):
        db = sqlite3.connect(file, timeout=10)
        try:
            rows = db.execute(
                "SELECT DISTINCT entry.id FROM entry JOIN answer ON answer.key = entry.answer"
            ).fetchall()
        except sqlite3.OperationalError:
            continue
        finally:
            db.close()
        found |= {f"{file.parent.name} {id}" for (id,) in rows}
    return found
