"""What no file may do to a reader: end in a traceback, a hang, or another code than 0 and 2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_readers import fuzz, judged, read
from tests.fuzz.seeds import Seed, seeds

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.slow
def test_damaged_files_of_every_kind_are_read_or_refused_in_a_line() -> None:
    found = [finding for _, finding in fuzz(250, seed=0) if finding]
    assert not found, "\n".join(f"{f.kind} {f.reader}: {f.told[-800:]}" for f in found)


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(values=st.lists(JSON, min_size=1, max_size=4), data=st.data())
def test_a_json_file_of_anything_is_read_or_refused_in_a_line(
    made: list[Seed], values: list[Any], data: st.DataObject
) -> None:
    for seed in (seed for seed in made if seed.path.suffix == ".json"):
        whole = seed.path.read_bytes()
        body = json.loads(whole)
        key = data.draw(st.sampled_from([*body] if isinstance(body, dict) else range(len(body))))
        body[key] = data.draw(st.sampled_from(values))
        seed.path.write_text(json.dumps(body))
        try:
            _, finding = judged(read(seed), seed, b"")
        finally:
            seed.path.write_bytes(whole)
        assert finding is None, finding
