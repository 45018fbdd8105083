"""A fleet's worker: one model in an actor of Ray's.  Knows nothing of the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from infimm_eval.types import Image, Request
from infimm_eval.workers.calls import Kind, pictures
from infimm_eval.workers.identity import Hello
from infimm_eval.workers.recipe import Recipe
from infimm_eval.workers.serving import Collected, Serving
from infimm_eval.workers.travel import is_here, unpacked

AT_ONCE = 6
"""Methods that run at a time: one waits for answers while others bring requests."""


class Worker:
    """The model is made in ``hello``, since what a constructor raises arrives without its type;
    one thread makes and runs it."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._model: Any
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._serving: Serving

    def up(self) -> None:
        """Comes back once there is a process."""

    def hello(self) -> Hello:
        """Load the model, and say who this is."""
        model = self._thread.submit(self._recipe.load).result()
        self._model = model
        self._serving = Serving(model)
        node = ray.get_runtime_context().get_node_id()
        found = self._thread.submit(Hello.of, model, node=node, pid=os.getpid()).result()
        self._thread.submit(self._serving.serve)
        return found

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

    def collect(self, low: int, linger: float) -> Collected:
        """What was answered since the last time; see ``Serving``."""
        return self._serving.collect(low, linger)

    def give_back(self, count: int) -> None:
        """Let go of requests that the model has not taken yet; see ``Serving``."""
        self._serving.give_back(count)

    def drop(self, call: int, ids: Sequence[str]) -> None:
        """Forget requests that others have answered; see ``Serving``."""
        self._serving.drop(call, ids)

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        """By the model's own eyes."""
        return self._serving.run(lambda: self._model.picture_encoder.encode_pictures(images))
