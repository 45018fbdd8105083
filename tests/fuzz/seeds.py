"""Small files of every kind that a person may hand in, each with the way it is read.

Knows official layouts; damages nothing.
"""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infimm_eval import prompts, registry
from infimm_eval.cli import main
from infimm_eval.data import parquet, pictures
from infimm_eval.data.lines import JsonLines
from infimm_eval.errors import UsageError
from infimm_eval.run.plan import Plan
from infimm_eval.run.task_data import TaskData
from infimm_eval.submissions import lists
from infimm_eval.types import Answer, Record, Sample, Source, Task
from tasks.mmbench.submission import write
from tests import official
from tests.golden import mini

CONFORMANCE = Path(__file__).parents[1] / "golden" / "conformance"
PICTURE = base64.b64encode(official.PIXELS).decode()


@dataclass(frozen=True, slots=True)
class Seed:
    """A file that is damaged, and what reads it: an exit code, or an exception that is none."""

    name: str
    path: Path
    read: Callable[[], int]


def seeds(root: Path) -> list[Seed]:
    """One of every kind, each in a folder of its own."""
    return [*data_seeds(root / "data"), *score_seeds(root / "score"), config(root / "config")]


# ---- data folders


def data_seeds(root: Path) -> list[Seed]:
    return [
        seed
        for write, task, files in OFFICIAL
        for seed in _official(
            root / f"{write.__name__}-{task.replace(':', '-')}", write, task, files
        )
    ]


def _official(
    root: Path, write: Callable[[Path], None], task: str, files: Sequence[str]
) -> list[Seed]:
    write(root)
    loaded = OWN if task == "own" else registry.load(task)
    return [
        Seed(f"{task}/{Path(file).name}", root / file, lambda: prepare(loaded, root))
        for file in files
    ]


def prepare(task: Task, root: Path) -> int:
    """All that a run looks at before the first question, and every picture as a model reads it."""
    pictures._archive.cache_clear()
    pictures._prefix.cache_clear()
    parquet._pictures.cache_clear()
    try:
        data = TaskData(task, Plan(tasks=[task], data=str(root)))
        assert data.total >= 0 and data.rows.identity
        for image in prompts.pictures(data.samples()):
            try:
                image.read()
            except OSError as odd:  # that question's error, which the run goes on after
                assert "\n" not in str(odd)
    except UsageError as refused:
        return told(refused)
    return 0


def told(refused: UsageError) -> int:
    """The exit code of a refusal that is one line a person can read."""
    line = str(refused)
    assert line.isprintable() and len(line) <= 1600, line[:200]
    return refused.exit_code


def tsvs(root: Path) -> None:
    """VLMEvalKit's files of MME, MM-Vet, MMMU and ScienceQA."""
    root.mkdir(parents=True)
    head = "index\timage\timage_path\tcategory\tquestion\tanswer\tcapability\tid\tA\tB\tsplit\n"
    rows = [f"{n}\t{PICTURE}\t1.jpg\tcolor\tIs it?\tYes\tocr\tx\t\t\t\n" for n in (1, 2)]
    (root / "MME.tsv").write_text(head + "".join(rows))
    (root / "MMVet.tsv").write_text(head + rows[0])
    choice = f"1\t['{PICTURE}']\t\t\t<image 1>?\tA\t\tvalidation_Art_1\tNone\tnan\tvalidation\n"
    (root / "MMMU_DEV_VAL.tsv").write_text(head + choice)
    (root / "ScienceQA_TEST.tsv").write_text(head + choice)


def benchmarks(root: Path) -> None:
    """Every benchmark as its authors distribute it."""
    official.write(root)


def packed(root: Path) -> None:
    """VizWiz with its pictures in an archive."""
    official.write(root)
    with zipfile.ZipFile(root / "vizwiz" / "val.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((root / "vizwiz" / "val").iterdir()):
            archive.write(path, f"val/{path.name}")
            path.unlink()
    (root / "vizwiz" / "val").rmdir()


def shards(root: Path) -> None:
    """VQAv2 as the hub has it."""
    path = root / "VQAv2" / "data" / "validation-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    row = {
        "question_id": 70,
        "image_id": 7,
        "question": "What?",
        "answers": [{"answer": "race", "answer_id": n} for n in range(10)],
        "question_type": "what",
        "answer_type": "other",
        "image": {"bytes": official.PIXELS, "path": None},
    }
    pq.write_table(pa.Table.from_pylist([row, {**row, "question_id": 71}]), path)


def lines(root: Path) -> None:
    """A benchmark of one's own: JSON lines and a folder of pictures."""
    row = {"id": "1", "image": "1.jpg", "question": "Which?", "choices": ["a", "b"], "answer": 1}
    (root / "photos").mkdir(parents=True)
    (root / "photos" / "1.jpg").write_bytes(official.PIXELS)
    rows = [row | {"hint": ""}, row | {"id": "2", "hint": "Look.", "options": ["a", "b"]}]
    (root / "signs.jsonl").write_text("\n".join(map(json.dumps, rows)))


OWN = replace(
    registry.load("scienceqa"),
    source=Source(files=(JsonLines(file="signs.jsonl", images="photos"),)),
)


def drawn(root: Path) -> None:
    """COCO and VQAv2 as the other tests draw them."""
    root.mkdir(parents=True)
    mini.write(root)


OFFICIAL: list[tuple[Callable[[Path], None], str, Sequence[str]]] = [
    (benchmarks, "coco", ["coco/dataset_coco.json"]),
    (benchmarks, "coco:val2014", ["coco/annotations/captions_val2014.json"]),
    (benchmarks, "coco:test2014", ["coco/annotations/image_info_test2014.json"]),
    (benchmarks, "flickr30k", ["flickr30k/dataset_flickr30k.json"]),
    (
        benchmarks,
        "vqav2",
        [
            "vqav2/v2_OpenEnded_mscoco_val2014_questions.json",
            "vqav2/v2_mscoco_val2014_annotations.json",
        ],
    ),
    (benchmarks, "okvqa", ["okvqa/mscoco_val2014_annotations.json"]),
    (benchmarks, "textvqa", ["textvqa/TextVQA_0.5.1_val.json"]),
    (benchmarks, "vizwiz", ["vizwiz/Annotations/val.json"]),
    (packed, "vizwiz", ["vizwiz/val.zip"]),
    (benchmarks, "scienceqa", ["scienceqa/problems.json", "scienceqa/pid_splits.json"]),
    (benchmarks, "mme", ["MME_Benchmark_release_version/color/1.txt"]),
    (benchmarks, "mmbench", ["mmbench/MMBench_DEV_EN.tsv"]),
    (benchmarks, "mmmu", ["MMMU/Art/validation-00000-of-00001.parquet"]),
    (benchmarks, "mmvet", ["mm-vet/mm-vet.json"]),
    (benchmarks, "core_mm", ["core-mm/core-mm-wo-answer.json"]),
    (tsvs, "mme", ["MME.tsv"]),
    (tsvs, "mmvet", ["MMVet.tsv"]),
    (tsvs, "mmmu", ["MMMU_DEV_VAL.tsv"]),
    (tsvs, "scienceqa", ["ScienceQA_TEST.tsv"]),
    (shards, "vqav2", ["VQAv2/data/validation-00000-of-00001.parquet"]),
    (drawn, "coco", ["dataset_coco.json"]),
    (lines, "own", ["signs.jsonl"]),
]


# ---- files for ``score``


def score_seeds(root: Path) -> list[Seed]:
    """Predictions and references in every format, most of them those of the conformance cases."""
    root.mkdir(parents=True)
    cases = json.loads((CONFORMANCE / "expected.json").read_text(encoding="utf-8"))
    found = []
    for number, case in enumerate(cases):
        if "METEOR" in case["metrics"]:  # minutes of Java: read, but not scored
            continue
        folder = root / str(number)
        parts = [part for part in (case["predictions"], case["references"]) if part]
        copies = [_copy(CONFORMANCE / part, folder) for part in parts]
        said = ["score", "--json", "--task", case["task"], str(copies[0])]
        said += ["--references", str(copies[1])] if len(copies) > 1 else []
        said += ["--allow-partial"] if case.get("allow_partial") else []
        for copy in copies:
            file = (
                copy if copy.is_file() else next(p for p in sorted(copy.rglob("*")) if p.is_file())
            )
            found.append(Seed(f"score {case['task']}/{file.name}", file, _command(said)))
    return [*found, *_sheets(root / "sheets"), *_captions(root / "captions")]


def _copy(source: Path, folder: Path) -> Path:
    """A file or a folder under the name it has."""
    for path in [source] if source.is_file() else source.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(source.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder / source.name


def _command(said: Sequence[str]) -> Callable[[], int]:
    return lambda: main(said)


def _sheets(folder: Path) -> list[Seed]:
    sample = Sample(id="1", question=("Which?",), options=(("None",), ("nan",)), references=("A",))
    turned = replace(sample, id="1000001", options=(("nan",), ("None",)), references=("B",))
    records = [Record(s, Answer(s.id, "A"), "A") for s in (sample, turned)]
    found = []
    for name in ("said.xlsx", "said.tsv"):
        write(records, folder / name)
        said = ["score", "--json", "--task", "mmbench", str(folder / name)]
        found.append(Seed(f"score mmbench/{name}", folder / name, _command(said)))
    return found


def _captions(folder: Path) -> list[Seed]:
    """COCO's results, bare, in lines and packed, and its references: read, but not scored."""
    folder.mkdir(parents=True)
    form = lists.captions("captions_val2014_infimm_results.json")
    rows = [{"image_id": n, "caption": "a red dog"} for n in (1, 2)]
    (folder / "said.json").write_text(json.dumps(rows))
    (folder / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with zipfile.ZipFile(folder / "said.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("captions_val2014_infimm_results.json", json.dumps(rows))
    (folder / "people.json").write_text(json.dumps({"annotations": rows}))
    readers: dict[str, Callable[[Path], Any]] = dict.fromkeys(
        ("said.json", "said.jsonl", "said.zip"), form.read
    )
    readers["people.json"] = lambda path: list(lists.coco_captions(path))
    return [
        Seed(
            f"read coco/{name}",
            folder / name,
            lambda read=read, name=name: _read(read, folder / name),
        )
        for name, read in readers.items()
    ]


def _read(read: Callable[[Path], Any], path: Path) -> int:
    try:
        read(path)
    except UsageError as refused:
        return told(refused)
    return 0


# ---- configurations


def config(folder: Path) -> Seed:
    """A TOML file of options."""
    folder.mkdir(parents=True)
    path = folder / "run.toml"
    path.write_text(
        'model = "fake"\ndata = "demo"\ntasks = ["vqav2"]\nseed = [0]\nshots = [0]\n'
        '[prompts.vqav2]\nask = "{{ question }}"\n'
    )
    said = ["run", "--config", str(path), "--output", str(folder / "run"), "--limit", "1", "-q"]
    return Seed("run --config", path, _command(said))
