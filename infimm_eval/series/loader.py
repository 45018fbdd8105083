"""Models of checkpoints: one held while it is asked, the next one's weights read meanwhile.

Knows when a model is needed; how one is opened is its caller's word.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import TypeAlias

from infimm_eval import models
from infimm_eval.errors import InfimmEvalError
from infimm_eval.run import evaluate
from infimm_eval.series.checkpoints import Checkpoint
from infimm_eval.types import Model

Ready: TypeAlias = Callable[[], Model]
"""What makes a model of what was read, and closes the one in whose memory it may be made."""


class Loader:
    """Opens checkpoints, one of them ahead of its turn, and holds the model of one.

    A model whose memory the next one can be made in is held until then: there are never more than
    it and the weights that are read.
    """

    def __init__(self, load: Callable[[Checkpoint, Model | None], Ready]) -> None:
        """``load``: from a checkpoint and the model that stands, which may be answering."""
        self._load = load
        self._held: tuple[Checkpoint, Model] | None = None
        self._ahead: tuple[Checkpoint, Future[Ready]] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="weights")

    def warm(self) -> None:
        """Import what opening takes, while nothing is there to be opened."""
        self._pool.submit(import_module, "infimm_eval.models.flamingo.build")

    def take(self, checkpoint: Checkpoint) -> Model:
        """The checkpoint's model, which is held until another is taken or it is let go."""
        if self._held is not None and self.holds(checkpoint):
            return self._held[1]
        if self._standing is None:
            self._drop()
        ready = self._read(checkpoint) or self._load(checkpoint, self._standing)
        self._held = None  # whatever comes of it, that one is not what it was
        model = ready()
        self._held = checkpoint, model
        return model

    def holds(self, checkpoint: Checkpoint) -> bool:
        """Whether its model is there."""
        return self._held is not None and self._held[0] == checkpoint

    def read_ahead(self, checkpoint: Checkpoint) -> None:
        """Begin to open a checkpoint in a thread, unless another one is being opened."""
        if not self.holds(checkpoint) and self._ahead is None:
            self._ahead = checkpoint, self._pool.submit(self._load, checkpoint, self._standing)

    def let_go(self, checkpoint: Checkpoint) -> None:
        """Give back what its model holds; its memory alone where the next one can be made in it,
        and also what it has recorded where that one's weights are being read."""
        if self._held is None or not self.holds(checkpoint):
            return
        if self._standing is None:
            self._drop()
        elif self._ahead is None:
            evaluate.close(self._held[1])

    def forget(self, checkpoint: Checkpoint) -> None:
        """Give back its model, which is not what the checkpoint holds."""
        if self.holds(checkpoint):
            self._drop()

    def close(self) -> None:
        """Give back everything; what is still being read is not waited for."""
        self._drop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _standing(self) -> Model | None:
        """The model that is held, if the next one can be made in its memory."""
        held = None if self._held is None else self._held[1]
        return held if held is not None and models.stands_in(held) else None

    def _read(self, checkpoint: Checkpoint) -> Ready | None:
        """What was read ahead, if it was this one and went well: beside another model there may
        have been too little memory."""
        if self._ahead is None:
            return None
        ours, future = self._ahead
        self._ahead = None
        try:
            ready = future.result()
        except (InfimmEvalError, OSError):
            return None
        if ours == checkpoint:
            return ready
        if self._standing is None:  # else there are weights alone, which go by themselves
            evaluate.close(ready())
        return None

    def _drop(self) -> None:
        if self._held is not None:
            evaluate.close(self._held[1])
            self._held = None
