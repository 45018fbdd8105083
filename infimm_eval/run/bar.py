"""What a person sees while a run goes on, on stderr: a bar with rate and remaining time on a
terminal and in a notebook, a line a minute in a file."""

from __future__ import annotations

import sys
import time
from typing import Never

from tqdm import tqdm

from infimm_eval import logs
from infimm_eval.run.progress import ProgressListener

EVERY = 60.0
"""Seconds between two lines where a bar cannot be redrawn."""


class Bar(ProgressListener):
    """A progress bar over all cells of a run, and a line for each that is finished.

    ``quiet`` says nothing at all; warnings and errors are not its matter.
    """

    def __init__(self, quiet: bool = False) -> None:
        screen = sys.stderr
        self._quiet = quiet or screen is None  # which a shell may have closed
        drawn = screen is not None and (screen.isatty() or "ipykernel" in sys.modules)
        self._redrawn = drawn and not quiet
        self._title = ""
        self._workers = ""
        self.noted: list[str] = []
        """Everything that a person should read, in order."""
        self._bar: tqdm[Never] | None = None
        self._known = self._asked = self._total = 0
        self._began = self._told = time.monotonic()

    def started(self, total: int) -> None:
        """So many questions will be asked, over all cells."""
        self._known = self._asked = 0
        self._total, self._began = total, time.monotonic()
        self._told = self._began
        self._bar = tqdm(
            total=total,
            unit=" samples",
            file=sys.stderr,
            disable=not self._redrawn,
            leave=False,
            mininterval=0.5,
            smoothing=0.05,
        )

    def asking(self, title: str, shots: int, seed: int) -> None:
        """The questions of another cell begin."""
        self._title = f"{title}, {_shots(shots)}" + _seed(seed)
        if self._bar is not None:
            self._bar.set_description(self._title + self._workers)

    def asked(self, known: bool) -> None:
        """A question has its answer; ``known``: from an earlier run."""
        if self._bar is None:
            return
        if self._bar.disable:
            self._count(known)
        elif known:  # answered by an earlier run: part of the way, but not of the rate
            self._known += 1
            self._bar.initial += 1
            self._bar.n += 1
            if self._known == 1:
                self._bar.set_postfix_str("continuing")
        else:
            self._bar.update()

    def _count(self, known: bool) -> None:
        """Without a bar: a line now and then."""
        self._asked += 1
        self._known += known
        now = time.monotonic()
        if now - self._told >= EVERY:
            rate = (self._asked - self._known) / (now - self._began)
            minutes = (self._total - self._asked) / rate / 60 if rate else 0.0
            about = f", {rate:.1f} a second, about {minutes:.0f} min left" if rate else ""
            self.say(
                f"{self._title}{self._workers}: {self._asked:,} of {self._total:,} samples{about}"
            )
            self._told = now

    def workers(self, count: int) -> None:
        """So many workers answer from now on."""
        self._workers = f", {count} worker" + ("" if count == 1 else "s")
        if self._bar is not None:
            self._bar.set_description(self._title + self._workers)

    def stage(self, text: str) -> None:
        """What is being done beside asking."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)
        else:  # before anything is asked, encoding a split may take hours
            self.say(text)

    def note(self, text: str) -> None:
        """A line that stays on the screen."""
        self.noted.append(text)
        self.say(text)

    def finished(self, cell: logs.Cell, known: int) -> None:
        """A cell has its figure; ``known`` of its answers are from an earlier run."""
        before = f", {known} answered before" if known else ""
        control = f", {cell.control}" if cell.control else ""
        where = f"{cell.title}, {_shots(cell.shots)}{_seed(cell.seed)}{control}"
        self.say(f"{where}: {figure(cell)} (n={cell.n}{before})")

    def closed(self) -> None:
        """The run is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._quiet:
            tqdm.write(text, file=sys.stderr)


def figure(cell: logs.Cell) -> str:
    """``CIDEr 78.8 [76.1, 81.4]``, with what is wrong with it, if anything is."""
    if cell.value is None:
        return f"{cell.headline}: nothing could be scored"
    text = f"{cell.headline} {cell.value:.1f}"
    if cell.ci95:
        text += f" [{cell.ci95[0]:.1f}, {cell.ci95[1]:.1f}]"
    counted = {"unscored": cell.unscored, "cut": cell.cut, "empty": cell.empty}
    return text + "".join(f", {count} {what}" for what, count in counted.items() if count)


def _shots(count: int) -> str:
    return f"{count} shot" + ("" if count == 1 else "s")


def _seed(seed: int) -> str:
    return f", seed {seed}" if seed else ""
