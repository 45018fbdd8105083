"""Flamingo models that answer prompts, InfiMM among them.

Says what a model is and can; how the work is arranged is the engine's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from infimm_eval import flamingo
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.layouts import find_layout
from infimm_eval.flamingo.processor import Processor
from infimm_eval.models.flamingo.engine import Engine, EngineOptions
from infimm_eval.models.flamingo.picture_encoder import LatentEncoder
from infimm_eval.models.flamingo.prompts import PromptFormatter
from infimm_eval.models.shared.answering import Answering
from infimm_eval.types import Answer, Request, Style

SPELLED = (
    "no file holds the output table's rows of the added tokens, which were random in the original; "
    "they are never chosen here, and an answer ends where the model spells <|endofchunk|>"
)


class FlamingoModel:
    """A Flamingo and its processor that answer prompts.

    Speaks ``completion`` where the checkpoint has no chat format, ``instruct`` where it has one
    (``Processor.load`` says how that is known).  In ``completion`` style an answer ends at the
    end-of-chunk mark too; otherwise the model is kept from saying it, as it is always kept from
    saying the picture mark.

    A question that does not fit into the context is answered with ``finish="error"``; shots that
    do not fit are left out, and ``notes["dropped_shots"]`` says how many.
    """

    def __init__(
        self,
        model: flamingo.Flamingo,
        processor: Processor,
        *,
        name: str,
        fingerprint: str,
        style: Style | None = None,
        facts: Mapping[str, Any] | None = None,
        options: EngineOptions | None = None,
        graphs: CudaGraphs | None = None,
    ) -> None:
        """``facts`` join the settings; ``graphs`` were recorded on this very ``model``.
        ``prompt_format`` is the one that the published models of the checkpoint's layout were
        evaluated with; ``remarks`` are lines for whoever asks it."""
        self.name = name
        self.processor = processor
        self.formatter = PromptFormatter(processor)
        layout = model.config and find_layout(model.config.to_dict())
        self.prompt_format = "infimm" if layout is None else layout.prompt_format
        self.style: Style = style or self.formatter.style
        self.settings: Mapping[str, Any] = {
            "backend": "infimm",
            "fingerprint": fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
            "pictures": {
                "processor": "clip" if processor.pictures.rgb_first else "infimm",
                "size": processor.pictures.size,
                "mean": list(processor.pictures.mean),
                "std": list(processor.pictures.std),
            },
            "chat_format": self.formatter.chat_format,
            "context": processor.context,
            "resampler_heads": model.resampler.config.heads,
            "beam_length_rule": "transformers",
            **_peculiar(model, self.prompt_format),
            **(facts or {}),
        }
        self.engine = Engine(
            model,
            self.formatter,
            fingerprint=fingerprint,
            options=options or EngineOptions(),
            graphs=graphs,
        )
        self.remarks = [SPELLED] if model.tokens.end_is_spelled else []
        self._answering = Answering()

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(self.engine.model.device)

    @property
    def picture_tokens(self) -> Mapping[str, int]:
        """Latents that text sees of a picture: as many of a shot's as of the query's."""
        latents = len(self.engine.model.resampler.latents)
        return {"query": latents, "shot": latents}

    @property
    def picture_encoder(self) -> LatentEncoder:
        """Its own eyes, for shots that look like the question."""
        kept = {name: self.settings[name] for name in ("pictures", "resampler_heads", "dtype")}
        identity = {"weights": self.settings["fingerprint"], **kept}
        return LatentEncoder(self.engine.images, identity)

    @property
    def statistics(self) -> Mapping[str, float]:
        """What the engine counted so far, all growing: ``requests``, ``batches``, ``tokens_in`` and
        ``tokens_out``; of pictures, how many stood ``in_prompts``, were ``distinct`` and had to be
        ``encoded``; ``prefix_tokens_saved``; ``oom_halvings``; what the measured batch of
        ``batch_size=auto`` took, ``probe_bytes`` for ``probe_rows``; decode ``steps`` and the
        ``recordings`` of them; ``seconds_`` by stage, ``idle`` being the model's waiting for
        prompts and pictures and ``recording`` what those cost."""
        return self.engine.report()

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers as they are ready; reads a few batches' worth of requests ahead."""
        return self._answering.begun(self.engine.generate(requests))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Options by their log-likelihood, as ``generate`` does otherwise."""
        return self._answering.begun(self.engine.rank(requests))

    def close(self) -> None:
        """Ends what is being answered and frees threads and kept memory.  Asked again, the model
        begins anew."""
        self._answering.close()
        self.engine.release()

    def hand_over(self) -> CudaGraphs:
        """Closed for good, it leaves its module, and the steps recorded on that, to another one."""
        graphs, self.engine.generation.graphs = self.engine.generation.graphs, CudaGraphs()
        self.close()
        return graphs


def _peculiar(model: flamingo.Flamingo, prompt_format: str) -> dict[str, Any]:
    """What a protocol must say of models that are not InfiMM's."""
    said: dict[str, Any] = {} if prompt_format == "infimm" else {"layout": prompt_format}
    if model.tokens.end_is_spelled:
        said["output_rows"] = SPELLED
    if prompt_format == "otter":
        said["otter_cache"] = "original" if model.blind_decoding else "kept"
    return said
