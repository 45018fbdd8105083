"""Room for one worker of a fleet, and the worker in it: what it was given and when it was heard of.

Speaks to the actor; which requests it gets, and what becomes of them, is the fleet's business.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from infimm_eval.types import Image, Request
from infimm_eval.workers.calls import Call, pictures
from infimm_eval.workers.identity import Hello
from infimm_eval.workers.serving import Collected
from infimm_eval.workers.travel import PictureStore, exchange

LINGER = 1.0
"""Seconds that answers are gathered for before they come back together; each way has its price."""
LAST = 0.25
"""The same when no more is to come, so that it is known who could help whom."""
SOON = 0.3
"""Seconds of work that are as good as none."""


@dataclass(eq=False, slots=True)
class Place:
    """``hello`` is there once the worker can answer."""

    number: int
    actor: Any = None
    up: Any = None
    """Comes once there is a process for it; ..."""
    greeting: Any = None
    """... and this once its model is loaded."""
    began: float = 0.0
    """When the process was there."""
    hello: Hello | None = None
    held: dict[tuple[int, str], tuple[Call, Request]] = field(default_factory=dict)
    """What it was given and has not answered, in that order."""
    alone: bool = False
    """Whether that is a suspect."""
    collecting: Any = None
    """The answers to come."""
    feeding: dict[Any, list[tuple[int, str]]] = field(default_factory=dict)
    """Requests on their way, where they may find no pictures."""
    fed: int = 0
    drawn: int = 0
    heard: float = 0.0
    """When it last answered something, or was given something to do."""
    due: float = 0.0
    """When it would be done, were it as quick as others."""
    recalled: bool = False
    """Whether it was asked to give requests back."""
    reads: bool | None = None
    """Whether it reads pictures where the driver does; ``None`` until it was found out."""
    probe: Any = None
    vacant_until: float = 0.0

    @property
    def who(self) -> Hello:
        """The worker that is there."""
        assert self.hello is not None
        return self.hello

    @property
    def waiting(self) -> int:
        """Requests that the model has not taken yet, as far as is known."""
        return self.fed - self.drawn

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do, or nearly: its model has taken the last requests, and will
        be done with them before others could be there."""
        if not self.held:
            return True
        expected = _expected(self.held.values()) if self.waiting <= 0 else None
        return expected is not None and expected < SOON and not self.alone

    @property
    def spare(self) -> int:
        """How many of its requests another should have, while that is worth the way."""
        expected = _expected(self.held.values()) or 0.0
        half = (self.waiting + 1) // 2
        return half if expected * half > SOON / 3 * len(self.held) else 0

    def settle(self, actor: Any) -> None:
        """A new worker is to come; Ray finds room for it."""
        self.actor = actor
        self.up, self.greeting = actor.up.remote(), actor.hello.remote()

    def vacate(self, wait: float) -> list[tuple[Call, Request]]:
        """The worker goes, and another may come after so many seconds; what it had."""
        if self.actor is not None:
            ray.kill(self.actor)
        had = list(self.held.values())
        self.actor = self.up = self.greeting = self.hello = None
        self.collecting = self.probe = self.reads = None
        self.held, self.feeding = {}, {}
        self.fed = self.drawn = 0
        self.began = 0.0
        self.alone = self.recalled = False
        self.vacant_until = time.monotonic() + wait
        return had

    def give(
        self, call: Call, requests: Sequence[Request], store: PictureStore, *, by_path: bool | None
    ) -> None:
        """Requests to answer, but for those that it has.  ``by_path``: whether it reads pictures
        itself, ``None`` where it is to look first."""
        requests = [r for r in requests if (call.number, r.id) not in self.held]
        if not requests:  # of two that had one, the other has let go of it
            return
        now = time.monotonic()
        if not self.held:
            self.heard = self.due = now
        self.due = max(self.due, now) + (call.pace.expected(call.kind, requests) or 0.0)
        given = {(call.number, request.id): (call, request) for request in requests}
        self.held |= given
        self.recalled = False
        self.fed += len(requests)
        call.counts["leases"] += 1
        digests: list[str] = []
        files: list[Any] = []
        if by_path is False:
            requests, digests, files = _packed(requests, store)
        fed = self.actor.feed.remote(
            call.number, call.kind, requests, digests, *files, check=by_path is None
        )
        if by_path is not True:
            self.feeding[fed] = list(given)

    def listen(self, low: int, *, more: bool) -> None:
        """Wait for answers, and for fewer than ``low`` requests waiting, from now on.  ``more``:
        whether there will be further requests."""
        if self.collecting is None and self.held:
            self.collecting = self.actor.collect.remote(low, LINGER if more else LAST, more)

    def recall(self, count: int) -> None:
        """Ask for requests back that the model has not taken yet."""
        self.recalled = True
        self.actor.give_back.remote(count)

    def untaken(self, names: Iterable[tuple[int, str]]) -> list[tuple[Call, Request]]:
        """Requests that it was given and does not have."""
        found = [self.held.pop(name) for name in names]
        self.fed -= len(found)
        self.alone = self.alone and bool(self.held)
        return found

    def answered(self, call: int, id: str) -> tuple[Call, Request]:
        """What an answer of its is to."""
        found = self.held.pop((call, id))
        self.alone = self.alone and bool(self.held)
        return found

    def took(self, collected: Collected) -> list[tuple[Call, Request]]:
        """Note what came back; returns what was given back unread."""
        now = time.monotonic()
        self.collecting, self.drawn = None, collected.drawn
        if collected.answers:
            self.heard = now
        self.recalled = self.recalled and not collected.returned
        return [self.held.pop(name) for name in collected.returned]

    def overdue(self, now: float) -> bool:
        """Whether it is slower with what it has than others would be."""
        expected = _expected(self.held.values())
        return expected is not None and now > self.due + max(0.5, expected)

    def silent(self, now: float, floor: float, times: float) -> bool:
        """Whether no answer has come for so many ``times`` what all of them should take, and not
        for ``floor`` seconds."""
        if not self.held or now - self.heard <= floor:
            return False
        expected = _expected(self.held.values())
        return now - self.heard > (10 * floor if expected is None else times * expected)

    def sees(self, shown: Image | None, *, here: str, paths: bool) -> bool | None:
        """Whether it reads pictures where the driver does; ``None``: it is to look, each time.
        Found out by one picture and its digest, in the meantime files travel."""
        if shown is None or (paths and self.who.node == here):
            return True
        if not paths or self.reads is False:
            return False
        if self.reads:
            return None
        if self.probe is None:
            self.probe = self.actor.reads.remote(shown, shown.digest())
        elif ray.wait([self.probe], timeout=0)[0]:
            try:
                self.reads = bool(ray.get(self.probe))
            except RayError:  # its death is seen when its answers should come
                self.reads = False
        return None if self.reads else False


def _packed(
    requests: Sequence[Request], store: PictureStore
) -> tuple[list[Request], list[str], list[Any]]:
    """Requests whose pictures travel beside them: as arguments of their own, which Ray brings over
    while the worker is at others."""
    packed = {image: store.packed(image) for image in set(pictures(requests))}
    files = {image.digest(): file for image, file in packed.values() if file is not None}
    changed = [exchange(request, lambda image: packed[image][0]) for request in requests]
    return changed, list(files), list(files.values())


def _expected(held: Iterable[tuple[Call, Request]]) -> float | None:
    """Seconds for everything that a worker has, by the pace of the fleet."""
    by_call: dict[int, tuple[Call, list[Request]]] = {}
    for call, request in held:
        by_call.setdefault(call.number, (call, []))[1].append(request)
    total = 0.0
    for call, requests in by_call.values():
        expected = call.pace.expected(call.kind, requests)
        if expected is None:
            return None
        total += expected
    return total
