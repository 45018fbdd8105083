"""A training run that measures itself: the points of a series from within a ``Trainer``.

Knows when a trainer is at a step; how a model is measured and judged is ``watch``'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

from infimm_eval import models
from infimm_eval.series.watch import measure_step

if TYPE_CHECKING:
    from infimm_eval.series.watch import Series


class SeriesCallback(TrainerCallback):
    """Measures the model in memory whenever the trainer saves, or every ``steps`` steps.

    ``Trainer(..., callbacks=[SeriesCallback(processor, ["vqav2"], [0, 4], output="series/mine")])``

    The module is left as it was found (``wrap``).  Only the first process measures; a module that
    is spread over processes is refused in one line.  With ``gate``, training is stopped at the
    first proven regression.  ``options`` as of ``watch``.
    """

    def __init__(
        self,
        processor: Any,
        tasks: Sequence[str] | str,
        shots: Sequence[int] | int = (0,),
        *,
        output: str | Path,
        steps: int | None = None,
        **options: Any,
    ) -> None:
        self.processor, self.tasks, self.shots = processor, tasks, shots
        self.output, self.steps, self.options = output, steps, options
        self.series: Series | None = None
        """As it stands after the last step that was measured."""

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A checkpoint is written."""
        if self.steps is None:
            self._measure(state, control, given["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A step of the optimizer is done."""
        if self.steps is not None and state.global_step % self.steps == 0:
            self._measure(state, control, given["model"])

    def _measure(self, state: Any, control: Any, module: Any) -> None:
        if not state.is_world_process_zero:
            return
        model = models.wrap(module, self.processor)
        try:
            self.series = measure_step(
                model, state.global_step, self.tasks, self.shots, output=self.output, **self.options
            )
        finally:
            model.close()
        if self.options.get("gate") and self.series.regression is not None:
            control.should_training_stop = True
