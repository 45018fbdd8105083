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
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.model import Flamingo

Capture: TypeAlias = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Work on tensors -> what does it again at the same addresses, and where its result then is."""


class CudaGraphs:
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
        return self._capture or (partial(_cuda_graph, device) if device.type == "cuda" else None)


class Steps:
    """`Flamingo.step` on one `cache`.  Where steps are recorded, one kind of them is at a time, of
    one T, with or without positions and what is visible; another kind begins anew.

    Logits are good until the next call.  A recording knows addresses, not contents: in between,
    rows may be freed, filled and adopted.  `KVCache.select` moves the memory, which is for caches
    that are not `recordable`: where steps are recorded they cost much the same for many rows and
    few.
    """

    def __init__(self, model: Flamingo, cache: KVCache, graphs: CudaGraphs) -> None:
        self.model, self.cache, self.graphs = model, cache, graphs
        self.capture = graphs.capture_on(model.device)
        self._fixed: _Fixed | None = None

    @property
    def recordable(self) -> bool:
        """Whether steps are recorded here."""
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
        self.graphs.steps += 1
        if self.capture is None:
            return self.model.step(self.cache, ids_RT, positions_RT, visible_RTS)
        T = ids_RT.shape[1]
        if positions_RT is None:
            self.model.check_positions(max(self.cache.lengths) + T)
        inputs = _Inputs(ids_RT, self.cache.places(T), positions_RT, visible_RTS)
        if self._fixed is None or self._fixed.kind != inputs.kind:
            self._fixed = None  # its recording goes before there is another
            self._fixed = _Fixed(self.model, self.cache, inputs)
        logits_RTY = self._fixed(inputs, self.graphs, self.capture)
        self.cache.grow(T)
        return logits_RTY


class _Inputs(NamedTuple):
    ids_RT: Tensor
    at_RT: Tensor
    positions_RT: Tensor | None
    visible_RTS: Tensor | None

    @property
    def kind(self) -> tuple[int, bool, bool]:
        return self.ids_RT.shape[1], self.positions_RT is None, self.visible_RTS is None


class _Fixed:
    """One kind of step with its inputs at fixed addresses.  It looks at all places of the cache, so
    that it is right for sequences of any length, and always of one shape."""

    def __init__(self, model: Flamingo, cache: KVCache, like: _Inputs) -> None:
        self.model, self.cache, self.kind = model, cache, like.kind
        visible = like.visible_RTS
        if visible is not None:
            visible = visible.new_zeros((*like.ids_RT.shape, cache.capacity))
        positions = like.positions_RT
        self.inputs = _Inputs(
            torch.zeros_like(like.ids_RT),
            torch.zeros_like(like.at_RT),
            None if positions is None else torch.zeros_like(positions),
            visible,
        )
        self._computed = 0
        self._replay: Callable[[], None] | None = None
        self._logits_RTY: Tensor | None = None

    def __call__(self, inputs: _Inputs, graphs: CudaGraphs, capture: Capture) -> Tensor:
        self._take(inputs)
        if graphs.after is None or self._computed < graphs.after:
            self._computed += 1
            return self._work()
        if self._replay is None or self._logits_RTY is None:
            began = perf_counter()
            self._replay, self._logits_RTY = capture(self._work)
            graphs.count += 1
            graphs.seconds += perf_counter() - began
        self._replay()
        return self._logits_RTY

    def _take(self, inputs: _Inputs) -> None:
        for fixed, new in zip(self.inputs[:3], inputs[:3], strict=True):
            if fixed is not None and new is not None:
                fixed.copy_(new)
        fixed, new = self.inputs.visible_RTS, inputs.visible_RTS
        if fixed is not None and new is not None:
            fixed.zero_()
            fixed[..., : new.shape[-1]] = new

    def _work(self) -> Tensor:
        keys = self.cache.capacity
        return self.model.logits(self.model.extend_at(self.cache, *self.inputs, keys=keys))


def _cuda_graph(
    device: torch.device, work: Callable[[], Tensor]
) -> tuple[Callable[[], None], Tensor]:
    graph, stream = torch.cuda.CUDAGraph(), _stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):  # and on its device, which need not be the current one
        # Other threads may go on with what a recording forbids, such as pinning memory.
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            result = work()
        except BaseException:
            with suppress(RuntimeError):  # of the broken recording; what broke it is raised
                graph.capture_end()
            raise
        graph.capture_end()
    torch.cuda.current_stream(device).wait_stream(stream)
    return graph.replay, result


@once
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings of a device: every stream has a workspace of its own."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
