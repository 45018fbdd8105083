"""One back-off for all who ask a server: while it is down or asks to be spared, nobody asks.

Knows nothing of HTTP.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Lock

_DICE = random.Random()
"""Of its own: the program's random state is no business of a busy server."""


class Cooldown:
    """After a failure ``wait`` seconds without a request, after another twice that, up to
    ``longest``; an answer ends it.  ``clock`` gives seconds.

    Callers go in rounds: all who waited for one pause ask when it is over, and if they fail, they
    fail together: the next pause is twice as long, however many they were.
    """

    def __init__(
        self, wait: float, longest: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.wait, self.longest, self.clock = wait, longest, clock
        self.round = 0
        """Which pause is, or was, the last; a caller remembers it before it waits."""
        self._failures = 0
        self._over = clock()
        self._lock = Lock()

    def failed(self, round: int, asked: float | None = None) -> None:
        """A request of this round has failed; the server ``asked`` for so many seconds or for
        none."""
        with self._lock:
            if round == self.round:
                self.round += 1
                self._failures += 1
            elif asked is None:
                return
            pause = self.wait * 2.0 ** (self._failures - 1) if asked is None else asked
            self._over = max(self._over, self.clock() + min(pause, self.longest))

    def answered(self) -> None:
        """The server is well."""
        with self._lock:
            self._failures = 0

    def left(self) -> float:
        """Seconds to wait before a request, lengthened at random by up to a quarter, so that not
        all come back at once."""
        return max(0.0, self._over - self.clock()) * _DICE.uniform(1.0, 1.25)
