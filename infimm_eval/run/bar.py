"""What a person sees while a run goes on: a bar with rate and remaining time, on stderr."""

from __future__ import annotations

import sys
from typing import Never

from tqdm import tqdm

from infimm_eval import logs
from infimm_eval.run.progress import ProgressListener


class Bar(ProgressListener):
    """A progress bar over all cells of a run, and a line for each that is finished.

    ``quiet`` says nothing at all; warnings and errors are not its matter.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet or sys.stderr is None  # which a shell may have closed
        self.noted: list[str] = []
        """Everything that a person should read, in order."""
        self._bar: tqdm[Never] | None = None
        self._known = 0

    def started(self, total: int) -> None:
        """So many questions will be asked, over all cells."""
        self._known = 0
        self._bar = tqdm(
            total=total,
            unit=" samples",
            file=sys.stderr,
            disable=self._quiet,
            leave=False,
            mininterval=0.5,
            smoothing=0.05,
        )

    def asking(self, title: str, shots: int, seed: int) -> None:
        """The questions of another cell begin."""
        if self._bar is not None:
            self._bar.set_description(f"{title}, {_shots(shots)}" + _seed(seed))

    def asked(self, known: bool) -> None:
        """A question has its answer; ``known``: from an earlier run."""
        if self._bar is None or self._bar.disable:
            return
        if known:  # answered by an earlier run: part of the way, but not of the rate
            self._known += 1
            self._bar.initial += 1
            self._bar.n += 1
            if self._known == 1:
                self._bar.set_postfix_str("continuing")
        else:
            self._bar.update()

    def stage(self, text: str) -> None:
        """What is being done beside asking."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

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
