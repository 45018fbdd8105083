"""MME's results folder: one text file a sub-task, two lines a picture.

Knows neither how a yes is heard nor how sub-tasks add up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infimm_eval.data.reading import open_data
from infimm_eval.errors import UsageError
from infimm_eval.submissions.files import once
from infimm_eval.types import Record, Sample, Submission

from .files import COGNITION, PERCEPTION, require_truth, unpaired


def folder(filename: str = "mme/") -> Submission:
    """``<sub-task>.txt`` with lines ``image TAB question TAB ground truth TAB response``; the two
    lines of a picture stand together, as the official tool requires."""
    return Submission(
        filename=filename,
        write=write,
        read=read,
        references=references,
        carries_answers=Path.is_dir,
        incomplete=lambda samples: unpaired(sample.group for sample in samples),
    )


def write(records: Sequence[Record], path: Path) -> None:
    """One file a sub-task."""
    path.mkdir(parents=True, exist_ok=True)
    tasks: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        tags = record.sample.tags
        question = "".join(part for part in record.sample.question if isinstance(part, str))
        cells = (tags["file"], question, *record.sample.references[:1], record.text)
        line = "\t".join(map(_one_cell, cells))
        tasks[tags["category"]][tags["file"]].append(line)
    for task, pictures in tasks.items():
        lines = [line for pair in pictures.values() for line in pair]
        (path / f"{task}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(path: Path) -> Mapping[str, str]:
    """Every response by the sample's id."""
    found: dict[str, str] = {}
    for file, _number, image, question, _truth, response in _lines(path):
        once(file, found, sample_id(file.stem, image, question), response)
    return found


def references(path: Path) -> Iterator[Sample]:
    """Questions and right answers as the results themselves carry them.

    Results without any perception (or cognition) are taken, but not with a part of it: the sum
    would be one over fewer sub-tasks.
    """
    for tasks in (PERCEPTION, COGNITION):
        missing = [task for task in tasks if not (path / f"{task}.txt").is_file()]
        if 0 < len(missing) < len(tasks):
            raise UsageError(f"{path} lacks {', '.join(f'{task}.txt' for task in missing)}")
    for file, number, image, question, truth, _ in _lines(path):
        require_truth(truth, f"{file}, line {number}")
        yield Sample(
            id=sample_id(file.stem, image, question),
            question=(question,),
            references=(truth,),
            group=f"{file.stem}/{image}",
            tags={"category": file.stem, "file": image},
        )


def sample_id(category: str, image: str, question: str) -> str:
    """MME's own ids name a picture; its two questions differ by their text."""
    return f"{category}/{image}: {_one_cell(question)}"


def _lines(path: Path) -> Iterator[tuple[Path, int, str, str, str, str]]:
    """File, line, image, question, ground truth, response."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else []
    if not files:
        raise UsageError(f"{path} is no MME results folder: it holds no <sub-task>.txt")
    for file in files:
        with open_data(file) as opened:
            data = opened.read()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"{file} is not UTF-8 text ({error})") from error
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            cells = line.rstrip("\r").split("\t")
            if len(cells) != 4:
                raise UsageError(
                    f"{file}, line {number}: {len(cells)} cells; "
                    "image, question, ground truth and response are wanted, tabs between"
                )
            yield file, number, cells[0], cells[1], cells[2], cells[3]


def _one_cell(text: str) -> str:
    return " ".join(text.replace("\t", " ").splitlines())
