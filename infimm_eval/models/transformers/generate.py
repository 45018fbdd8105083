"""Answers by a model of the transformers library, a batch at once.

Decoding is the benchmark's alone; which requests stand in a batch is not its business.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from infimm_eval.flamingo.attention import any_shape
from infimm_eval.models.shared.refusals import NOT_FINITE, refused
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.transformers.batches import Collator
from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.prompts import PromptFormatter
from infimm_eval.models.transformers.requests import Job
from infimm_eval.models.transformers.search import GreedySearch
from infimm_eval.types import Answer, Decoding, Finish

# Kernels from the hub are somebody's code; whoever wants them says so in the environment.
os.environ.setdefault("USE_HUB_KERNELS", "NO")
library: Any = import_module("transformers")
"""Untyped in good part, and Any as a whole."""


class FiniteScores:
    """Looks on as tokens are chosen, and counts by prompt those whose scores are finite numbers.

    The last of the library's processors, so that -inf, for what may not be said, is no fault.
    """

    def __init__(self, beams: int) -> None:
        self._beams = beams
        self._finite: list[Tensor] = []

    def __call__(self, _: Tensor, scores: Tensor) -> Tensor:
        """Of (B * beams, vocabulary); the same."""
        best = scores.amax(-1).isfinite()
        self._finite.append(best.view(-1, self._beams).all(-1))
        return scores

    def steps(self) -> list[int]:
        """By prompt, how many of its first tokens."""
        steps: list[int] = torch.stack(self._finite).long().cumprod(0).sum(0).tolist()
        return steps


class Generation:
    """Answers jobs with one model.

    Nothing of the checkpoint's ``generation_config`` but its end tokens is used, and the marks that
    stand for pictures are never generated.  Where a model's scores are not finite, any token would
    do: that question has no answer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        formatter: PromptFormatter,
        collator: Collator,
        images: ImageEncoder,
        statistics: Statistics,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.marks = formatter.marks
        self.collator = collator
        self.images = images
        self.statistics = statistics
        self._ends = _ends(model, tokenizer, formatter.ends)

    def batch(self, jobs: Sequence[Job]) -> list[Answer]:
        """One answer a job of the same group, in any order."""
        decoding = jobs[0].request.decoding
        batch = self.collator.collate(jobs, decoding.max_new_tokens)
        if not batch.jobs:
            return batch.refused
        seen = self.images.showing([job.digests for job in batch.jobs])
        scores = FiniteScores(decoding.num_beams)
        with self.statistics.stage("generate"), torch.inference_mode(), any_shape(), seen:
            ids = self.model.generate(
                **batch.inputs,
                generation_config=self._config(decoding),
                logits_processor=library.LogitsProcessorList([scores]),
                tokenizer=self.tokenizer,
            )[:, batch.inputs["input_ids"].shape[1] :]
        found = zip(batch.jobs, ids.tolist(), scores.steps(), strict=True)
        return [*batch.refused, *(self.answer(*each) for each in found)]

    def scores(self, job: Job, steps: int) -> tuple[list[Tensor], list[int]]:
        """The scores (Y) of the first few tokens of one answer, whose pictures are all encoded, and
        those tokens."""
        decoding = replace(job.request.decoding, max_new_tokens=steps, min_new_tokens=0)
        batch = self.collator.collate([job], steps)
        config = self._config(decoding)
        config.output_logits = config.return_dict_in_generate = True
        with torch.inference_mode(), any_shape(), self.images.standing_aside():
            output = self.model.generate(
                **batch.inputs,
                generation_config=config,
                tokenizer=self.tokenizer,
            )
        ids: list[int] = output.sequences[0, batch.inputs["input_ids"].shape[1] :].tolist()
        return [logits[0] for logits in output.logits], ids

    def search(self, decoding: Decoding) -> GreedySearch:
        """The same decoding for rows that come and go."""
        return GreedySearch(
            decoding,
            self.tokenizer,
            banned=self._banned(decoding),
            ends=self._ends,
            marks=self.tokenizer.convert_tokens_to_ids(list(self.marks)),
            device=self.model.device,
        )

    def answer(self, job: Job, new: list[int], finite: int) -> Answer:
        """``finite`` is how many tokens were chosen by finite scores."""
        end = next((i for i, token in enumerate(new) if token in self._ends), len(new))
        if finite < min(end + 1, len(new)):
            return refused(job.request, NOT_FINITE, job.notes)
        said = self.tokenizer.decode(
            new[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        decoding = job.request.decoding
        stopped = end < len(new) or any(stop in said for stop in decoding.stop)
        cut = not stopped and len(new) >= decoding.max_new_tokens
        self.statistics.count("tokens_out", end)
        notes = {**job.notes, "tokens_out": end}
        finish: Finish = "length" if cut else "stop"
        return Answer(job.request.id, said, finish, notes=notes, prompt=job.spelled)

    def _banned(self, decoding: Decoding) -> list[list[int]]:
        with self.collator.encoder.lock:
            return [self.tokenizer.encode(t, add_special_tokens=False) for t in decoding.banned]

    def _config(self, decoding: Decoding) -> Any:
        marks = self.tokenizer.convert_tokens_to_ids(list(self.marks))
        banned = self._banned(decoding)
        beams: dict[str, Any] = {}
        if decoding.num_beams > 1:
            beams = {"num_beams": decoding.num_beams, "length_penalty": decoding.length_penalty}
        return library.GenerationConfig(
            max_new_tokens=decoding.max_new_tokens,
            min_new_tokens=decoding.min_new_tokens or None,
            do_sample=False,
            stop_strings=list(decoding.stop) or None,
            suppress_tokens=[mark for mark in marks if mark not in self._ends] or None,
            bad_words_ids=banned or None,
            eos_token_id=sorted(self._ends),
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            **beams,
        )


def _ends(model: Any, tokenizer: Any, named: Sequence[str]) -> frozenset[int]:
    """Every token that the checkpoint, its tokenizer or its chat format, which has ``named`` some,
    ends an answer with.

    The rest of the checkpoint's generation settings (sampling, penalties, lengths) is dropped
    here: the library would fill them in wherever a benchmark leaves one unsaid.
    """
    found: set[int] = set()
    settings = model.generation_config
    for ends in (settings.eos_token_id, model.config.get_text_config().eos_token_id):
        found |= {ends} if isinstance(ends, int) else set(ends or ())
    vocabulary = tokenizer.get_vocab()
    usual = ("<end_of_utterance>", "<|im_end|>")
    found |= {vocabulary[token] for token in (*usual, *named) if token in vocabulary}
    found.add(tokenizer.eos_token_id)
    model.generation_config = library.GenerationConfig()
    return frozenset(found)
