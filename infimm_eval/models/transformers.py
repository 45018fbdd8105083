"""Models of the transformers library: IDEFICS, SmolVLM, LLaVA, Qwen-VL and what is built alike.

Loads by the Auto classes, writes by ``writing``; how each architecture computes is the library's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.attention import any_shape
from infimm_eval.models import Choices, places
from infimm_eval.models.devices import device_of, dtype_of
from infimm_eval.models.engine.ahead import ahead
from infimm_eval.models.engine.fit import Fit
from infimm_eval.models.engine.latents import Latents
from infimm_eval.models.engine.memory import Room
from infimm_eval.models.engine.statistics import Statistics
from infimm_eval.models.jobs import Job, bytes_of, prepared, take
from infimm_eval.models.likelihoods import Likelihoods
from infimm_eval.models.remembering import Remembering
from infimm_eval.models.writing import Pieces, writer
from infimm_eval.types import Answer, Decoding, Request, Style

library: Any = import_module("transformers")
"""Untyped in good part, and Any as a whole."""

WINDOW_ROWS = 16
"""Rows of a batch that count for the window: all that wait hold their pictures decoded."""


class Transformers:
    """A processor and a model that belong together.

    Decoding is the benchmark's alone: nothing of the checkpoint's ``generation_config`` but its
    end tokens is used, and picture marks are never generated.  Where prompt and answer exceed the
    model's positions, examples are left out, oldest first; a question that alone does not fit is
    answered with ``finish="error"``.

    ``batch_size`` bounds the rows of a batch; with ``auto`` the first is a small one that is
    measured, and later ones have the rows that half of the free memory holds, at most 256 on an
    accelerator and 16 on a processor.  ``sharing`` encodes each distinct picture once and reads a
    prompt once for all its options, where the architecture allows it; ``device_cache`` and
    ``host_cache`` are the bytes in which features of pictures are kept, by default a quarter and
    half of what is free; ``cache_folder`` keeps them for later runs too.  No answer depends on any
    of these.
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
        batch_size: int | str = "auto",
        window: int = 8,
        workers: int = 2,
        device_cache: int | None = None,
        host_cache: int | None = None,
        cache_folder: Path | None = None,
        sharing: bool = True,
    ) -> None:
        self.name = name
        self.model = model.eval()
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.writer = writer(processor)
        self.style: Style = style or self.writer.style
        self.counted = Statistics()
        latents = Latents(
            f"{fingerprint} {type(model).__name__} {model.dtype} {library.__version__}",
            self.counted,
            device=model.device,
            device_bytes=device_cache,
            host_bytes=host_cache,
            folder=cache_folder,
        )
        self.remembering = Remembering(latents, self.counted)
        if sharing:
            self.remembering.attend(model)
        self.likelihoods = Likelihoods(
            model,
            self.remembering,
            self.counted,
            latents.give_way,
            pad=int(self.tokenizer.pad_token_id),
            sharing=sharing,
        )
        self.room: Room[Job] = (
            Fit(partial(bytes_of, model), model.device, self.counted, latents.give_way)
            if batch_size == "auto"
            else Room(int(batch_size), self.counted, latents.give_way)
        )
        self.alone: Room[Job] = Room(1, self.counted, latents.give_way)
        self.window, self.workers = window, workers
        self._pictures: set[str] = set()
        self._ends = _ends(model, self.tokenizer)
        self._positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
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

    @property
    def statistics(self) -> Mapping[str, float]:
        """What was counted so far, all growing: ``requests``, ``batches``, ``tokens_out``; of
        pictures, how many stood ``in_prompts``, were ``distinct`` and were ``encoded``, or, where
        a picture is several tiles to the model, ``tiles_asked`` and ``tiles_encoded``; ranked
        prompts, ``prompts_read_once`` or else ``prompts_read_by_option``; ``oom_halvings``; what
        the measured batch of ``batch_size=auto`` took, ``probe_bytes`` for ``probe_rows``;
        ``seconds_`` by stage."""
        return self.counted.report()

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return self._answers(requests, self._generate, self.room)

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Prompt by prompt; the options of one are its batch."""
        return self._answers(requests, self._rank, self.alone)

    def _answers(
        self,
        requests: Iterable[Request],
        work: Callable[[Sequence[Job]], list[Answer]],
        room: Room[Job],
    ) -> Iterator[Answer]:
        """Long first within a window; pictures are decoded by threads while the model computes."""
        waiting: list[Job] = []
        depth = 2 * min(room.most, WINDOW_ROWS)
        jobs = ahead(requests, self._prepare, workers=self.workers, depth=depth)
        with closing(jobs):
            while True:
                while len(waiting) < self.window * min(room.size, WINDOW_ROWS):
                    with self.counted.waiting("idle"):
                        job = next(jobs, None)
                    if job is None:
                        break
                    self._met(job)
                    waiting.append(job)
                if not waiting:
                    return
                costliest = max(waiting, key=lambda job: job.cost)
                batch = take(waiting, room.fits([costliest]))
                self.counted.count("batches")
                self.counted.count("requests", len(batch))
                yield from room.run(batch, work)

    def _prepare(self, request: Request) -> Job:
        if request.decoding.temperature:
            raise UsageError(
                f"{self.name} answers greedily or by beams; a temperature needs a served model "
                "(openai:NAME)"
            )
        return prepared(request, self.writer)

    def _met(self, job: Job) -> None:
        new = set(job.digests) - self._pictures
        self._pictures |= new
        self.counted.count("pictures_distinct", len(new))
        self.counted.count("pictures_in_prompts", len(job.digests))

    # -- answering -------------------------------------------------------------------------------

    def _generate(self, jobs: Sequence[Job]) -> list[Answer]:
        decoding = jobs[0].request.decoding
        fitting, inputs, answers = self._read(jobs, decoding.max_new_tokens)
        if fitting:
            seen = self.remembering.showing([job.digests for job in fitting])
            with self.counted.stage("generate"), torch.inference_mode(), any_shape(), seen:
                ids = self.model.generate(
                    **inputs, generation_config=self._config(decoding), tokenizer=self.tokenizer
                )[:, inputs["input_ids"].shape[1] :]
            answers += map(self._answer, fitting, ids.tolist())
        return answers

    def _answer(self, job: Job, new: list[int]) -> Answer:
        end = next((i for i, token in enumerate(new) if token in self._ends), len(new))
        said = self.tokenizer.decode(
            new[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        decoding = job.request.decoding
        stopped = end < len(new) or any(stop in said for stop in decoding.stop)
        cut = not stopped and len(new) >= decoding.max_new_tokens
        self.counted.count("tokens_out", end)
        notes = {**job.notes, "tokens_out": end}
        return Answer(job.request.id, said, "length" if cut else "stop", notes=notes)

    def _config(self, decoding: Decoding) -> Any:
        marks = self.tokenizer.convert_tokens_to_ids(list(self.writer.marks))
        beams: dict[str, Any] = {}
        if decoding.num_beams > 1:
            beams = {"num_beams": decoding.num_beams, "length_penalty": decoding.length_penalty}
        return library.GenerationConfig(
            max_new_tokens=decoding.max_new_tokens,
            min_new_tokens=decoding.min_new_tokens or None,
            do_sample=False,
            stop_strings=list(decoding.stop) or None,
            suppress_tokens=[mark for mark in marks if mark not in self._ends] or None,
            eos_token_id=sorted(self._ends),
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            **beams,
        )

    # -- ranking ---------------------------------------------------------------------------------

    def _rank(self, jobs: Sequence[Job]) -> list[Answer]:
        (job,) = jobs
        options = [self._continuation(job.written, option) for option in job.request.options]
        fitting, inputs, refused = self._read([job], max(map(len, options)))
        if not fitting:
            return refused
        with self.counted.stage("rank"), torch.inference_mode(), any_shape():
            logliks = self.likelihoods.of(inputs, options, job.digests)
        best = max(range(len(logliks)), key=logliks.__getitem__)
        text = job.request.options[best]
        return [Answer(job.request.id, text, logliks=logliks, notes=job.notes)]

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

    # -- tensors ---------------------------------------------------------------------------------

    def _read(self, jobs: Sequence[Job], new: int) -> tuple[list[Job], Any, list[Answer]]:
        """The jobs that leave room for ``new`` tokens, with as many examples as there is room
        for; their tensors; and answers for those that do not fit."""
        fitting, refused = list(jobs), list[Answer]()
        room = 2**31 if self._positions is None else int(self._positions) - new
        while fitting:
            inputs = self._inputs(fitting)
            lengths = inputs["attention_mask"].sum(dim=1).tolist()
            if max(lengths) <= room:
                for job, tokens in zip(fitting, lengths, strict=True):
                    job.notes["tokens_in"] = tokens
                return fitting, inputs, refused
            for job, tokens in list(zip(fitting, lengths, strict=True)):
                if tokens > room and not job.shorten(self.writer):
                    fitting.remove(job)
                    error = f"the question alone takes {tokens} tokens; there is room for {room}"
                    refused.append(Answer(job.request.id, "", "error", notes={"error": error}))
        return [], None, refused

    def _inputs(self, jobs: Sequence[Job]) -> Any:
        with self.counted.stage("preprocess"):
            read = self.writer.read([j.written for j in jobs], [j.shown for j in jobs])
        read.pop("labels", None)  # PaliGemma's, for training
        return read.to(self.model.device, self.model.dtype)


def build(name: str, choices: Choices) -> Transformers:
    """``name``: a folder or a hub id of any image-text-to-text model."""
    folder = places.folder(name, choices.revision)
    device = device_of(choices)
    dtype = dtype_of(choices, device)
    kind = places.config(str(folder)).get("model_type")
    known = library.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if kind not in known:
        raise UsageError(
            f"{name} is a {kind!r} model; transformers {library.__version__} has no "
            "model of that type that reads pictures and writes text"
        )
    library.utils.logging.disable_progress_bar()
    try:
        processor = library.AutoProcessor.from_pretrained(folder)
        model = library.AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UsageError(f"{name} cannot be loaded by transformers: {reason}") from error
    return Transformers(
        model.to(device),
        processor,
        name=Path(name).name or name,
        fingerprint=places.fingerprint(folder),
        facts=places.step(folder),
        batch_size=choices.batch_size,
        **choices.options,
    )


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that the checkpoint, its tokenizer or its chat format ends an answer with.

    The rest of the checkpoint's generation settings (sampling, penalties, lengths) is dropped
    here: the library would fill them in wherever a benchmark leaves one unsaid.
    """
    found: set[int] = set()
    settings = model.generation_config
    for ends in (settings.eos_token_id, model.config.get_text_config().eos_token_id):
        found |= {ends} if isinstance(ends, int) else set(ends or ())
    vocabulary = tokenizer.get_vocab()
    found |= {vocabulary[t] for t in ("<end_of_utterance>", "<|im_end|>") if t in vocabulary}
    found.add(tokenizer.eos_token_id)
    model.generation_config = library.GenerationConfig()
    return frozenset(found)


def _template_fingerprint(processor: Any) -> str | None:
    template = processor.chat_template or processor.tokenizer.chat_template
    return sha256(str(template).encode()).hexdigest()[:12] if template else None
