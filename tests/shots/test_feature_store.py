"""The feature store: what was added is found again, whatever breaks off or runs beside."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from infimm_eval.errors import UsageError
from infimm_eval.shots.feature_store import FeatureStore, default_folder, key

ABOUT = {"encoder": "made up", "dtype": "float32"}


def digests(*names: str) -> list[str]:
    return [sha256(name.encode()).hexdigest() for name in names]


def vectors(*numbers: float) -> np.ndarray:
    return np.array([[number] * 3 for number in numbers], np.float32)


def test_what_was_added_is_found_by_the_next_run_and_read_by_numpy(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, ABOUT)
    store.add(digests("a"), vectors(1))
    store.add(digests("b", "a", "c"), vectors(2, 9, 3))
    again = FeatureStore(tmp_path, ABOUT)
    for found in (store, again):
        assert [found.row(digest) for digest in digests("a", "b", "c")] == [0, 1, 2]
        assert found.vectors.tolist() == vectors(1, 2, 3).tolist()
    folder = tmp_path / key(ABOUT)
    assert np.load(folder / "features.f32.npy").tolist() == vectors(1, 2, 3).tolist()
    assert (folder / "digests.txt").read_text().split() == digests("a", "b", "c")
    assert json.loads((folder / "about.json").read_text()) == ABOUT


def test_another_encoder_has_another_folder(tmp_path: Path) -> None:
    FeatureStore(tmp_path, ABOUT).add(digests("a"), vectors(1))
    assert digests("a")[0] not in FeatureStore(tmp_path, {**ABOUT, "dtype": "float16"})


@pytest.mark.parametrize("left", ["half a line", "a row", "a short row", "no header", "nothing"])
def test_what_broke_off_is_cut_off_and_written_anew(tmp_path: Path, left: str) -> None:
    store = FeatureStore(tmp_path, ABOUT)
    store.add(digests("a", "b"), vectors(1, 2))
    features, lines = tmp_path / key(ABOUT) / "features.f32.npy", store.folder / "digests.txt"
    if left == "half a line":
        lines.write_bytes(lines.read_bytes() + digests("c")[0][:30].encode())
    elif left == "a row":
        features.write_bytes(features.read_bytes() + vectors(7).tobytes())
    elif left == "a short row":
        features.write_bytes(features.read_bytes()[:-5])
    else:
        features.write_bytes(b"\0" * 40 if left == "no header" else b"")
    store = FeatureStore(tmp_path, ABOUT)
    assert len(store) == {"a short row": 1, "no header": 0, "nothing": 0}.get(left, 2)
    store.add(digests("a", "b", "c"), vectors(1, 2, 3))
    again = FeatureStore(tmp_path, ABOUT)
    rows = [again.row(digest) for digest in digests("a", "b", "c")]
    assert again.vectors[rows].tolist() == vectors(1, 2, 3).tolist()
    assert np.load(features).shape == (3, 3)


def test_a_reader_keeps_its_rows_while_another_process_adds(tmp_path: Path) -> None:
    reader, writer = FeatureStore(tmp_path, ABOUT), FeatureStore(tmp_path, ABOUT)
    writer.add(digests("a"), vectors(1))
    reader.add(digests("b"), vectors(2))
    before = reader.vectors
    writer.add(digests("c"), vectors(3))
    assert before.tolist() == vectors(1, 2).tolist()
    assert writer.vectors.tolist() == vectors(1, 2, 3).tolist()


@pytest.mark.slow
def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from hashlib import sha256;"
        "from infimm_eval.shots.feature_store import FeatureStore;"
        "store = FeatureStore(Path(sys.argv[1]), {'encoder': 'made up', 'dtype': 'float32'});"
        "[store.add([sha256(str(n).encode()).hexdigest()], np.full((1, 3), n, np.float32))"
        " for n in range(int(sys.argv[2]), int(sys.argv[2]) + 60)]"
    )
    at_once = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), start])
        for start in ("0", "30")
    ]
    assert [process.wait() for process in at_once] == [0, 0]
    store = FeatureStore(tmp_path, ABOUT)
    assert len(store) == 90
    for number in range(90):
        row = store.row(digests(str(number))[0])
        assert store.vectors[row].tolist() == [number] * 3


def test_vectors_of_another_length_are_refused(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, ABOUT)
    store.add(digests("a"), vectors(1))
    with pytest.raises(UsageError, match="holds vectors of 3 numbers, not of 2; delete that"):
        store.add(digests("b"), np.zeros((1, 2), np.float32))


def test_a_folder_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="choose another --retrieval-cache"):
        FeatureStore(tmp_path / "file", ABOUT)


def test_features_are_kept_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/infimm_eval/features")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_folder() == Path("/home/somebody/.cache/infimm_eval/features")
