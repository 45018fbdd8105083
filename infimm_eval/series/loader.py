"""Models of checkpoints: one held while it is asked, the next one's weights read meanwhile.

Knows when a model is needed; how one is opened is its caller's word.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module

from infimm_eval.errors import InfimmEvalError
from infimm_eval.run import evaluate
from infimm_eval.series.checkpoints import Checkpoint
from infimm_eval.types import Model


class Loader:
    """Opens checkpoints, one of them ahead of its turn; holds those that are not let go."""

    def __init__(self, load: Callable[[Checkpoint], Model]) -> None:
        self._load = load
        self._held: tuple[Checkpoint, Model] | None = None
        self._ahead: tuple[Checkpoint, Future[Model]] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="weights")

    def warm(self) -> None:
        """Import what opening takes, while nothing is there to be opened."""
        self._pool.submit(import_module, "infimm_eval.models.flamingo.build")

    def take(self, checkpoint: Checkpoint) -> Model:
        """The checkpoint's model, which is held until another is taken or it is let go."""
        if self._held is not None and self._held[0] == checkpoint:
            return self._held[1]
        self._drop()
        model = self._read(checkpoint) or self._load(checkpoint)
        self._held = checkpoint, model
        return model

    def read_ahead(self, checkpoint: Checkpoint) -> None:
        """Begin to open a checkpoint in a thread, unless another one is being opened."""
        held = self._held is not None and self._held[0] == checkpoint
        if not held and self._ahead is None:
            self._ahead = checkpoint, self._pool.submit(self._load, checkpoint)

    def let_go(self, checkpoint: Checkpoint) -> None:
        """Give back what its model holds."""
        if self._held is not None and self._held[0] == checkpoint:
            self._drop()

    def close(self) -> None:
        """Give back everything; what is still being read is not waited for."""
        self._drop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, checkpoint: Checkpoint) -> Model | None:
        """What was read ahead, if it was this one and went well: beside another model there may
        have been too little memory."""
        if self._ahead is None:
            return None
        ours, future = self._ahead
        self._ahead = None
        try:
            model = future.result()
        except (InfimmEvalError, OSError):
            return None
        if ours == checkpoint:
            return model
        evaluate.close(model)
        return None

    def _drop(self) -> None:
        if self._held is not None:
            evaluate.close(self._held[1])
            self._held = None
