"""Models of the transformers library: IDEFICS, SmolVLM, LLaVA, Qwen-VL and what is built alike.

Says what a model is and can, and in which order requests are answered; how each architecture
computes is the library's business.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.models.options import BatchSize
from infimm_eval.models.shared.answering import Answering
from infimm_eval.models.shared.auto_batch_size import AutoBatchSize
from infimm_eval.models.shared.batch_limiter import BatchLimiter
from infimm_eval.models.shared.feature_cache import FeatureCache
from infimm_eval.models.shared.prefetch import prefetch
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.shared.window import Window
from infimm_eval.models.transformers.batches import Collator
from infimm_eval.models.transformers.generate import Generation, library
from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.prompts import prompt_formatter
from infimm_eval.models.transformers.rank import Likelihoods, Ranking
from infimm_eval.models.transformers.requests import Job, bytes_of, prepared
from infimm_eval.types import Answer, Request, Style

WINDOW_ROWS = 16
"""Rows of a batch that count for the window: all that wait hold their pictures decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersOptions:
    """How the work is arranged.  No answer depends on any of these."""

    batch_size: BatchSize = "auto"
    """Bounds the rows of a batch; with ``auto`` the first is a small one that is measured, and
    later ones have the rows that half of the free memory holds, at most 256 on an accelerator and
    16 on a processor."""
    window: int = 8
    """Batches' worth of requests that wait at a time."""
    workers: int = 2
    """Threads that decode pictures."""
    device_cache: int | None = None
    """Bytes for features of pictures near the model; a quarter of what is free, unless given."""
    host_cache: int | None = None
    """Bytes for features in memory; half of what is free, unless given."""
    picture_cache: Path | None = None
    """A folder that keeps features for later runs too."""
    sharing: bool = True
    """Whether each distinct picture is encoded once, and a prompt read once for all its options,
    where the architecture allows it."""


class TransformersModel:
    """A model of the library and its processor that answer prompts.

    Decoding is the benchmark's alone: nothing of the checkpoint's ``generation_config`` but its
    end tokens is used, and picture marks are never generated.  Where prompt and answer exceed the
    model's positions, examples are left out, oldest first; a question that alone does not fit is
    answered with ``finish="error"``.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        fingerprint: str,
        style: Style | None = None,
        facts: Mapping[str, Any] | None = None,
        options: TransformersOptions | None = None,
    ) -> None:
        """``facts`` join the settings.  The processor's padding becomes the model's own."""
        self.name = name
        self.model = model.eval()
        self.processor = processor
        self.options = options or TransformersOptions()
        self.formatter = prompt_formatter(processor)
        self.style: Style = style or self.formatter.style
        self.settings: Mapping[str, Any] = {
            "backend": "transformers",
            "fingerprint": fingerprint,
            "architecture": type(model).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "pictures": {"processor": type(processor.image_processor).__name__},
            "chat_template": _template_fingerprint(processor),
            "transformers": library.__version__,
            **(facts or {}),
        }
        self._pictures: set[str] = set()
        self._answering = Answering()
        self._connect(f"{fingerprint} {type(model).__name__} {model.dtype} {library.__version__}")

    def _connect(self, identity: str) -> None:
        """The parts, whose features of pictures are those of ``identity``."""
        model, options, tokenizer = self.model, self.options, self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._counted = Statistics()
        self.features = FeatureCache(
            identity,
            self._counted,
            device=model.device,
            device_bytes=options.device_cache,
            host_bytes=options.host_cache,
            folder=options.picture_cache,
        )
        give_way = self.features.give_way
        images = ImageEncoder(self.features, self._counted)
        if options.sharing:
            images.attend(model)
        collator = Collator(model, self.formatter, self._counted)
        self.generation = Generation(
            model, tokenizer, self.formatter.marks, collator, images, self._counted
        )
        likelihoods = Likelihoods(
            model,
            images,
            self._counted,
            give_way,
            pad=int(tokenizer.pad_token_id),
            sharing=options.sharing,
        )
        self.ranking = Ranking(likelihoods, tokenizer, collator, self._counted)
        self.limiter: BatchLimiter[Job] = (
            AutoBatchSize(partial(bytes_of, model), model.device, self._counted, give_way)
            if options.batch_size == "auto"
            else BatchLimiter(options.batch_size, self._counted, give_way)
        )
        self._alone: BatchLimiter[Job] = BatchLimiter(1, self._counted, give_way)

    @property
    def statistics(self) -> Mapping[str, float]:
        """What was counted so far, all growing: ``requests``, ``batches``, ``tokens_out``; of
        pictures, how many stood ``in_prompts``, were ``distinct`` and were ``encoded``, or, where
        a picture is several tiles to the model, ``tiles_asked`` and ``tiles_encoded``; ranked
        prompts, ``prompts_read_once`` or else ``prompts_read_by_option``; ``oom_halvings``; what
        the measured batch of ``batch_size=auto`` took, ``probe_bytes`` for ``probe_rows``;
        ``seconds_`` by stage."""
        return self._counted.report()

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers as they are ready; reads a few batches' worth of requests ahead."""
        return self._answering.begun(self._answers(requests, self.generation.batch, self.limiter))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Prompt by prompt; the options of one are its batch."""
        return self._answering.begun(self._answers(requests, self.ranking.batch, self._alone))

    def close(self) -> None:
        """Ends what is being answered and frees threads and kept features.  Asked again, the model
        begins anew."""
        self._answering.close()
        self.features.clear()

    def _answers(
        self,
        requests: Iterable[Request],
        work: Callable[[Sequence[Job]], list[Answer]],
        limiter: BatchLimiter[Job],
    ) -> Generator[Answer]:
        """Pictures are decoded by threads while the model computes."""
        window = Window[Job](limiter, self.options.window, rows=WINDOW_ROWS)
        depth = 2 * min(limiter.most, WINDOW_ROWS)
        jobs = prefetch(requests, self._prepare, workers=self.options.workers, depth=depth)
        with closing(jobs):
            while True:
                while len(window) < window.capacity:
                    with self._counted.waiting("idle"):
                        job = next(jobs, None)
                    if job is None:
                        break
                    self._met(job)
                    window.add(job)
                if not window:
                    return
                batch = window.batch()
                self._counted.count("batches")
                self._counted.count("requests", len(batch))
                yield from limiter.run(batch, work)

    def _prepare(self, request: Request) -> Job:
        if request.decoding.temperature:
            raise UsageError(
                f"{self.name} answers greedily or by beams; a temperature needs a served model "
                "(openai:NAME)"
            )
        return prepared(request, self.formatter)

    def _met(self, job: Job) -> None:
        new = set(job.digests) - self._pictures
        self._pictures |= new
        self._counted.count("pictures_distinct", len(new))
        self._counted.count("pictures_in_prompts", len(job.digests))


def _template_fingerprint(processor: Any) -> str | None:
    template = processor.chat_template or processor.tokenizer.chat_template
    return sha256(str(template).encode()).hexdigest()[:12] if template else None
