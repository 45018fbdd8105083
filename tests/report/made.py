"""Run folders made by hand: what a run would have written, hostile strings included."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import ImageDraw

from infimm_eval.logs import Cell, Log, NamedImage, dump_prompt
from infimm_eval.types import Answer, Prompt, Sample, Score, Turn, Unit

HOSTILE = (
    "<script>window.hacked = 1</script>",
    '</script><img src="x" onerror="window.hacked = 1">',
    "</textarea></title></style><b>bold</b>",
    "]]> <!-- comment --> {{ 7 * 7 }} {% raw %}",
    "w" * 400,
    "שלום עולם \u202egnorw\u202c العربية",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 a family \u2028 of\u2029 lines",
    "| a | table | \x1b[31mred\x1b[0m `code` **bold** [link](javascript:alert(1))",
)


@dataclass(frozen=True, kw_only=True)
class Made:
    """One cell to be written."""

    task: str = "vqav2"
    title: str = "VQAv2"
    shots: int = 0
    seed: int = 0
    headline: str = "accuracy"
    columns: Mapping[str, str] | None = None
    values: Sequence[float | None] = (1.0, 0.3, 0.0, None)
    answers: Sequence[str] = ("yes", "two", "a dog", "???")
    metrics: Mapping[str, float] | None = None
    breakdown: Mapping[str, Mapping[str, float]] | None = None
    ci95: tuple[float, float] | None = (40.0, 60.0)
    limit: int | None = None
    complete: bool = True
    demo: bool = False
    value: float | None = None


def picture(index: int, size: int = 224) -> bytes:
    """A thumbnail as the log keeps it."""
    image = Pillow.new("RGB", (size, size * 3 // 4), (40 + index * 37 % 180, 90, 140))
    pen = ImageDraw.Draw(image)
    for k in range(6):
        at = (index * 53 + k * 41) % (size - 40)
        colour = ((k * 47 + index * 11) % 255, (k * 91) % 255, (index * 29) % 255)
        pen.ellipse((at, at * 2 // 3, at + 40, at * 2 // 3 + 40), fill=colour)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=70)
    return file.getvalue()


def settings(made: Made, step: int | None) -> dict[str, Any]:
    model: dict[str, Any] = {"fingerprint": "0123abcd", "dtype": "float32"}
    if step is not None:
        model["step"] = step
    return {
        "protocol": {
            "task_version": 1,
            "data": {"kind": "demo" if made.demo else "files", "split": "val2014"},
            "prompt_style": "completion",
            "ask": "{{ images }}Question:{{ question }} Short answer:",
            "support": "random",
            "zero_shot_demos": 2,
            "decoding": {"num_beams": 3, "max_new_tokens": 5, "stop": ["\n", "<|endofchunk|>"]},
            "scorer": {"name": "always", "version": 1, "digest": "0"},
        },
        "model": model,
        "code": {"version": "0.1.0"},
    }


def write_cell(log: Log, model: str, made: Made, *, step: int | None, pictures: bool) -> None:
    name = f"{model}-{made.task}-{made.shots}-{made.seed}"
    roster = log.begin(name, made.task, made.shots, made.seed)
    for i, said in enumerate(made.answers):
        shots = [NamedImage(f"train/{i}-{k}.jpg", f"shot-{i}-{k}") for k in range(made.shots)]
        own = NamedImage(f"val/{i}.jpg", f"own-{i}")
        sample = Sample(
            id=f"q{i}",
            images=(own,),
            question=(f"What is in picture {i}? {HOSTILE[i % len(HOSTILE)]}",),
            references=("yes", "maybe", said[:20]),
            group=f"picture-{i // 2}",
            tags={"answer_type": ("yes/no", "number", "other")[i % 3]},
        )
        turns = [
            turn
            for shot in shots
            for turn in (
                Turn("user", (shot, "Question:What colour? Short answer:")),
                Turn("assistant", ("red",)),
            )
        ]
        prompt = Prompt("completion", (*turns, Turn("user", (own, f"Question:{i}? Short answer:"))))
        key = f"{made.task}-{made.shots}-{made.seed}-{i}"
        log.add_entry(
            roster, i, sample, dump_prompt(prompt), [f"t{k}" for k in range(made.shots)], key
        )
        log.add_answer(key, Answer(key, said, notes={"tokens": 3}))
        if pictures:
            for at, image in enumerate((*shots, own)):
                log.add_picture(image.key, picture(i * 5 + at))
    scored = [value for value in made.values if value is not None]
    mean = 100 * sum(scored) / len(scored) if scored else None
    value = mean if made.value is None else made.value
    cell = Cell(
        task=made.task,
        title=made.title,
        shots=made.shots,
        seed=made.seed,
        model=model,
        headline=made.headline,
        columns={"VQAv2 acc": "accuracy"} if made.columns is None else made.columns,
        value=value,
        ci95=made.ci95,
        n=len(made.values),
        unscored=sum(value is None for value in made.values),
        unparsed=1,
        missing=sum(value is None for value in made.values),
        complete=made.complete,
        metrics={made.headline: value or 0.0} if made.metrics is None else made.metrics,
        breakdown={"answer_type": {"yes/no": 80.0, "number": 31.2, "other": 44.0}}
        if made.breakdown is None
        else made.breakdown,
        settings=settings(made, step),
        limit=made.limit,
        seconds=1.5,
    )
    scores = [
        Score(value, read_as=said[:10])
        for value, said in zip(made.values, made.answers, strict=True)
    ]
    units = [Unit(f"q{i}", f"q{i}", v) for i, v in enumerate(made.values) if v is not None]
    log.finish(roster, cell, made.answers, scores, units)


MakeRun = Callable[..., Path]


def maker(root: Path) -> MakeRun:
    """Makes run folders in ``root``: ``make(name, *cells, model=, step=, pictures=)``."""

    def make(
        name: str = "run",
        *cells: Made,
        model: str = "Infi-MM/infimm-zephyr",
        step: int | None = None,
        pictures: bool = True,
    ) -> Path:
        with Log(root / name, writing=True) as log:
            for made in cells or (Made(), Made(shots=4, values=(1.0, 1.0, 0.6, None))):
                write_cell(log, model, made, step=step, pictures=pictures)
        return root / name

    return make
