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
    ``longest``; an answer ends it.  ``clock`` gives seconds."""

    def __init__(
        self, wait: float, longest: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.wait, self.longest, self.clock = wait, longest, clock
        self._failures = 0
        self._last = self._over = clock()
        self._lock = Lock()

    def failed(self, sent: float, asked: float | None = None) -> None:
        """A request that was ``sent`` then has failed, and the server ``asked`` for so many seconds
        or for none.  Of several that were under way together only the first makes it longer."""
        with self._lock:
            now = self.clock()
            if sent >= self._last:
                self._failures += 1
                self._last = now
            pause = self.wait * 2.0 ** (self._failures - 1) if asked is None else asked
            self._over = max(self._over, now + min(pause, self.longest))

    def answered(self) -> None:
        """The server is well."""
        with self._lock:
            self._failures = 0

    def left(self) -> float:
        """Seconds to wait before a request, lengthened at random by up to a quarter, so that not
        all come back at once."""
        return max(0.0, self._over - self.clock()) * _DICE.uniform(1.0, 1.25)
