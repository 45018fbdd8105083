"""Who is in a fleet: workers come, present themselves, are refused, admitted or lost.

Knows places, time and Ray; what is asked of anybody is the fleet's business.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from infimm_eval import models
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.types import Request
from infimm_eval.workers.calls import Call
from infimm_eval.workers.cluster import Cluster, reason
from infimm_eval.workers.identity import Hello, differences, versions
from infimm_eval.workers.place import Place
from infimm_eval.workers.recipe import Recipe
from infimm_eval.workers.worker import AT_ONCE, Worker

TICK = 0.2
"""Seconds between looks at the clock."""
SLOW = 5.0
"""Times the usual after which a silent worker is given up."""
AGAIN = 10.0
"""Seconds until a place whose worker would not do is tried again."""
LEAVING = 2.0
"""Seconds for the workers of a machine to take away what they shared."""
HOPELESS = 3
"""So many workers that call the model's name a mistake are believed, where nobody else is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """How a fleet works.  No answer depends on any of these."""

    workers: int | None
    """At most so many; ``None``: as many as the cluster's accelerators are enough for."""
    cpus: int = 1
    """Processors, and so threads, of each."""
    gpus: float = 0
    """Accelerators of each."""
    patience: float = 300.0
    """Seconds without any worker before the run ends."""
    seconds: float = 2.0
    """How much work waits for each worker beside what its model is at, ..."""
    most: int = 256
    """... and the most requests of that."""
    floor: float = 60.0
    """Seconds of silence that no worker is given up for."""
    loading: float = 1800.0
    """Seconds that a model may take to load while nobody knows how long it takes."""
    paths: bool = True
    """Whether workers that can read the driver's pictures do."""


class Crew:
    """The places of a fleet.  Ray finds room for a worker in each, now or later.

    A worker must have the settings that the driver knows of the model, this machine's versions of
    libraries, and be in everything else as the first.  On this machine alone the driver need not
    read a checkpoint, nor bring in what that takes: the workers read the same files.
    """

    def __init__(
        self,
        recipe: Recipe,
        cluster: Cluster,
        options: FleetOptions,
        *,
        say: Callable[[str], None],
        count: Callable[[int], None],
    ) -> None:
        """``say`` is told what a person should know, ``count`` how many workers there are."""
        self.counts: Counter[str] = Counter()
        self.devices: tuple[str, ...] = ()
        """Of all workers there were, each kind once."""
        self._cluster, self._options, self._say, self._count = cluster, options, say, count
        self._actor = ray.remote(Worker).options(
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=AT_ONCE,
        )
        self._recipe = ray.put(recipe)
        self._known = None if cluster.is_local else _beside(recipe)
        self._first: Hello | None = None
        self._places: list[Place] = []
        self._failures = self._mistakes = self._told = 0
        self._loads: list[float] = []
        self._seen = time.monotonic()
        self._grown = self._looked = 0.0

    @property
    def live(self) -> list[Place]:
        """Those in which there is a worker that can answer."""
        return [place for place in self._places if place.hello is not None]

    def first(self) -> Hello:
        """The measure of all others; waits for one."""
        while self._first is None:
            self.tend()
            self.look(TICK)
        return self._first

    def tend(self) -> None:
        """See to it that every place has a worker, or one on its way.  MachineryError after too
        long without any."""
        now = time.monotonic()
        if now >= self._grown:
            self._grow()
            self._grown = now + AGAIN
        for place in self._places:
            if place.actor is None and place.vacant_until <= now:
                place.settle(self._actor.remote(self._recipe))
            elif place.began and place.hello is None and now - place.began > self._loading():
                self._fail(place, "a worker's model does not come to be loaded", AGAIN)
        if now >= self._looked:
            self.look(0)
        self._tell(now)

    def look(self, timeout: float) -> None:
        """See who has come to be, and who is ready."""
        self._looked = time.monotonic() + TICK
        coming = {p.up: p for p in self._places if p.up is not None}
        ready = {p.greeting: p for p in self._places if p.greeting is not None}
        if not coming and not ready:
            time.sleep(timeout)
            return
        for ref in ray.wait([*coming, *ready], num_returns=1, timeout=timeout)[0]:
            if ref in coming:
                coming[ref].up, coming[ref].began = None, time.monotonic()
            else:
                self._welcome(ready[ref])

    def answered(self) -> None:
        """Somebody has: what failed before is no series."""
        self._failures = 0

    def lose(self, place: Place, why: str, *, blamed: bool = True) -> None:
        """A worker is gone, or as good as gone: what it had is suspected, unless its whole node
        went."""
        self.counts["deaths"] += 1
        by_call: dict[Call, list[Request]] = {}
        for call, request in self._fail(place, f"worker {place.who.pid} is lost: {why}", 0.0):
            by_call.setdefault(call, []).append(request)
        for call, requests in by_call.items():
            if blamed:
                call.lost(requests, why)
            else:
                call.back(requests)

    def close(self) -> None:
        """All workers go, and the cluster with them if it is our own."""
        if each := [place.actor.leave.remote() for place in self._of_each_node()]:
            with suppress(RayError):
                ray.wait(each, num_returns=len(each), timeout=LEAVING)
        for place in self._places:
            with suppress(RayError):
                place.vacate(0.0)
        self._places = []
        self._cluster.close()

    def _of_each_node(self) -> list[Place]:
        """One worker of each machine."""
        return list({place.who.node: place for place in self.live}.values())

    def _grow(self) -> None:
        """As many places as are wanted, or as the cluster has room for by now."""
        wanted = self._options.workers
        if wanted is None:
            there = self._cluster.resources.get("GPU", 0.0)
            wanted = max(1, int(there // self._options.gpus)) if self._options.gpus else 1
        while len(self._places) < wanted:
            self._places.append(Place(len(self._places)))

    def _tell(self, now: float) -> None:
        live, patience = len(self.live), self._options.patience
        if live != self._told:
            self._count(live)
            if not live:
                self._say(f"no worker is left; waiting {patience:.0f} s for one")
            self._told = live
        if live or any(place.began for place in self._places):
            self._seen = now
        elif now - self._seen > patience:
            raise MachineryError(
                f"no worker for {patience:.0f} s; what was answered is kept, the same command "
                "continues"
            )

    def _loading(self) -> float:
        """Seconds that a model may take to load."""
        if not self._loads:
            return self._options.loading
        return max(self._options.floor, SLOW * max(self._loads))

    def _welcome(self, place: Place) -> None:
        try:
            hello: Hello = ray.get(place.greeting)
        except RayTaskError as error:
            self._turn_away(place, error.cause)
        except RayError as error:
            self._fail(place, f"a worker did not start ({reason(error)})", 1.0)
        else:
            self._admit(place, hello)

    def _turn_away(self, place: Place, cause: BaseException) -> None:
        """Its model could not be loaded.  Where that is a person's mistake, and nobody else could
        load it, the run ends with it."""
        if isinstance(cause, UsageError) and self._first is None:
            self._mistakes += 1
            if self._mistakes >= min(HOPELESS, len(self._places)):
                raise cause from None
        self._fail(place, f"a worker did not start ({cause})", AGAIN)

    def _admit(self, place: Place, hello: Hello) -> None:
        as_first = self._first.facts if self._first is not None else {}
        known = {} if self._known is None else self._known.result()
        wanted = {**as_first, **versions(), **known}
        if differs := differences(wanted, hello.facts):
            self.counts["refused"] += 1
            self._fail(place, f"a worker on {hello.node[:8]} is refused: {differs}", AGAIN)
            return
        self._loads.append(time.monotonic() - (place.began or time.monotonic()))
        self._first = self._first or hello
        self.devices = tuple(sorted({*self.devices, hello.device}))
        place.hello, place.greeting = hello, None
        self.counts["joined"] += 1

    def _fail(self, place: Place, why: str, wait: float) -> list[tuple[Call, Request]]:
        """Nobody can answer here, for so many seconds; what was to be answered."""
        self._say(why)
        had = place.vacate(wait)
        self._failures += 1
        if self._failures > 8 + 2 * len(self._places):
            raise MachineryError(
                f"worker after worker fails ({why}); what was answered is kept, the same command "
                "continues"
            )
        return had


def _beside(recipe: Recipe) -> Future[Mapping[str, Any]]:
    """What can be known of the model's settings here, found out while workers load it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="fingerprint")
    known = pool.submit(models.known_settings, recipe.spec, recipe.options)
    pool.shutdown(wait=False)
    return known
