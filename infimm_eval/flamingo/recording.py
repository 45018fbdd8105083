"""Decode steps recorded once and then replayed.

On an accelerator a step is a thousand short kernels, and launching them one by one takes longer
than running them.  A recording launches all at once.  Knows nothing of search, nor of which rows
of a cache are in use.

Shapes: R cache rows, T tokens of a step, S places, C capacity, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache as once
from time import perf_counter
from typing import TypeAlias

import torch
from torch import Tensor

from infimm_eval.flamingo.cache import Cache
from infimm_eval.flamingo.model import Flamingo

Capture: TypeAlias = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Work on tensors -> what does it again at the same addresses, and where its result then is."""


class Recorder:
    """Lends memory for decoding, with steps that are recorded where that pays.

    A step is recorded once it was computed `after` times on one cache; `None`: never.  The first
    loads the kernels that a recording needs.  Without `capture`, steps are recorded where the
    device has a way to: CUDA graphs.  `steps` counts all of them, `count` the recordings, and
    `seconds` says what those cost.
    """

    def __init__(self, after: int | None = 1, capture: Capture | None = None) -> None:
        self.after = after
        self.steps = 0
        self.count = 0
        self.seconds = 0.0
        self._capture = capture
        self._kept: Steps | None = None

    @contextmanager
    def lend(self, model: Flamingo, rows: int, capacity: int) -> Iterator[Steps]:
        """Steps on a cache whose rows are free: at least so many, of at least so many tokens.

        Where steps are recorded the cache is kept for the next that asks, and the recording with
        it, unless it is too small or far too long.  What fails meanwhile takes the memory along.
        """
        step, self._kept = self._kept, None
        if step is None or not step.serves(model, rows, capacity):
            step = None  # its memory goes before there is other
            step = Steps(model, model.new_cache(rows, capacity), self)
        yield step
        if step.recordable:
            step.cache.free(range(len(step.cache)))
            self._kept = step

    def give_way(self) -> bool:
        """Frees the memory that is kept for whoever asks next; whether there was any."""
        kept, self._kept = self._kept, None
        return kept is not None

    def capture_on(self, device: torch.device) -> Capture | None:
        """The way to record there; `None` where steps are computed."""
        if self.after is None:
            return None
        return self._capture or (_cuda_graph if device.type == "cuda" else None)


class Steps:
    """`Flamingo.step` on one `cache`.  What is recorded is one kind of call, of one T, with or
    without positions and what is visible; another kind begins to count anew.

    Logits are good until the next call.  A recording knows addresses, not contents: in between,
    rows may be freed, filled and adopted.  `Cache.select` moves the memory, which is for caches
    that are not `recordable`: where steps are recorded they cost much the same for many rows and
    few.
    """

    def __init__(self, model: Flamingo, cache: Cache, recorder: Recorder) -> None:
        self.model, self.cache, self.recorder = model, cache, recorder
        self.capture = recorder.capture_on(model.device)
        self._recorded: _Recorded | None = None
        self._computed = 0
        self._kind: tuple[int, bool] | None = None

    @property
    def recordable(self) -> bool:
        return self.capture is not None

    def serves(self, model: Flamingo, rows: int, capacity: int) -> bool:
        """Whether it would do, and without looking at twice as many places as there need be."""
        fits = rows <= len(self.cache) and capacity <= self.cache.capacity <= 2 * capacity
        return fits and model is self.model

    def __call__(
        self,
        ids_RT: Tensor,
        positions_RT: Tensor | None = None,
        visible_RTS: Tensor | None = None,
    ) -> Tensor:
        """As `Flamingo.step`."""
        T = ids_RT.shape[1]
        self.recorder.steps += 1
        if self.capture is None or not self._like_before(T, visible_RTS is None):
            return self.model.step(self.cache, ids_RT, positions_RT, visible_RTS)
        if positions_RT is None:
            self.model.check_positions(max(self.cache.lengths) + T)
        at_RT = self.cache.places(T)
        if self._recorded is None:
            began = perf_counter()
            self._recorded = _Recorded(
                self.model, self.cache, self.capture, at_RT, positions_RT, visible_RTS
            )
            self.recorder.count += 1
            self.recorder.seconds += perf_counter() - began
        logits_RTY = self._recorded(ids_RT, at_RT, positions_RT, visible_RTS)
        self.cache.grow(T)
        return logits_RTY

    def _like_before(self, tokens: int, plain: bool) -> bool:
        """Counts calls of one kind; whether there were enough of them."""
        if self._kind != (tokens, plain):
            self._kind, self._computed, self._recorded = (tokens, plain), 0, None
        self._computed += 1
        return self.recorder.after is not None and self._computed > self.recorder.after


class _Recorded:
    """One step with its inputs at fixed addresses.  It looks at all places of the cache, so that
    it is right for sequences of any length."""

    def __init__(
        self,
        model: Flamingo,
        cache: Cache,
        capture: Capture,
        at_RT: Tensor,
        positions_RT: Tensor | None,
        visible_RTS: Tensor | None,
    ) -> None:
        self.ids_RT, self.at_RT = torch.zeros_like(at_RT), at_RT.clone()
        self.positions_RT = None if positions_RT is None else positions_RT.clone()
        self.visible_RTC = None
        if visible_RTS is not None:
            room = (*at_RT.shape, cache.capacity)
            self.visible_RTC = visible_RTS.new_ones(room)

        def work() -> Tensor:
            return model.logits(
                model.extend_at(
                    cache,
                    self.ids_RT,
                    self.at_RT,
                    self.positions_RT,
                    self.visible_RTC,
                    keys=cache.capacity,
                )
            )

        self._replay, self._logits_RTY = capture(work)

    def __call__(
        self,
        ids_RT: Tensor,
        at_RT: Tensor,
        positions_RT: Tensor | None,
        visible_RTS: Tensor | None,
    ) -> Tensor:
        self.ids_RT.copy_(ids_RT)
        self.at_RT.copy_(at_RT)
        if self.positions_RT is not None and positions_RT is not None:
            self.positions_RT.copy_(positions_RT)
        if self.visible_RTC is not None and visible_RTS is not None:
            self.visible_RTC.zero_()
            self.visible_RTC[..., : visible_RTS.shape[-1]] = visible_RTS
        self._replay()
        return self._logits_RTY


def _cuda_graph(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    graph, stream = torch.cuda.CUDAGraph(), _stream(torch.cuda.current_device())
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Other threads may go on with what a recording forbids, such as pinning memory.
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            result = work()
        except BaseException:
            with suppress(RuntimeError):  # of the broken recording; what broke it is raised
                graph.capture_end()
            raise
        graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)
    return graph.replay, result


@once
def _stream(device: int) -> torch.cuda.Stream:
    """One for all recordings of a device: every stream has a workspace of its own."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
