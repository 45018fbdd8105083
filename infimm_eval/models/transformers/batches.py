"""Jobs side by side, as the tensors that a processor makes of them.

Knows how much room there is and what to leave out; which jobs stand together is not its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.transformers.encoding import PromptEncoder
from infimm_eval.models.transformers.prompts import PromptFormatter
from infimm_eval.models.transformers.requests import Job
from infimm_eval.types import Answer


@dataclass(frozen=True, slots=True)
class Batch:
    """The jobs that fit, their tensors (None where there are none), answers for the others."""

    jobs: list[Job]
    inputs: Any
    refused: list[Answer]


class Collator:
    """Makes batches for one model."""

    def __init__(
        self,
        model: Any,
        formatter: PromptFormatter,
        encoder: PromptEncoder,
        statistics: Statistics,
    ) -> None:
        self.model = model
        self.formatter = formatter
        self.encoder = encoder
        self.statistics = statistics

    def collate(self, jobs: Sequence[Job], new: int) -> Batch:
        """The jobs that leave room for ``new`` tokens, with as many examples as there is room
        for."""
        fitting, refused = list(jobs), list[Answer]()
        room = self.encoder.room(new)
        while fitting:
            inputs = self._inputs(fitting)
            lengths = inputs["attention_mask"].sum(dim=1).tolist()
            if max(lengths) <= room:
                for job, tokens in zip(fitting, lengths, strict=True):
                    job.notes["tokens_in"] = tokens
                    job.spelled = self.formatter.spell(job.written)
                self._note_pictures(fitting, inputs)
                return Batch(fitting, inputs, refused)
            for job, tokens in list(zip(fitting, lengths, strict=True)):
                if tokens > room and not job.shorten(self.formatter):
                    fitting.remove(job)
                    error = f"the question alone takes {tokens} tokens; there is room for {room}"
                    refused.append(Answer(job.request.id, "", "error", notes={"error": error}))
        return Batch([], None, refused)

    def _note_pictures(self, jobs: Sequence[Job], inputs: Any) -> None:
        """What the model reads of each picture, where that can be told."""
        rows, real = inputs["input_ids"].tolist(), inputs["attention_mask"].tolist()
        for job, ids, kept in zip(jobs, rows, real, strict=True):
            self.encoder.note_pictures(job, [id for id, k in zip(ids, kept, strict=True) if k])

    def _inputs(self, jobs: Sequence[Job]) -> Any:
        with self.statistics.stage("preprocess"), self.encoder.lock:
            read = self.formatter.encode([j.written for j in jobs], [j.shown for j in jobs])
        read.pop("labels", None)  # PaliGemma's, for training
        return read.to(self.model.device, self.model.dtype)
