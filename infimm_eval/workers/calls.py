"""One call of ``generate`` or ``rank`` on a fleet: who gets which requests, and which are open.

Knows neither Ray nor a clock: workers are numbers, and every rule here is tested in microseconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from statistics import median
from typing import Literal, TypeAlias

from infimm_eval.types import Answer, Decoding, Image, Request

Kind: TypeAlias = Literal["generate", "rank"]

Manner: TypeAlias = tuple[Kind, Decoding]
"""Requests that are answered in one manner take about as long as each other."""

FIRST = 16
"""Requests that a worker is given while nobody knows how long they take."""
STOCK = 256
"""The most requests that wait for a worker."""
AHEAD = 4
"""Requests that are read for each worker, in stocks."""
LEAST = 8
"""The smallest leases are this part of usual ones."""
DEATHS = 2
"""Workers that may die over a request that is alone with them before it is given up."""


def pictures(requests: Iterable[Request]) -> Iterator[Image]:
    """Every picture in the prompts, in order; one that is shown twice comes twice."""
    turns = (turn for request in requests for turn in request.prompt.turns)
    return (part for turn in turns for part in turn.content if isinstance(part, Image))


def last_picture(request: Request) -> Image | None:
    """That of the question."""
    backwards = (part for turn in request.prompt.turns[::-1] for part in turn.content[::-1])
    return next((part for part in backwards if isinstance(part, Image)), None)


@dataclass(slots=True)
class Pace:
    """How long a request takes, by its manner: the median of what was seen last."""

    seconds: float
    """So much work waits for a worker, ..."""
    most: int
    """... in leases of at most so many requests."""
    _seen: dict[Manner, deque[float]] = field(default_factory=dict)
    _each: dict[Manner, float] = field(default_factory=dict)

    def saw(self, kind: Kind, answered: Sequence[Request], seconds: float) -> None:
        """Requests that a worker answered one after another, or together, in so long."""
        each = seconds / len(answered)
        for manner in {(kind, request.decoding) for request in answered}:
            seen = self._seen.setdefault(manner, deque(maxlen=64))
            seen.append(each)
            self._each[manner] = max(median(seen), 1e-6)

    def each(self, kind: Kind, request: Request) -> float | None:
        """Seconds for a request; ``None`` before one of its manner was answered."""
        return self._each.get((kind, request.decoding))

    def expected(self, kind: Kind, requests: Iterable[Request]) -> float | None:
        """Seconds for all of them; ``None`` where that of one is not known."""
        counted = Counter(request.decoding for request in requests)
        each = [self._each.get((kind, decoding)) for decoding in counted]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) < len(each):
            return None
        seconds: float = sum(each * n for each, n in zip(known, counted.values(), strict=True))
        return seconds

    def size(self, kind: Kind, request: Request) -> int:
        """How many of its like make a lease."""
        return min(self.most, self.stock(kind, request))

    def stock(self, kind: Kind, request: Request) -> int:
        """How many of its like should wait for a worker, in however many leases: an engine that
        batches draws far ahead, and makes better batches of what it sees."""
        each = self.each(kind, request)
        return FIRST if each is None else max(1, min(STOCK, int(self.seconds / each)))


class Call:
    """The requests of one call, read as they are needed, each answered once.

    A request waits for the worker to which its last picture belongs, so that one worker encodes
    it; whoever has nothing takes from whoever has most.  Requests that were with a worker when it
    died go on as suspects: one at a time, each with a worker that has nothing else, so that it is
    known what a death is to be blamed on.  One that alone took ``DEATHS`` along is given up.
    """

    def __init__(
        self, number: int, kind: Kind, requests: Iterable[Request], pace: Pace, counts: Counter[str]
    ) -> None:
        """``counts`` are the fleet's, which all its calls add to."""
        self.number, self.kind, self.pace, self.counts = number, kind, pace, counts
        self._source = iter(requests)
        self._exhausted = False
        self._stock = FIRST
        self._open: dict[str, Request] = {}
        self._waiting: dict[int, deque[Request]] = {}
        self._returned: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._deaths: Counter[str] = Counter()
        self._given_up: list[Answer] = []
        self._twice: dict[str, Answer | None] = {}

    @property
    def over(self) -> bool:
        """Everything was read and is answered."""
        return self._exhausted and not self._open and not self._given_up

    @property
    def ending(self) -> bool:
        """Everything was read: what is left is to be shared out so that all end together."""
        return self._exhausted

    @property
    def dry(self) -> bool:
        """Nothing waits: what is open is with workers."""
        queued = self._returned or self._suspects or any(self._waiting.values())
        return self._exhausted and not queued

    def workers(self, numbers: Sequence[int]) -> None:
        """Who is there now; what waits lies with whom it belongs to."""
        if list(self._waiting) == list(numbers):
            return
        waiting = [request for line in self._waiting.values() for request in line]
        self._waiting = {number: deque() for number in numbers}
        if not numbers:
            self._returned.extend(waiting)
            return
        for request in waiting:
            self._waiting[self._home(request)].append(request)

    @property
    def suspected(self) -> bool:
        """Whether requests wait to be alone with a worker."""
        return any(request.id in self._open for request in self._suspects)

    def suspect(self) -> Request | None:
        """The next request that is to be alone with a worker."""
        while self._suspects:
            request = self._suspects.popleft()
            if request.id in self._open:  # else another worker had it, too, and has answered
                return request
        return None

    def lease(self, number: int, *, idle: bool) -> list[Request]:
        """The next for this worker: what came back, its own, or, if it is idle, another's."""
        mine = self._waiting[number]
        size = self._size(mine)
        again = [self._returned.popleft() for _ in range(min(size, len(self._returned)))]
        if again := [request for request in again if request.id in self._open]:
            return again
        while len(mine) < size and self._read():
            size = self._size(mine)
        size = min(size, self._taper(size))
        if mine:
            return [mine.popleft() for _ in range(min(size, len(mine)))]
        longest = max(self._waiting.values(), key=len)
        if not idle or not longest:
            return []
        count = min(size, (len(longest) + 1) // 2)
        self.counts["stolen"] += count
        return [longest.pop() for _ in range(count)][::-1]

    def double(self, requests: Iterable[Request]) -> list[Request]:
        """Of what a slow worker has, that which is to be asked of another, too."""
        chosen = [r for r in requests if r.id in self._open and r.id not in self._twice]
        self._twice.update(dict.fromkeys(request.id for request in chosen))
        self.counts["doubled"] += len(chosen)
        return chosen

    def answered(self, answers: Iterable[Answer]) -> list[Answer]:
        """Those that are the first to their questions; a late one that says something else is
        counted as ``differing``."""
        first = []
        for answer in answers:
            if self._open.pop(answer.id, None) is not None:
                if answer.id in self._twice:
                    self._twice[answer.id] = answer
                first.append(answer)
            elif (before := self._twice.get(answer.id)) is not None:
                both = "error" not in (before.finish, answer.finish)
                self.counts["differing"] += both and answer.text != before.text
        return first

    def given_up(self) -> list[Answer]:
        """Errors of the questions over which workers died; each comes once."""
        found, self._given_up = self._given_up, []
        return found

    def back(self, requests: Iterable[Request]) -> None:
        """Requests that a worker did not come to, and is not blamed for."""
        self._returned.extend(self.still_open(requests))

    def still_open(self, requests: Iterable[Request]) -> list[Request]:
        """Those that nobody has answered yet."""
        return [request for request in requests if request.id in self._open]

    def lost(self, requests: Sequence[Request], why: str) -> None:
        """Requests that were with a worker when it died."""
        alone = len(requests) == 1
        for request in requests:
            if request.id not in self._open:
                continue
            self._deaths[request.id] += alone and request.id in self._deaths
            self._deaths.setdefault(request.id, 0)
            if self._deaths[request.id] < DEATHS:
                self._suspects.append(request)
                continue
            del self._open[request.id]
            said = f"{DEATHS} workers were lost over this question alone ({why})"
            self._given_up.append(Answer(request.id, "", "error", notes={"error": said}))

    def _size(self, line: Sequence[Request]) -> int:
        queued = line or self._returned
        return self.pace.size(self.kind, queued[0]) if queued else FIRST

    def _read(self) -> bool:
        """One more request into its line; not where enough of them wait."""
        if sum(map(len, self._waiting.values())) >= AHEAD * self._stock * len(self._waiting):
            return False
        request = None if self._exhausted else next(self._source, None)
        if request is None:
            self._exhausted = True
            return False
        self._stock = self.pace.stock(self.kind, request)
        self._open[request.id] = request
        self._waiting[self._home(request)].append(request)
        return True

    def _taper(self, size: int) -> int:
        """Smaller leases towards the end, so that all workers end together; none so small that
        handing it out would cost more."""
        if not self._exhausted:
            return self.pace.most
        left = sum(map(len, self._waiting.values()))
        return max(size // LEAST, 1, -(-left // (2 * len(self._waiting))))

    def _home(self, request: Request) -> int:
        """Rendezvous hashing (Thaler & Ravishankar 1998): a worker that comes or goes moves only
        what is its own."""
        last = last_picture(request)
        about = request.id if last is None else last.key
        return max(self._waiting, key=lambda n: sha256(f"{n} {about}".encode()).digest())
