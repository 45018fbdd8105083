"""Several servers of one model: a request goes to the one that has fewest under way and is well.

Knows which server is in trouble; how one is spoken to is the server's own business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any, TypeVar

from infimm_eval.errors import UsageError
from infimm_eval.models.openai.refusals import Refused
from infimm_eval.models.openai.server import Server

Reading = TypeVar("Reading")


class Servers:
    """As one ``Server``.  While one is down or asks to be spared others get its requests, and it is
    asked again when its pause is over.  One that turns requests away, and has answered none, is
    asked no more as long as there are others."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = list(servers)
        self.closing = Event()
        for server in self.servers:
            server.closing = self.closing
        self._choosing = Lock()
        self._under_way: Counter[int] = Counter()
        self._answered: set[int] = set()
        self._out: dict[int, Refused] = {}

    @property
    def url(self) -> str:
        """Where they are, in one order however they were named."""
        return ", ".join(sorted(server.url for server in self.servers))

    @property
    def retried(self) -> int:
        """Tries after the first, of all of them."""
        return sum(server.retried for server in self.servers)

    def post(self, path: str, body: object, read: Callable[[Any], Reading]) -> Reading:
        """As a server's.  ``Refused`` once no server is left to be asked, or as many tries as each
        allows have come to nothing."""
        left = sum(server.tries for server in self.servers)
        while True:
            with self._chosen() as (number, server):
                try:
                    found = server.post(path, body, read, leave=True)
                except Refused as failure:
                    left -= 1
                    if not self._elsewhere(number, failure) or not left or self.closing.is_set():
                        raise
                else:
                    self._answered.add(number)
                    return found

    def open(self) -> None:
        """After ``abort``: requests are sent and tried again."""
        for server in self.servers:
            server.open()

    def abort(self) -> None:
        """Breaks off what is under way, and lets nothing be tried again."""
        for server in self.servers:
            server.abort()

    def unwelcome(self, failure: Refused) -> UsageError:
        """The error where every further request would fail as this one did."""
        number = next((n for n, known in self._out.items() if known is failure), 0)
        return self.servers[number].unwelcome(failure)

    @contextmanager
    def _chosen(self) -> Iterator[tuple[int, Server]]:
        """The server that a request may be sent to soonest, of these one with fewest under way."""
        with self._choosing:
            there = [n for n in range(len(self.servers)) if n not in self._out]
            waits = {n: self.servers[n].pause for n in there or range(len(self.servers))}
            number = min(waits, key=lambda n: (waits[n], self._under_way[n]))
            self._under_way[number] += 1
        try:
            yield number, self.servers[number]
        finally:
            with self._choosing:
                self._under_way[number] -= 1

    def _elsewhere(self, number: int, failure: Refused) -> bool:
        """Whether the same request may fare better with another server."""
        if failure.of_server:
            return True
        with self._choosing:
            if failure.turned_away and number not in self._answered:
                self._out[number] = failure
            return number in self._out and len(self._out) < len(self.servers)
