"""Who is told how a run gets on.  Prints nothing itself."""

from __future__ import annotations

from infimm_eval import logs


class ProgressListener:
    """Is told how a run gets on, and keeps it to itself; a subclass says what it wants to.

    ``note`` and ``finished`` may come from another thread, while the next cell is being asked.
    """

    def started(self, total: int) -> None:
        """So many questions will be asked, over all cells."""

    def asking(self, title: str, shots: int, seed: int) -> None:
        """The questions of another cell begin."""

    def asked(self, known: bool) -> None:
        """A question has its answer; ``known``: from an earlier run."""

    def workers(self, count: int) -> None:
        """So many workers answer from now on, where a run has any."""

    def stage(self, text: str) -> None:
        """What is being done beside asking."""

    def note(self, text: str) -> None:
        """What a person should read, now or afterwards."""

    def finished(self, cell: logs.Cell, known: int) -> None:
        """A cell has its figure; ``known`` of its answers are from an earlier run."""

    def closed(self) -> None:
        """The run is over, whatever came of it."""
