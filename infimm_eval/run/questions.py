"""What one cell asks: samples, their examples, the prompt template, and so the requests.

Everything a question depends on meets here and is written into the protocol; who answers it, and
what the answer is worth, is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from infimm_eval import prompts, scorers
from infimm_eval.errors import UsageError, unknown
from infimm_eval.formats import Form
from infimm_eval.run.plan import ZERO_SHOT_DEMOS
from infimm_eval.run.selectors import Selectors
from infimm_eval.run.task_data import TaskData
from infimm_eval.scorers.digest import source
from infimm_eval.shots import Chance, Selector, Shots, Shown, controls, shown
from infimm_eval.types import (
    Decoding,
    Document,
    Prompt,
    PromptTemplate,
    Request,
    Sample,
    Style,
    Task,
    Turn,
)


@dataclass(frozen=True, slots=True)
class Question:
    """One sample as it is put to the model."""

    sample: Sample
    shot_ids: tuple[str, ...]
    request: Request
    error: str = ""
    """Why it cannot be put to a model: then the request asks nothing."""
    shots: tuple[Sample, ...] = ()
    """As they are shown."""
    changed: int = 0
    """How many of them, or whether the query, a control has changed."""


class CellQuestions:
    """The questions of one cell, the same ones whoever is asked and in whatever order."""

    style: Style

    def __init__(
        self,
        data: TaskData,
        shots: int,
        seed: int,
        form: Form,
        selectors: Selectors,
        *,
        control: str = "",
        foreign: CellQuestions | None = None,
    ) -> None:
        """``foreign``: the cell of another benchmark, for ``support=foreign``."""
        self.control, self.foreign = control, foreign
        self.data, self.shots, self.seed, self.form = data, shots, seed, form
        self.selectors = selectors
        self.task, self.plan, self.style = data.task, data.plan, form.style
        self.ocr = self.plan.ocr and self.task.ocr
        self.template = _template(self.task, form.template, self.plan.template_of(self.task))
        if self.ocr:
            self.template = prompts.with_ocr(self.template)
        if (limit := self.plan.limit_of(self.task)) is not None:
            decoding = replace(self.template.decoding, max_new_tokens=limit)
            self.template = replace(self.template, decoding=decoding)
        self.ranks = self.plan.choice == "rank" and self.task.rankable
        self._prompter = prompts.Prompter(form.written, self.template)
        self._read = scorers.reads_target(self.task.scorers[0])
        self._text_only = self._text_only_examples()
        self._selection: Selector | None = None
        if shots or self._text_only:
            self._selection = selectors.of(data, shots, seed, form.format)
        self.statistics = selectors.statistics(data, shots)
        """What its shots took to be found."""

    @property
    def title(self) -> str:
        """What tables call the benchmark as it is asked here."""
        return f"{self.task.title} with OCR" if self.ocr else self.task.title

    def __iter__(self) -> Iterator[Question]:
        for sample in self.data.queries():
            yield self._question(sample)

    def _question(self, sample: Sample) -> Question:
        """What goes wrong with one question is said of that one, and the others are asked."""
        seen = None
        try:
            seen = self._shown(sample)
            prompt, error = self._prompt(seen), ""
        except UsageError as wrong:
            seen = seen or shown((), sample)
            prompt, error = Prompt(self.form.written, ()), str(wrong)
        request = Request(sample.id, prompt, self.template.decoding, self._options(sample))
        return Question(sample, seen.drawn, request, error, seen.shots, seen.changed)

    def _shown(self, sample: Sample) -> Shown:
        """What the prompt shows, as the control changes it."""
        if self.foreign is not None:
            strangers = self.foreign.strangers(sample, self.task.name)
            return replace(shown(strangers, sample), changed=len(strangers))
        plain = shown(self._examples(sample), sample, text_only=not self.shots)
        if not self.control:
            return plain
        chance = Chance(
            key=f"{self.seed}/{self.task.name}/{sample.id}/{self.control}",
            pool=self.data.pool(self.seed, with_pictures=True) if self.shots else (),
            read=self._read,
        )
        return controls.function(self.control)(plain, chance)

    def _prompt(self, seen: Shown) -> Prompt:
        if self.foreign is None:
            return self._prompter(seen.query, seen.shots, text_only=seen.text_only)
        asked = self._prompter(seen.query)
        return replace(asked, turns=(*self.foreign.turns(seen.shots), *asked.turns))

    def strangers(self, sample: Sample, task: str) -> list[Sample]:
        """This cell's shots for a question of another benchmark."""
        assert isinstance(self._selection, Shots)  # see ``controlled``: always drawn at random
        return controls.foreign_shots(self._selection, sample, task, self.shots)

    def turns(self, shots: Sequence[Sample]) -> list[Turn]:
        """This benchmark's own rendering of its shots."""
        return self._prompter.examples(shots)

    def check(self) -> None:
        """Make every sample and the first prompt, so that ``UsageError`` says before anything is
        asked what is wrong with a row, a picture, a template or the number of shots."""
        if not self.data.total:
            raise UsageError(f"{self.task.title}: its data holds no samples")
        if wrong := next(iter(self)).error:
            raise UsageError(f"{self.task.name}: {wrong}")

    def shown_with(self, sample: Sample) -> list[Sample]:
        """The sample behind the examples whose pictures its prompt shows."""
        seen = self._shown(sample)
        return [*(() if seen.text_only else seen.shots), seen.query, sample]

    def protocol(self) -> dict[str, Any]:
        """All that must agree for two figures to be comparable, but for the scorer."""
        template = self.template
        protocol: dict[str, Any] = {
            "task": self.task.name,
            "task_version": self.task.version,
            "data": self.data.rows.identity,
            "prompt_format": self.form.format.name,
            "prompt_style": self.style,
            "prompt": _written(template),
            "prompt_fingerprint": self._prompter.fingerprint,
            "decoding": _search(template.decoding),
            "choice": "rank" if self.ranks else "generate",
            "thinking": self.plan.thinking,
            "shots": self.shots,
            "zero_shot_demos": self._text_only,
        }
        if not _built_in(self.task):
            # A person edits a file and forgets its version: what it did before is another figure.
            rules = (self.task.sample, self.task.metrics, template.read, self.task.support)
            protocol["task_digest"] = source(*(rule for rule in rules if rule is not None))
        if self.ocr:
            protocol["ocr"] = "in the prompt"
        if self.control:
            protocol["control"] = self.control
        if self.foreign is not None:
            protocol["foreign"] = self.foreign.protocol()
        if self._selection is not None:
            protocol |= self._selection.protocol()
        return protocol

    def _text_only_examples(self) -> int:
        """The family's zero-shot prompt shows examples without their pictures."""
        if self.shots or self.task.shots is None:
            return 0
        chosen = (self.plan.zero_shot_demos, self.form.format.text_only)
        return next((count for count in chosen if count is not None), ZERO_SHOT_DEMOS[self.style])

    def _examples(self, sample: Sample) -> list[Sample]:
        count = self.shots or self._text_only
        return self._selection.pick(sample, count) if self._selection else []

    def _options(self, sample: Sample) -> tuple[str, ...]:
        """The continuations that a ranking compares, behind the space that an answer begins
        with."""
        if not self.ranks:
            return ()
        answer = self.template.answer
        space = answer[: len(answer) - len(answer.lstrip())]
        return tuple(
            space + "".join(p for p in option if isinstance(p, str)) for option in sample.options
        )


def _built_in(task: Task) -> bool:
    """Whether the task comes with the program, whose versions are looked after."""
    return getattr(task.sample, "__module__", "").startswith("infimm_eval.tasks.")


def _written(template: PromptTemplate) -> dict[str, str]:
    """What a prompt is written with, what stands between its parts only where that is unusual."""
    parts = {"ask": template.ask, "answer": template.answer, "system": template.system}
    return parts if template.document == Document() else parts | asdict(template.document)


def _search(decoding: Decoding) -> dict[str, Any]:
    """Banned texts only where there are some: they came later than logs and baselines."""
    return {name: value for name, value in asdict(decoding).items() if value or name != "banned"}


def _template(task: Task, template: PromptTemplate, replaced: Mapping[str, str]) -> PromptTemplate:
    parts = ("ask", "answer", "system")
    for name in replaced:
        if name not in parts:
            raise unknown(f"part of the prompt template of {task.name}", name, parts)
    return replace(
        template,
        ask=replaced.get("ask", template.ask),
        answer=replaced.get("answer", template.answer),
        system=replaced.get("system", template.system),
    )
