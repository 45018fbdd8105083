"""A fleet's worker: one model in an actor of Ray's.  Knows nothing of the others."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from threading import Thread
from typing import Any

import ray

from infimm_eval.types import Image, Request
from infimm_eval.workers.calls import Kind, pictures
from infimm_eval.workers.identity import Hello
from infimm_eval.workers.recipe import Recipe
from infimm_eval.workers.scratch import Shared
from infimm_eval.workers.serving import Collected, Serving
from infimm_eval.workers.travel import is_here, unpacked

AT_ONCE = 6
"""Methods that run at a time: one waits for answers while others bring requests."""


class Worker:
    """The model is made in ``hello``, since what a constructor raises arrives without its type."""

    def __init__(self, recipe: Recipe) -> None:
        self._shared = None if recipe.shared is None else Shared(recipe.shared)
        pictures = None if self._shared is None else self._shared.path
        self._serving = Serving(partial(recipe.load, pictures))
        self._model: Any = None
        Thread(target=_follow, args=(os.getppid(),), name="follow", daemon=True).start()

    def up(self) -> None:
        """Comes back once there is a process."""

    def hello(self) -> Hello:
        """Load the model, and say who this is."""
        self._model = self._serving.start()
        node = ray.get_runtime_context().get_node_id()
        return self._serving.run(lambda: Hello.of(self._model, node=node, pid=os.getpid()))

    def reads(self, image: Image, digest: str) -> bool:
        """Whether the picture lies where the driver says, and is the same."""
        try:
            return image.digest() == digest
        except OSError:
            return False

    def feed(
        self,
        call: int,
        kind: Kind,
        requests: Sequence[Request],
        digests: Sequence[str],
        *files: bytes,
        check: bool = False,
    ) -> bool:
        """More requests, with the ``files`` of the ``digests``.  With ``check``, pictures are to be
        read where the driver does: False where they are not there, and nothing was taken."""
        if check and not all(map(is_here, set(pictures(requests)))):
            return False
        if digests:
            requests = unpacked(requests, dict(zip(digests, files, strict=True)))
        self._serving.feed(call, kind, requests)
        return True

    def collect(self, low: int, linger: float, more: bool) -> Collected:
        """What was answered since the last time; see ``Serving``."""
        return self._serving.collect(low, linger, more=more)

    def give_back(self, count: int) -> None:
        """Let go of requests that the model has not taken yet; see ``Serving``."""
        self._serving.give_back(count)

    def drop(self, call: int, ids: Sequence[str]) -> None:
        """Forget requests that others have answered; see ``Serving``."""
        self._serving.drop(call, ids)

    def leave(self) -> None:
        """All workers of this machine are about to go: so does what they shared."""
        if self._shared is not None:
            self._shared.remove()

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        """By the model's own eyes."""
        return self._serving.run(lambda: self._model.picture_encoder.encode_pictures(images))


def _follow(raylet: int) -> None:
    """End with whoever started this process: Ray's own end waits for threads that may never."""
    while os.getppid() == raylet:
        time.sleep(1)
    os._exit(1)
