"""One folder with every benchmark's official files, each as small as it can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from infimm_eval import registry
from infimm_eval.data import open_source
from infimm_eval.types import Image, Sample
from tests import official


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official.write(tmp_path_factory.mktemp("data"))


@pytest.mark.sampled
@pytest.mark.parametrize("name", [task.name for task in registry.select(["all"])])
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
            assert image.read() == official.PIXELS


def pictures(samples: list[Sample]) -> list[Image]:
    contents = [(*s.images, *s.question, *(p for o in s.options for p in o)) for s in samples]
    return [part for content in contents for part in content if isinstance(part, Image)]
