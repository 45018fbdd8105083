"""What a person sees while a run goes on: a bar with rate and remaining time, on stderr."""

from __future__ import annotations

import sys
from typing import Never

from tqdm import tqdm

from infimm_eval import log


class Screen:
    """Watches a run.  ``quiet`` says nothing at all; warnings and errors are not its matter."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: tqdm[Never] | None = None
        self._kept = 0

    def started(self, place: log.Place, title: str, total: int | None) -> None:
        self._kept = 0
        self._bar = tqdm(
            total=total,
            desc=f"{title}, {_shots(place.shots)}" + (f", seed {place.seed}" if place.seed else ""),
            unit=" samples",
            file=sys.stderr,
            disable=self._quiet,
            leave=False,
            mininterval=0.5,
            smoothing=0.05,
        )

    def asked(self, kept: bool) -> None:
        if self._bar is None or self._bar.disable:
            return
        if kept:  # answered by an earlier run: part of the way, but not of the rate
            self._kept += 1
            self._bar.initial += 1
            self._bar.n += 1
            if self._kept == 1:
                self._bar.set_postfix_str("continuing")
        else:
            self._bar.update()

    def stage(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def note(self, text: str) -> None:
        """A line that stays on the screen."""
        self.say(text)

    def finished(self, cell: log.Cell) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        kept = f", {self._kept} answered before" if self._kept else ""
        self.say(f"{cell.title}, {_shots(cell.shots)}: {figure(cell)} (n={cell.n}{kept})")

    def say(self, text: str) -> None:
        if not self._quiet:
            tqdm.write(text, file=sys.stderr)


def figure(cell: log.Cell) -> str:
    """``CIDEr 78.8 [76.1, 81.4]``, with what is wrong with it, if anything is."""
    if cell.value is None:
        return f"{cell.headline}: nothing could be scored"
    text = f"{cell.headline} {cell.value:.1f}"
    if cell.ci95:
        text += f" [{cell.ci95[0]:.1f}, {cell.ci95[1]:.1f}]"
    if cell.unscored:
        text += f", {cell.unscored} unscored"
    return text


def _shots(count: int) -> str:
    return f"{count} shot" + ("" if count == 1 else "s")
