"""Options ranked by a model of the transformers library: the log-likelihood of each.

Knows tensors and KV caches; which requests are asked when is not its business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from inspect import signature
from itertools import islice
from typing import Any, TypeAlias

import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.attention import any_shape
from infimm_eval.models.shared.batch_limiter import BatchLimiter, lacks_memory
from infimm_eval.models.shared.refusals import NOT_FINITE, refused
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.transformers.batches import Collator
from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.prompts import Pieces
from infimm_eval.models.transformers.reader import Reader, below
from infimm_eval.models.transformers.requests import Job
from infimm_eval.types import Answer

Inputs: TypeAlias = Mapping[str, Tensor]
"""The processor's tensors for one prompt, without padding."""
Option: TypeAlias = Sequence[int]
"""In ids."""

AT_ONCE = 64
"""Options that are read in one call, until memory gives out."""


class Likelihoods:
    """Reads a prompt once and lets all its options go on from there.

    That a model can go on in several rows, by several tokens at once, is tried on the first prompt
    of each kind, with pictures or without, with options of one token or of more: where the numbers
    are not those of options that have a copy of the prompt before them, they go on having it.
    What was done is counted in ``prompts_read_once`` and ``prompts_read_by_option``.
    """

    def __init__(
        self,
        model: Any,
        images: ImageEncoder,
        statistics: Statistics,
        give_way: Callable[[], bool],
        *,
        pad: int,
        sharing: bool,
    ) -> None:
        self.model = model
        self.images = images
        self.statistics = statistics
        self.limiter: BatchLimiter[Option] = BatchLimiter(AT_ONCE, statistics, give_way)
        self.together: BatchLimiter[tuple[int, Option]] = BatchLimiter(
            AT_ONCE, statistics, give_way
        )
        self.pad = pad
        self._shareable = sharing and not model.config.is_encoder_decoder and not model._is_stateful
        self._trusted: dict[Hashable, bool] = {}
        reads_less = "logits_to_keep" in signature(model.forward).parameters
        self._last: dict[str, int] = {"logits_to_keep": 1} if reads_less else {}
        # PaliGemma sees everything of kind 0 from everywhere: the answer too would know its end.
        self._kind = 1 if model.config.model_type == "paligemma" else 0

    def trusts(self, job: Job) -> bool:
        """Whether options of this kind are known to go on from a prompt that was read once."""
        return self._trusted.get(_kind(job.digests, job.options)) is True

    def of_many(self, jobs: Sequence[Job], reader: Reader) -> list[tuple[float, ...]]:
        """The same for many prompts that have ``tokens``, read side by side."""
        prompts = [job.tokens for job in jobs if job.tokens is not None]
        groups = reader.read(prompts)
        read = below([(each, list(range(len(places)))) for places, each in groups])
        order = [place for places, _ in groups for place in places]
        asked = [(row, o) for row, place in enumerate(order) for o in jobs[place].options]
        self.statistics.count("prompts_read_once", len(jobs))

        def go_on(some: Sequence[tuple[int, Option]]) -> list[float]:
            ids, real = self._rows([option for _, option in some])
            after = [row for row, _ in some]
            logits = read.logits[after][:, None]
            if ids.shape[1] > 1:
                options = below([(read, after)])
                mask = torch.cat([options.mask, real[:, :-1]], dim=1)
                steps = torch.arange(1, ids.shape[1], device=mask.device)
                positions = options.positions[..., None] + steps
                later = reader.forward(ids[:, :-1], mask, positions, options.cache, scores="all")
                logits = torch.cat([logits, later.logits], dim=1)
            return _summed(logits, ids, real)

        logliks = self.together.run(asked, go_on)
        found = {place: tuple(islice(logliks, len(jobs[place].options))) for place in order}
        return [found[place] for place in range(len(jobs))]

    def of(
        self, inputs: Inputs, options: Sequence[Option], pictures: Sequence[str]
    ) -> tuple[float, ...]:
        """Summed log-likelihoods of options in ids; ``pictures`` are the prompt's digests."""
        kind = _kind(pictures, options)
        trusted = self._trusted.get(kind) if self._shareable else False
        self.statistics.count("prompts_read_once" if trusted else "prompts_read_by_option")
        if trusted is None:
            return self._try(kind, inputs, options, pictures)
        return (self._once if trusted else self._by_option)(inputs, options, pictures)

    def _try(
        self, kind: Hashable, inputs: Inputs, options: Sequence[Option], pictures: Sequence[str]
    ) -> tuple[float, ...]:
        known = self._by_option(inputs, options, pictures)
        try:
            logliks = self._once(inputs, options, pictures)
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
            if lacks_memory(error):
                raise
            self._trusted[kind] = False
        else:
            lengths = map(len, options)
            self._trusted[kind] = all(map(self._close, logliks, known, lengths))
        return known

    def _close(self, one: float, other: float, tokens: int) -> bool:
        allowed = 1e-3 if self.model.dtype == torch.float32 else 0.1
        return abs(one - other) <= allowed * tokens

    def _once(
        self, inputs: Inputs, options: Sequence[Option], pictures: Sequence[str]
    ) -> tuple[float, ...]:
        if hasattr(self.model.base_model, "rope_deltas"):
            # Qwen-VL keeps the shift of the last prompt with pictures, also for prompts without.
            self.model.base_model.rope_deltas = None
        with self.images.showing([pictures]):
            read = self.model(**inputs, **self._last, use_cache=True)

        def go_on(some: Sequence[Option]) -> list[float]:
            rows, real = self._rows(some)
            logits = read.logits[:, -1:].expand(len(rows), -1, -1)
            if rows.shape[1] > 1:
                cache = deepcopy(read.past_key_values)
                cache.batch_repeat_interleave(len(rows))
                seen = self._seen(inputs, read, *rows[:, 1:].shape)
                seen |= {"past_key_values": cache, "use_cache": True}
                later = self.model(input_ids=rows[:, :-1], **seen)
                logits = torch.cat([logits, later.logits], dim=1)
            return _summed(logits, rows, real)

        return tuple(self.limiter.run(options, go_on))

    def _seen(self, inputs: Inputs, read: Any, count: int, tokens: int) -> dict[str, Any]:
        """What IDEFICS-1 wants beside a cache: the pictures, which the options see as the end of
        the prompt does."""
        if "image_attention_mask" not in inputs:
            return {}
        mask = inputs["image_attention_mask"][:, -1:].expand(count, tokens, -1)
        features = read.image_hidden_states
        resampled = self.model.config.use_resampler
        name = "perceiver_embeddings" if resampled else "image_encoder_embeddings"
        return {"image_attention_mask": mask, name: features.repeat_interleave(count, dim=0)}

    def _by_option(
        self, inputs: Inputs, options: Sequence[Option], pictures: Sequence[str]
    ) -> tuple[float, ...]:
        """Each option after its own copy of the prompt: the one way that all architectures
        understand."""
        prompt = inputs["input_ids"].shape[1]

        def copied(some: Sequence[Option]) -> list[float]:
            rows, real = self._rows(some)
            with self.images.showing([pictures] * len(rows)):
                output = self.model(**_extended(inputs, rows, real, self._kind), use_cache=False)
            return _summed(output.logits[:, prompt - 1 : -1], rows, real)

        return tuple(self.limiter.run(options, copied))

    def _rows(self, options: Sequence[Option]) -> tuple[Tensor, Tensor]:
        """Ids and mask (options, T), padded on the right."""
        longest = max(map(len, options))
        rows = [[*option, *[self.pad] * (longest - len(option))] for option in options]
        real = [[1] * len(option) + [0] * (longest - len(option)) for option in options]
        device = self.model.device
        return torch.tensor(rows, device=device), torch.tensor(real, device=device)


class Ranking:
    """Answers ranking jobs: one prompt at a time, or, where its kind is known to allow it, many."""

    def __init__(
        self,
        likelihoods: Likelihoods,
        tokenizer: Any,
        collator: Collator,
        reader: Reader,
        statistics: Statistics,
    ) -> None:
        self.likelihoods = likelihoods
        self.tokenizer = tokenizer
        self.collator = collator
        self.reader = reader
        self.statistics = statistics

    def batch(self, jobs: Sequence[Job]) -> list[Answer]:
        """One answer a job, whose best option is its text; several have ``tokens``."""
        if len(jobs) == 1:
            return self._alone(jobs[0])
        with self.statistics.stage("rank"), torch.inference_mode():
            found = self.likelihoods.of_many(jobs, self.reader)
        return list(map(_ranked, jobs, found))

    def options(self, job: Job) -> list[list[int]]:
        """The job's options in ids, as they follow its prompt."""
        with self.collator.encoder.lock:
            return [self._continuation(job.written, option) for option in job.request.options]

    def _alone(self, job: Job) -> list[Answer]:
        batch = self.collator.collate([job], max(map(len, job.options)))
        if not batch.jobs:
            return batch.refused
        with self.statistics.stage("rank"), torch.inference_mode(), any_shape():
            logliks = self.likelihoods.of(batch.inputs, job.options, job.digests)
        return [_ranked(job, logliks)]

    def _continuation(self, written: Pieces, option: str) -> list[int]:
        """Ids that ``option`` adds to the prompt; after a line break where a token would span the
        seam."""
        last = written[-1]
        tail = last[-24:] if isinstance(last, str) else ""
        for before in (tail, "\n"):
            start = self.tokenizer.encode(before, add_special_tokens=False)
            both = self.tokenizer.encode(before + option, add_special_tokens=False)
            if both[: len(start)] == start and len(both) > len(start):
                return list(both[len(start) :])
        raise UsageError(f"{option!r} cannot be tokenized as the continuation of {tail!r}")


def _ranked(job: Job, logliks: tuple[float, ...]) -> Answer:
    if not all(map(math.isfinite, logliks)):
        return refused(job.request, NOT_FINITE, job.notes)
    best = max(range(len(logliks)), key=logliks.__getitem__)
    text = job.request.options[best]
    return Answer(job.request.id, text, logliks=logliks, notes=job.notes, prompt=job.spelled)


def _kind(pictures: Sequence[str], options: Sequence[Option]) -> Hashable:
    return bool(pictures), any(len(option) > 1 for option in options)


def _extended(inputs: Inputs, rows: Tensor, real: Tensor, kind: int) -> dict[str, Tensor]:
    """The prompt's tensors once for each row, which sees the pictures that the prompt ends with."""
    extended = {}
    for name, tensor in inputs.items():
        # All tensors begin with prompts or with pictures, of which there is one, or one's.
        copies = tensor.repeat(len(rows), *[1] * (tensor.dim() - 1))
        if name == "input_ids":
            copies = torch.cat([copies, rows], dim=1)
        elif name == "attention_mask":
            copies = torch.cat([copies, real.to(copies.dtype)], dim=1)
        elif name in ("image_attention_mask", "cross_attention_mask"):  # IDEFICS, Mllama
            last = copies[:, -1:].expand(-1, rows.shape[1], *copies.shape[2:])
            copies = torch.cat([copies, last], dim=1)
        elif name.endswith("token_type_ids"):
            copies = torch.cat([copies, torch.full_like(rows, kind)], dim=1)
        extended[name] = copies
    return extended


def _summed(logits: Tensor, rows: Tensor, real: Tensor) -> list[float]:
    logp = logits.float().log_softmax(-1).gather(2, rows[..., None])[..., 0]
    return list(map(float, (logp * real).double().sum(1).tolist()))
