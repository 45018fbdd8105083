"""One folder with every benchmark's official files, as small as they can be.

Knows how the authors lay their files out, and nothing of who reads them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.mme.files import CATEGORIES
from tasks.mmmu.subjects import SUBJECTS

PIXELS = b"pixels that nobody decodes, longer than any reference to another row"
_TEN = [{"answer": "race", "raw_answer": "racing", "answer_id": i} for i in range(1, 11)]


def write(
    root: Path, *, shots: int = 1, picture: Callable[[int], bytes] = lambda number: PIXELS
) -> Path:
    """A row or two of every split, ``shots`` of those that shots come from; the n-th picture of a
    benchmark holds ``picture(n)``."""
    folder = _Folder(root, range(1, shots + 1), picture)
    for part in _PARTS:
        part(folder)
    return root


@dataclass(frozen=True)
class _Folder:
    root: Path
    numbers: range
    """Of the rows of a training split."""
    picture: Callable[[int], bytes]

    def put(self, place: str, value: Any) -> None:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, bytes):
            path.write_bytes(value)
        else:
            path.write_text(json.dumps(value), encoding="utf-8")


def _coco(to: _Folder) -> None:
    rows = [("train", "train2014", n) for n in to.numbers]
    rows += [("test", "val2014", 1002), ("restval", "val2014", 1003), ("val", "val2014", 1004)]
    entries = []
    for split, place, number in rows:
        name = f"COCO_{place}_{number:012d}.jpg"
        to.put(f"coco/{place}/{name}", to.picture(number))
        said = [{"raw": f"Caption {i}.", "tokens": ["caption"]} for i in range(5)]
        entry = {"filepath": place, "filename": name, "cocoid": number, "split": split}
        entries.append({**entry, "sentences": said})
    to.put("coco/dataset_coco.json", {"images": entries, "dataset": "coco"})
    for split, number in (("val2014", 1002), ("test2014", 9)):
        name = f"COCO_{split}_{number:012d}.jpg"
        to.put(f"coco/{split}/{name}", to.picture(number))
        images = [{"id": number, "file_name": name}]
        told = [{"image_id": number, "id": 1, "caption": "Caption."}]
        listed = {"images": images, "annotations": told}
        to.put(f"coco/annotations/captions_{split}.json", listed)
        to.put(f"coco/annotations/image_info_{split}.json", {"images": images})


def _flickr30k(to: _Folder) -> None:
    entries = []
    for number, split in [(n, "train") for n in to.numbers] + [(1012, "test")]:
        to.put(f"flickr30k/flickr30k-images/{number}.jpg", to.picture(number))
        said = [{"raw": "A dog."}] * 5
        entries.append({"filename": f"{number}.jpg", "split": split, "sentences": said})
    to.put("flickr30k/dataset_flickr30k.json", {"images": entries})


def _vqa(to: _Folder) -> None:
    for split in ("train2014", "val2014", "test2015", "test-dev2015"):
        images = "test2015" if split.startswith("test") else split
        numbers = to.numbers if split == "train2014" else range(1007, 1008)
        for number in numbers:
            to.put(f"coco/{images}/COCO_{images}_{number:012d}.jpg", to.picture(number))
        ids = [{"question_id": 10 * n, "image_id": n} for n in numbers]
        asked = {"questions": [{**id, "question": "What?"} for id in ids]}
        told = {"annotations": [{**id, "answers": _TEN} for id in ids]}
        to.put(f"vqav2/v2_OpenEnded_mscoco_{split}_questions.json", asked)
        to.put(f"vqav2/v2_mscoco_{split}_annotations.json", told)
        to.put(f"okvqa/OpenEnded_mscoco_{split}_questions.json", asked)
        to.put(f"okvqa/mscoco_{split}_annotations.json", told)


def _textvqa(to: _Folder) -> None:
    for split, images in (
        ("train", "train_images"),
        ("val", "train_images"),
        ("test", "test_images"),
    ):
        answers = {} if split == "test" else {"answers": ["x"] * 10}
        entries = []
        for number in to.numbers if split == "train" else range(1000, 1001):
            to.put(f"textvqa/{images}/{number:x}.jpg", to.picture(number))
            id = {"question_id": number, "image_id": f"{number:x}"}
            entries.append({**id, "question": "What?", "ocr_tokens": ["X"], **answers})
        to.put(f"textvqa/TextVQA_0.5.1_{split}.json", {"data": entries})


def _vizwiz(to: _Folder) -> None:
    for split in ("train", "val", "test"):
        answers = {} if split == "test" else {"answers": _TEN, "answer_type": "other"}
        entries = []
        for number in to.numbers if split == "train" else range(1):
            name = f"VizWiz_{split}_{number:08d}.jpg"
            to.put(f"vizwiz/{split}/{name}", to.picture(number))
            entries.append({"image": name, "question": "?", **answers})
        to.put(f"vizwiz/Annotations/{split}.json", entries)


def _scienceqa(to: _Folder) -> None:
    problem = {"question": "Which?", "choices": ["a", "b"], "answer": 1, "image": "image.png"}
    splits = {"train": [str(n) for n in to.numbers], "val": ["1002"], "test": ["1003"]}
    known = [pid for pids in splits.values() for pid in pids]
    to.put("scienceqa/problems.json", dict.fromkeys(known, problem))
    to.put("scienceqa/pid_splits.json", splits)
    for split, pids in splits.items():
        for pid in pids:
            to.put(f"scienceqa/images/{split}/{pid}/image.png", to.picture(int(pid)))


def _mme(to: _Folder) -> None:
    for category in CATEGORIES:
        place = f"MME_Benchmark_release_version/{category}"
        to.put(f"{place}/1.txt", b"Is it?\tYes\nIs it not?\tNo\n")
        to.put(f"{place}/1.jpg", to.picture(1))


def _mmbench(to: _Folder) -> None:
    head = "index\tquestion\tA\tB\tanswer\tcategory\tl2-category\timage"
    row = "1\tWhich?\tNone\tnan\tA\tc\tl\t" + base64.b64encode(to.picture(1)).decode()
    for name in ("MMBench_DEV_EN.tsv", "MMBench_TEST_EN.tsv"):
        rotated = "1000001\tWhich?\tnan\tNone\tB\tc\tl\t1"
        to.put(f"mmbench/{name}", "\n".join((head, row, rotated)).encode())


def _mmmu(to: _Folder) -> None:
    for subject in SUBJECTS:
        for split in ("dev", "validation", "test"):
            row = {
                "id": f"{split}_{subject}_1",
                "question": "<image 1>?",
                "options": "['<image 1>', 'b']",
                "answer": "?" if split == "test" else "A",
                "question_type": "multiple-choice",
                "subfield": "x",
                "image_1": {"bytes": to.picture(1), "path": None},
            }
            path = to.root / "MMMU" / subject / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist([row]), path)


def _judged(to: _Folder) -> None:
    vet = {"imagename": "v1_0.png", "question": "?", "answer": "x", "capability": ["ocr"]}
    to.put("mm-vet/mm-vet.json", {"v1_0": vet})
    to.put("mm-vet/images/v1_0.png", to.picture(1))
    core = {"Image path": ["a.png"], "Question": "?", "Category": "Deductive", "Complexity": "High"}
    to.put("core-mm/core-mm-wo-answer.json", {"1": core})
    to.put("core-mm/images/a.png", to.picture(1))


def _vl_icl(to: _Folder) -> None:
    """Queries of every task, and examples that show each of its answers."""

    def pictured(task: str, number: int) -> str:
        to.put(f"{task}/{number}.jpg", to.picture(number))
        return f"{task}/{number}.jpg"

    def two(task: str, number: int, answer: str) -> dict[str, Any]:
        images = [pictured(task, number), pictured(task, number + 1)]
        return {"image": images, "question": "", "answer": answer}

    numbers = [*to.numbers]
    shown = {
        name: {"images": [pictured("open_mi", 10 * n + at) for n in numbers]}
        for at, name in enumerate(("dax", "blick"))
    }
    asked = {"image": [pictured("open_mi", 5)], "question": "This is a", "answer": "dax"}
    asked = {"id": 7, **asked, "classes": list(shown), "support": shown}
    to.put("open_mi/query.json", [asked])
    pairs = [
        {"same": two("matching_mi", 4 * n, "yes"), "diff": two("matching_mi", 4 * n + 2, "no")}
        for n in numbers
    ]
    to.put("matching_mi/support.json", pairs)
    to.put("matching_mi/query.json", [two("matching_mi", 1000, "yes")])
    for task, question in (("clevr", "color: red"), ("textocr", "")):
        for part, ids in (("support", numbers), ("query", [1000])):
            rows = [
                {"id": n, "image": pictured(task, n), "question": question, "answer": "3"}
                for n in ids
            ]
            to.put(f"{task}/{part}.json", rows)
    for task in ("operator_induction", "operator_induction_interleaved"):
        sums = [
            {"id": n, "image": pictured(task, n), "question": "2 ? 3", "answer": [5, -1, 6]}
            for n in numbers
        ]
        to.put(f"{task}/support.json", sums)
        query = {"id": 1000, "image": pictured(task, 1000), "question": "1 ? 2", "operator": "+"}
        to.put(f"{task}/query.json", [{**query, "answer": "3"}])


_PARTS: tuple[Callable[[_Folder], None], ...] = (
    *(_coco, _flickr30k, _vqa, _textvqa, _vizwiz, _scienceqa),
    *(_mme, _mmbench, _mmmu, _judged, _vl_icl),
)
