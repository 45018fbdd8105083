"""One model on many replicas: a ``Model`` whose requests are answered by actors of Ray's.

The driver alone knows what is asked and what is answered.  Whatever dies, hangs, leaves or joins,
each request is answered once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from infimm_eval.errors import InfimmEvalError, UsageError, unforeseen
from infimm_eval.types import Answer, Image, Request, Style
from infimm_eval.workers.calls import LEAST, Call, Kind, Pace, pictures
from infimm_eval.workers.cluster import Cluster, reason
from infimm_eval.workers.crew import SLOW, TICK, Crew, FleetOptions
from infimm_eval.workers.eyes import FleetEyes
from infimm_eval.workers.place import Place
from infimm_eval.workers.recipe import Recipe
from infimm_eval.workers.serving import Collected
from infimm_eval.workers.travel import PictureStore


class Fleet:
    """``recipe`` makes the model on each worker's machine.  ``say`` is told what a person should
    know, ``count`` how many workers there are.  Those for which there is no room yet join when
    there is."""

    def __init__(
        self,
        recipe: Recipe,
        cluster: Cluster,
        options: FleetOptions,
        *,
        say: Callable[[str], None] = lambda text: None,
        count: Callable[[int], None] = lambda workers: None,
    ) -> None:
        """Returns when the first worker is there.  The cluster is closed with the fleet."""
        self._options = options
        self._crew = Crew(recipe, cluster, options, say=say, count=count)
        self._here = ray.get_runtime_context().get_node_id()
        self._paths = options.paths
        self._pace = Pace(options.seconds, options.most)
        self._reports: dict[tuple[str, int], Mapping[str, Any]] = {}
        room = int(cluster.resources.get("object_store_memory", 2e8)) // 4
        self._store = PictureStore(room, ray.put)
        self._calls = 0
        self.answered_by: tuple[str, int] = ("", 0)
        """Kind and process of the worker whose answer was yielded last."""
        try:
            first = self._crew.first()
        except BaseException:
            self.close()
            raise
        self.name: str = first.name
        self.style: Style = first.style
        self.settings: Mapping[str, Any] = (
            first.settings
        )  # of one worker: a run goes on alone or with others
        self.rank = self._rank if first.ranks else None
        self.prompt_format = first.beside.get("prompt_format")
        self.one_picture = bool(first.beside.get("one_picture", False))
        self.picture_tokens = first.beside.get("picture_tokens")
        self.remarks = first.beside.get("remarks", ())
        self.picture_encoder = None if first.eyes is None else FleetEyes(first.eyes, self._encode)

    @property
    def device(self) -> str:
        """Of all workers there were, each kind once."""
        return ", ".join(self._crew.devices)

    @property
    def statistics(self) -> Mapping[str, float]:
        """Sums over all workers there were: seconds are workers' seconds, ``distinct`` is so for
        each of them.  What the fleet counts itself begins with ``fleet_``."""
        store = {"pictures_put": self._store.puts, "bytes_put": self._store.bytes}
        counted = {**self._crew.counts, **store}
        merged: Counter[str] = Counter({f"fleet_{name}": n for name, n in counted.items()})
        for report in self._reports.values():
            merged.update({k: n for k, n in report.items() if isinstance(n, int | float)})
        return {name: round(n, 4) for name, n in sorted(merged.items())}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """As answers come in from any worker."""
        return self._answers("generate", requests)

    def close(self) -> None:
        """All workers go, and the cluster with them if it is our own."""
        self._crew.close()

    def _rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return self._answers("rank", requests)

    def _answers(self, kind: Kind, requests: Iterable[Request]) -> Iterator[Answer]:
        self._calls += 1
        call = Call(self._calls, kind, requests, self._pace, self._crew.counts)
        for place in self._crew.live:
            place.heard = time.monotonic()  # nobody has listened in between
        while True:
            self._crew.tend()
            self._deal(call)
            yield from call.given_up()
            if call.over:
                self._forget(call)
                return
            yield from self._harvest(call)

    def _deal(self, call: Call) -> None:
        live = self._crew.live
        call.workers([place.number for place in live])
        for place in live:
            self._fill(call, place)
        if call.dry:
            self._relieve(call, [place for place in live if place.idle])
        for place in live:
            place.listen(1 if call.dry else self._low(call, place), more=not call.dry)

    def _fill(self, call: Call, place: Place) -> None:
        """A worker that has nothing gets a suspect, if there is one, and the first sees to it that
        it comes to have nothing; others get what is theirs."""
        if not place.held and (suspect := call.suspect()) is not None:
            self._give(call, place, [suspect])
            place.alone = True
        if call.suspected and place is self._crew.live[0]:
            return
        while not place.alone and (not place.held or place.waiting < self._low(call, place)):
            lease = call.lease(place.number, idle=place.idle)
            if not lease:
                return
            self._give(call, place, lease)

    def _low(self, call: Call, place: Place) -> int:
        """So many requests should wait for a worker beside what its model is at."""
        last = next(reversed(place.held.values()), None)
        usual = 0 if last is None else self._pace.stock(last[0].kind, last[1])
        return usual // (LEAST if call.ending else 2) + 1

    def _give(self, call: Call, place: Place, requests: Sequence[Request]) -> None:
        shown = next(pictures(requests), None)
        by_path = place.sees(shown, here=self._here, paths=self._paths)
        place.give(call, requests, self._store, by_path=by_path)

    def _relieve(self, call: Call, idle: Sequence[Place]) -> None:
        """Nothing waits, and some have nothing to do: they get what others have not begun, and
        what others are slow with."""
        now = time.monotonic()
        busy = [place for place in self._crew.live if not (place.idle or place.alone)]
        busy.sort(key=lambda place: -len(place.held))
        for place, free in zip(busy, idle, strict=False):
            if place.spare and not place.recalled:
                place.recall(place.spare)
            elif place.overdue(now):
                mine = [request for whose, request in place.held.values() if whose is call]
                if again := call.double(mine):
                    self._give(call, free, again)

    def _harvest(self, call: Call) -> Iterator[Answer]:
        live = self._crew.live
        coming = {place.collecting: place for place in live if place.collecting is not None}
        coming |= {ref: place for place in live for ref in place.feeding}
        if not coming:
            self._crew.look(TICK)
            return
        for ref in ray.wait(list(coming), num_returns=1, timeout=TICK)[0]:
            place = coming[ref]
            if ref is place.collecting:
                yield from self._take(call, place)
            else:
                self._arrive(place, ref)
        now = time.monotonic()
        for place in self._crew.live:
            if place.silent(now, self._options.floor, SLOW):
                self._crew.lose(place, "no answer in time")

    def _take(self, call: Call, place: Place) -> Iterator[Answer]:
        try:
            collected: Collected = ray.get(place.collecting)
        except RayTaskError as error:
            self._crew.lose(place, unforeseen(error.cause))
            return
        except RayError as error:
            self._died(place, error)
            return
        returned = [request for whose, request in place.took(collected) if whose is call]
        free = next((p for p in self._crew.live if p.idle and p is not place), None)
        if free is not None and (given := call.still_open(returned)):
            self._give(call, free, given)
        else:
            call.back(returned)
        if collected.answers:
            self.answered_by = (place.who.kind, place.who.pid)
            yield from self._answered(call, place, collected)
        if isinstance(collected.error, UsageError):
            raise collected.error
        if collected.error is not None:
            self._crew.lose(place, str(collected.error))

    def _answered(self, call: Call, place: Place, collected: Collected) -> list[Answer]:
        """The answers that are the first to questions of this call."""
        self._crew.answered()
        self._reports[place.who.node, place.who.pid] = collected.statistics
        done = [
            (answer, *place.answered(number, answer.id)) for number, answer in collected.answers
        ]
        self._pace.saw(done[-1][1].kind, [request for *_, request in done], collected.seconds)
        # Those of an earlier call come from whoever was slower.
        return [a for answer, whose, _ in done for a in whose.answered([answer]) if whose is call]

    def _arrive(self, place: Place, ref: Any) -> None:
        """Whether requests on their way have found their pictures."""
        names = place.feeding.pop(ref)
        try:
            arrived = bool(ray.get(ref))
        except RayTaskError as error:
            self._crew.lose(place, f"requests did not arrive ({reason(error)})", blamed=False)
            return
        except RayError as error:
            self._died(place, error)
            return
        if not arrived:
            place.reads = self._paths = False
            for whose, request in place.untaken(names):
                whose.back([request])

    def _died(self, place: Place, error: RayError) -> None:
        self._crew.lose(place, reason(error), blamed="its node has died" not in str(error))

    def _forget(self, call: Call) -> None:
        """What others were faster with need not be begun."""
        for place in self._crew.live:
            if ids := [id for number, id in place.held if number == call.number]:
                place.actor.drop.remote(call.number, ids)

    def _encode(self, images: Sequence[Image]) -> Any:
        """By a worker that is there."""
        while True:
            self._crew.tend()
            live = self._crew.live
            if not live:
                self._crew.look(TICK)
                continue
            place = min(live, key=lambda place: len(place.held))
            here = place.who.node == self._here and self._paths
            sent = images if here else [self._store.whole(image) for image in images]
            try:
                return ray.get(place.actor.encode_pictures.remote(sent))
            except RayTaskError as error:
                if isinstance(error.cause, InfimmEvalError):
                    raise error.cause from None
                self._crew.lose(place, unforeseen(error.cause))
            except RayError as error:
                self._crew.lose(place, reason(error))
