"""One folder with every benchmark's official files, each as small as it can be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infimm_eval import registry
from infimm_eval.data import open_source
from infimm_eval.types import Image, Sample
from tasks.mme.files import CATEGORIES
from tasks.mmmu.subjects import SUBJECTS

PIXELS = b"pixels that nobody decodes, longer than any reference to another row"
TEN = [{"answer": "race", "raw_answer": "racing", "answer_id": i} for i in range(1, 11)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for write in (coco, flickr30k, vqa, textvqa, vizwiz, scienceqa, mme, mmbench, mmmu, judged):
        write(root)
    return root


NAMES = (
    *("coco", "flickr30k", "vqav2", "okvqa", "textvqa", "vizwiz"),
    *("scienceqa", "mme", "mmbench", "mmmu", "mmvet", "core_mm"),
)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_read_from_one_folder(folder: Path, name: str) -> None:
    task = registry.load(name)
    sources = {"split": task.source, "shots": task.shots}
    sources |= {split: further.source for split, further in task.splits.items()}
    for part, source in sources.items():
        if source is None or not source.files:
            continue
        found = open_source(source, folder, title=f"{task.title} ({part})")
        samples = [task.sample(row) for row in found.rows()]
        assert found.total() == len(samples) > 0
        assert len({sample.id for sample in samples}) == len(samples)
        assert found.identity["kind"] == "files"
        for image in pictures(samples):
            assert image.read() == PIXELS


def pictures(samples: list[Sample]) -> list[Image]:
    contents = [(*s.images, *s.question, *(p for o in s.options for p in o)) for s in samples]
    return [part for content in contents for part in content if isinstance(part, Image)]


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        path.write_text(json.dumps(value), encoding="utf-8")


def coco(root: Path) -> None:
    folders = {"train": "train2014", "test": "val2014", "restval": "val2014", "val": "val2014"}
    entries = []
    for number, (split, place) in enumerate(folders.items(), 1):
        name = f"COCO_{place}_{number:012d}.jpg"
        put(root / "coco" / place / name, PIXELS)
        said = [{"raw": f"Caption {i}.", "tokens": ["caption"]} for i in range(5)]
        entries.append(
            {
                "filepath": place,
                "filename": name,
                "cocoid": number,
                "split": split,
                "sentences": said,
            }
        )
    put(root / "coco" / "dataset_coco.json", {"images": entries, "dataset": "coco"})
    for split, number in (("val2014", 2), ("test2014", 9)):
        name = f"COCO_{split}_{number:012d}.jpg"
        put(root / "coco" / split / name, PIXELS)
        images = [{"id": number, "file_name": name}]
        told = [{"image_id": number, "id": 1, "caption": "Caption."}]
        put(
            root / "coco" / "annotations" / f"captions_{split}.json",
            {"images": images, "annotations": told},
        )
        put(root / "coco" / "annotations" / f"image_info_{split}.json", {"images": images})


def flickr30k(root: Path) -> None:
    entries = []
    for number, split in ((11, "train"), (12, "test")):
        put(root / "flickr30k" / "flickr30k-images" / f"{number}.jpg", PIXELS)
        said = [{"raw": "A dog."}] * 5
        entries.append({"filename": f"{number}.jpg", "split": split, "sentences": said})
    put(root / "flickr30k" / "dataset_flickr30k.json", {"images": entries})


def vqa(root: Path) -> None:
    for split in ("train2014", "val2014", "test2015", "test-dev2015"):
        images = "test2015" if split.startswith("test") else split
        put(root / "coco" / images / f"COCO_{images}_{7:012d}.jpg", PIXELS)
        asked = {"questions": [{"question_id": 70, "image_id": 7, "question": "What?"}]}
        told = {"annotations": [{"question_id": 70, "image_id": 7, "answers": TEN}]}
        put(root / "vqav2" / f"v2_OpenEnded_mscoco_{split}_questions.json", asked)
        put(root / "vqav2" / f"v2_mscoco_{split}_annotations.json", told)
        put(root / "okvqa" / f"OpenEnded_mscoco_{split}_questions.json", asked)
        put(root / "okvqa" / f"mscoco_{split}_annotations.json", told)


def textvqa(root: Path) -> None:
    for split, images in (
        ("train", "train_images"),
        ("val", "train_images"),
        ("test", "test_images"),
    ):
        put(root / "textvqa" / images / "0a.jpg", PIXELS)
        entry = {"question_id": 1, "image_id": "0a", "question": "What?", "ocr_tokens": ["X"]}
        answers = {} if split == "test" else {"answers": ["x"] * 10}
        put(root / "textvqa" / f"TextVQA_0.5.1_{split}.json", {"data": [entry | answers]})


def vizwiz(root: Path) -> None:
    for split in ("train", "val", "test"):
        name = f"VizWiz_{split}_00000000.jpg"
        put(root / "vizwiz" / split / name, PIXELS)
        answers = {} if split == "test" else {"answers": TEN, "answer_type": "other"}
        put(
            root / "vizwiz" / "Annotations" / f"{split}.json",
            [{"image": name, "question": "?"} | answers],
        )


def scienceqa(root: Path) -> None:
    problem = {"question": "Which?", "choices": ["a", "b"], "answer": 1, "image": "image.png"}
    splits = {"train": "1", "val": "2", "test": "3"}
    put(root / "scienceqa" / "problems.json", dict.fromkeys(splits.values(), problem))
    put(root / "scienceqa" / "pid_splits.json", {split: [pid] for split, pid in splits.items()})
    for split, pid in splits.items():
        put(root / "scienceqa" / "images" / split / pid / "image.png", PIXELS)


def mme(root: Path) -> None:
    for category in CATEGORIES:
        place = root / "MME_Benchmark_release_version" / category
        put(place / "1.txt", b"Is it?\tYes\nIs it not?\tNo\n")
        put(place / "1.jpg", PIXELS)


def mmbench(root: Path) -> None:
    head = "index\tquestion\tA\tB\tanswer\tcategory\tl2-category\timage"
    row = "1\tWhich?\tNone\tnan\tA\tc\tl\t" + base64.b64encode(PIXELS).decode()
    for name in ("MMBench_DEV_EN.tsv", "MMBench_TEST_EN.tsv"):
        rotated = "1000001\tWhich?\tnan\tNone\tB\tc\tl\t1"
        put(root / "mmbench" / name, "\n".join((head, row, rotated)).encode())


def mmmu(root: Path) -> None:
    for subject in SUBJECTS:
        for split in ("dev", "validation", "test"):
            row = {
                "id": f"{split}_{subject}_1",
                "question": "<image 1>?",
                "options": "['<image 1>', 'b']",
                "answer": "?" if split == "test" else "A",
                "question_type": "multiple-choice",
                "subfield": "x",
                "image_1": {"bytes": PIXELS, "path": None},
            }
            path = root / "MMMU" / subject / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist([row]), path)


def judged(root: Path) -> None:
    vet = {"imagename": "v1_0.png", "question": "?", "answer": "x", "capability": ["ocr"]}
    put(root / "mm-vet" / "mm-vet.json", {"v1_0": vet})
    put(root / "mm-vet" / "images" / "v1_0.png", PIXELS)
    core = {"Image path": ["a.png"], "Question": "?", "Category": "Deductive", "Complexity": "High"}
    put(root / "core-mm" / "core-mm-wo-answer.json", {"1": core})
    put(root / "core-mm" / "images" / "a.png", PIXELS)
