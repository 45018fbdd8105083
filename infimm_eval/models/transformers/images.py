"""The image encoder: a model of the transformers library encodes each distinct picture once.

Knows where models call their towers; what is asked about a picture is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from infimm_eval.flamingo.attention import any_shape
from infimm_eval.models.shared.batch_limiter import BatchLimiter
from infimm_eval.models.shared.feature_cache import FeatureCache
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.transformers.towers import (
    Form,
    Row,
    Unfamiliar,
    close,
    cut,
    digest_of,
    joined,
    settings_of,
    taken,
)

AT_ONCE = 32
"""Rows that the tower is given in one call."""


class ImageEncoder:
    """Stands between a model and its tower, which then sees only what it has not seen before.

    A row is known by every number that the tower would be given for it, so that the features of
    one are never taken for those of another.  Where arguments or features are of no known kind, or
    some rows of the first call have other features when they are encoded by themselves, the model
    goes on encoding everything.

    ``pictures_encoded`` counts pictures.  Where a picture is several rows, ``tiles_asked``
    (distinct in their batch) and ``tiles_encoded`` count rows instead.
    """

    def __init__(self, features: FeatureCache, statistics: Statistics) -> None:
        self.features = features
        self.statistics = statistics
        self.limiter: BatchLimiter[Row] = BatchLimiter(AT_ONCE, statistics, features.give_way)
        self._tower: Callable[..., Any] | None = None
        self._given: Sequence[Tensor] | None = None
        self._aside = False
        self._lock = Lock()
        self._expected: dict[str, Row] = {}
        self._dtype = torch.float32
        self._trusted: bool | None = None  # not tried yet
        self._form: Form | None = None
        self._distinct = 0
        self._consulted = False

    def attend(self, model: Any) -> None:
        """From now on, where the model is one whose tower can be stood before."""
        inner = model.base_model
        if type(inner).__name__ == "IdeficsModel":
            inner.register_forward_pre_hook(self._before_idefics, with_kwargs=True)
        elif hasattr(inner, "get_image_features"):
            self._tower, self._dtype = inner.get_image_features, model.dtype
            inner.get_image_features = self._around(inner.get_image_features)

    @contextmanager
    def showing(self, digests: Sequence[Sequence[str]]) -> Iterator[None]:
        """Around a call to the model with these pictures, prompt by prompt."""
        self._distinct = len({digest for each in digests for digest in each})
        self._consulted = False
        yield
        if self._distinct and not self._consulted:
            self.statistics.count("pictures_encoded", sum(map(len, digests)))

    @contextmanager
    def giving(self, features: Sequence[Tensor]) -> Iterator[None]:
        """Around a call to the model whose tower gives these, whatever it is shown."""
        self._given = features
        try:
            yield
        finally:
            self._given = None

    @contextmanager
    def standing_aside(self) -> Iterator[None]:
        """Around a call to the model that encodes whatever it is shown."""
        self._aside = True
        try:
            yield
        finally:
            self._aside = False

    def expect(self, tower: Mapping[str, Tensor]) -> list[str] | None:
        """The digests of the rows that one prompt shows to the tower, in any thread; None where
        they cannot be told apart.  Each is kept until it is fetched for the first time."""
        named = signature(self._tower).parameters if self._tower else {}
        rows = cut(tower) if set(tower) <= set(named) else None
        if rows is None:
            return None
        rows = [{name: self._cast(tensor) for name, tensor in row.items()} for row in rows]
        digests = [digest_of(row, {}) for row in rows]
        with self._lock:
            for digest, row in zip(digests, rows, strict=True):
                if digest not in self._expected and not self.features.holds(digest):
                    self._expected[digest] = {name: each.clone() for name, each in row.items()}
        return digests

    def fetch(self, digests: Sequence[str], *, pictures: int) -> dict[str, Tensor]:
        """The features (layers, V, D) of rows that were expected, encoding those that are not kept;
        without those that were dropped since.  They are those of so many ``pictures``."""
        kept = {digest: self.features.get(digest) for digest in dict.fromkeys(digests)}
        found = {digest: features for digest, features in kept.items() if features is not None}
        with self._lock:
            missing = {d: self._expected[d] for d in kept if d not in found and d in self._expected}
        for alike in _by_shape(missing):
            rows = [missing[digest] for digest in alike]
            for digest, features in zip(alike, self.limiter.run(rows, self._encode), strict=True):
                found[digest] = self.features.put(digest, features)
        with self._lock:
            for digest in found:
                self._expected.pop(digest, None)
        if len(kept) > pictures:
            self.statistics.count("tiles_asked", len(digests))
        what = "tiles_encoded" if len(kept) > pictures else "pictures_encoded"
        self.statistics.count(what, len(missing))
        return found

    def _encode(self, rows: Sequence[Row]) -> list[Tensor]:
        assert self._tower is not None
        device = self.features.device
        shown = {name: tensor.to(device) for name, tensor in joined(rows).items()}
        with self.statistics.stage("encode"), torch.inference_mode(), any_shape():
            return self._taken(self._tower(**shown, return_dict=True), len(rows))

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def _recall(
        self, rows: Mapping[str, Row], encode: Callable[[Sequence[str]], list[Tensor]]
    ) -> dict[str, Tensor]:
        """The features of distinct rows by their digests, encoding those that are not kept."""
        kept = {digest: self.features.get(digest) for digest in rows}
        found = {digest: features for digest, features in kept.items() if features is not None}
        missing = [digest for digest in rows if digest not in found]
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            for digest, features in zip(some, encode(some), strict=True):
                found[digest] = self.features.put(digest, features)
        self._consulted = True
        self._count(rows, missing)
        return found

    def _count(self, rows: Mapping[str, Row], missing: Sequence[str]) -> None:
        """Rows of nothing but zeros are there to fill a batch."""
        real = {digest for digest, row in rows.items() if row["pixel_values"].any()}
        encoded = len(real.intersection(missing))
        if len(real) <= self._distinct:
            self.statistics.count("pictures_encoded", encoded)
        else:
            self.statistics.count("tiles_asked", len(real))
            self.statistics.count("tiles_encoded", encoded)

    # -- where models call their towers ----------------------------------------------------------

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The method by which most models make features of pixels, behind a feature cache."""
        named = signature(original)

        @wraps(original)
        def features(*args: Any, **kwargs: Any) -> Any:
            if self._given is not None:
                assert self._form is not None
                return self._form.output(self._given)
            if self._aside:
                return original(*args, **kwargs)
            arguments = dict(named.bind(*args, **kwargs).arguments)
            arguments |= arguments.pop("kwargs", {})
            if self._trusted is not False and (rows := cut(arguments)):
                try:
                    return self._features(original, arguments, rows)
                except Unfamiliar:
                    self._trusted = False
            return original(*args, **kwargs)

        return features

    def _features(
        self, original: Callable[..., Any], arguments: dict[str, Any], rows: Sequence[Row]
    ) -> Any:
        settings = {n: v for n, v in arguments.items() if not isinstance(v, Tensor)}
        digests = [digest_of(row, settings_of(arguments)) for row in rows]
        distinct = dict(zip(digests, rows, strict=True))

        def encode(some: Sequence[str]) -> list[Tensor]:
            return self._taken(
                original(**settings, **joined([distinct[d] for d in some])), len(some)
            )

        if self._trusted is None and len(distinct) > 1:
            whole = self._taken(original(**arguments), len(rows))
            made = dict(zip(digests, whole, strict=True))
            self._try(made, encode)
            found = self._recall(distinct, lambda some: [made[digest] for digest in some])
        else:
            found = self._recall(distinct, encode)
        assert self._form is not None
        return self._form.output([found[digest] for digest in digests])

    def _try(
        self, made: Mapping[str, Tensor], encode: Callable[[Sequence[str]], list[Tensor]]
    ) -> None:
        """Whether rows that the model encoded among others have the features that they have by
        themselves."""
        some = list(made)[:4]
        self._trusted = all(close(made[digest], encode([digest])[0]) for digest in some)
        if not self._trusted:
            raise Unfamiliar

    def _taken(self, output: Any, count: int) -> list[Tensor]:
        self._form, features = taken(output, count)
        return features

    def _before_idefics(self, inner: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """IDEFICS-1 has no such method, but takes features in the place of pixels (B, I, ...)."""
        pixels = kwargs.get("pixel_values")
        if pixels is None:
            return None
        interpolate = kwargs.get("interpolate_pos_encoding", False)

        rows = [{"pixel_values": row[None]} for row in pixels.flatten(0, 1)]
        digests = [digest_of(row, {"interpolate": interpolate}) for row in rows]
        distinct = dict(zip(digests, rows, strict=True))

        def encode(some: Sequence[str]) -> list[Tensor]:
            wanted = joined([distinct[digest] for digest in some])
            hidden = inner.vision_model(**wanted, interpolate_pos_encoding=interpolate)[0]
            if inner.config.use_resampler:
                hidden = inner.perceiver_resampler(hidden)
            return [features.clone() for features in hidden]

        found = self._recall(distinct, encode)
        features = torch.stack([found[digest] for digest in digests])
        features = features.reshape(*pixels.shape[:2], *features.shape[1:])
        name = "perceiver_embeddings" if inner.config.use_resampler else "image_encoder_embeddings"
        return args, kwargs | {"pixel_values": None, name: features}


def _by_shape(rows: Mapping[str, Row]) -> list[list[str]]:
    """The digests of rows that can be joined, together."""
    alike: dict[Any, list[str]] = {}
    for digest, row in rows.items():
        shapes = tuple((name, tensor.shape[1:]) for name, tensor in sorted(row.items()))
        if "image_grid_thw" in row:
            shapes = ()  # patches of all stand one after another
        alike.setdefault(shapes, []).append(digest)
    return list(alike.values())
