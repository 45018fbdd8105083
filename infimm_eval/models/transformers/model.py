"""Models of the transformers library: IDEFICS, SmolVLM, LLaVA, Qwen-VL and what is built alike.

Says what a model is and can; how the work is arranged is the engine's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import torch

from infimm_eval.models.shared.answering import Answering
from infimm_eval.models.shared.weights import digest
from infimm_eval.models.transformers.engine import Engine, EngineOptions
from infimm_eval.models.transformers.generate import library
from infimm_eval.models.transformers.picture_encoder import TokenEncoder
from infimm_eval.models.transformers.picture_tokens import ONE_PICTURE
from infimm_eval.models.transformers.prompts import prompt_formatter
from infimm_eval.types import Answer, Request, Style


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
        options: EngineOptions | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        """``facts`` join the settings; ``template_options`` are what the chat template is rendered
        with.  The processor's padding becomes the model's own."""
        self.name = name
        self.model = model.eval()
        self.processor = processor
        self.formatter = prompt_formatter(processor, template_options)
        self.style: Style = style or self.formatter.style
        self.prompt_format = self.formatter.prompt_format
        self.settings: Mapping[str, Any] = {
            "backend": "transformers",
            "fingerprint": fingerprint,
            "architecture": type(model).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "pictures": {"processor": type(processor.image_processor).__name__},
            "chat_template": _template_fingerprint(processor),
            "transformers": library.__version__,
            **self.formatter.settings,
            **(facts or {}),
        }
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        options = options or EngineOptions()
        by_tower = options.by_tower and options.picture_cache is not None
        weights = digest(_seeing(model)) if by_tower else fingerprint
        self.engine = Engine(
            self.model,
            tokenizer,
            self.formatter,
            identity=f"{weights} {type(model).__name__} {model.dtype} {library.__version__}",
            options=options,
        )
        self._answering = Answering()

    @property
    def one_picture(self) -> bool:
        """Whether it was trained on a single picture a prompt, so that no shots can be shown."""
        return self.model.config.model_type in ONE_PICTURE

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(self.engine.model.device)

    @property
    def picture_encoder(self) -> TokenEncoder | None:
        """Its own eyes, for shots that look like the question; ``None`` where its tower cannot be
        asked by itself."""
        if not TokenEncoder.able(self.model):
            return None
        names = ("architecture", "pictures", "dtype")
        identity = {
            "weights": self.settings["fingerprint"],
            **{name: self.settings[name] for name in names},
            "transformers": library.__version__.partition(".")[0],
        }
        return TokenEncoder(self.model, self.formatter, self.engine.generation.images, identity)

    @property
    def statistics(self) -> Mapping[str, float]:
        """What was counted so far, all growing: ``requests``, ``batches``, ``tokens_out``; of
        pictures, how many stood ``in_prompts``, were ``distinct`` and were ``encoded``, or, where
        a picture is several tiles to the model, ``tiles_asked`` and ``tiles_encoded``; ranked
        prompts, ``prompts_read_once`` or else ``prompts_read_by_option``; ``oom_halvings``; what
        the measured batch of ``batch_size=auto`` took, ``probe_bytes`` for ``probe_rows``;
        ``seconds_`` by stage."""
        return self.engine.statistics.report()

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers as they are ready; reads a few batches' worth of requests ahead."""
        return self._answering.begun(self.engine.generate(requests))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Options by their log-likelihood, as ``generate`` does otherwise."""
        return self._answering.begun(self.engine.rank(requests))

    def close(self) -> None:
        """Ends what is being answered and frees threads and kept features.  Asked again, the model
        begins anew."""
        self._answering.close()
        self.engine.release()


def _template_fingerprint(processor: Any) -> str | None:
    template = processor.chat_template or processor.tokenizer.chat_template
    return sha256(str(template).encode()).hexdigest()[:12] if template else None


_READING = re.compile(r"(^|\.)(language_model|text_model|lm_head|embed_out)\.")
"""Tensors of the part that reads: features of pictures do not depend on them."""


def _seeing(model: Any) -> Iterator[tuple[str, Any]]:
    """What features of pictures may depend on: all tensors but the reading part's, and the
    configuration."""
    yield from ((n, t) for n, t in model.state_dict().items() if not _READING.search(n))
    # Not where the files lie, which is another place for every checkpoint.
    facts = {n: v for n, v in model.config.to_dict().items() if not n.startswith("_")}
    told = json.dumps(facts, sort_keys=True, default=str).encode()
    yield "config", torch.frombuffer(bytearray(told), dtype=torch.uint8)
