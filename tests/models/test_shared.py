"""The parts of the engine that need no model."""

from __future__ import annotations

import sys
import threading
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.shared import feature_cache
from infimm_eval.models.shared.batch_limiter import BatchLimiter
from infimm_eval.models.shared.beginnings import BLOCK, beginnings, shared
from infimm_eval.models.shared.feature_cache import FeatureCache, Tier
from infimm_eval.models.shared.memory import container_has, peak
from infimm_eval.models.shared.prefetch import prefetch
from infimm_eval.models.shared.statistics import Statistics


def test_what_was_asked_for_longest_ago_makes_room():
    shelf = Tier(budget=3 * 8)
    for name in "abc":
        assert shelf.put(name, torch.zeros(2)) == []
    shelf.get("a")
    assert [name for name, _ in shelf.put("d", torch.zeros(2))] == ["b"]
    assert ("a" in shelf, "b" in shelf, shelf.used) == (True, False, 24)


def test_a_tensor_beyond_the_budget_is_not_kept():
    shelf = Tier(budget=8)
    assert [name for name, _ in shelf.put("big", torch.zeros(9))] == ["big"]
    assert (len(shelf), shelf.used) == (0, 0)


def latents(folder, identity="weights", statistics=None):
    return FeatureCache(
        identity,
        statistics or Statistics(),
        device=torch.device("cpu"),
        device_bytes=0,
        host_bytes=10**6,
        folder=folder,
    )


def test_latents_come_back_from_disk_bit_for_bit(tmp_path):
    made = torch.randn(4, 8).to(torch.bfloat16)
    latents(tmp_path).put("ab12", made)
    again = latents(tmp_path)
    assert again.holds("ab12")
    assert torch.equal(again.get("ab12"), made)
    assert latents(tmp_path, "other weights").get("ab12") is None


def test_a_damaged_file_is_as_good_as_none_and_counted(tmp_path):
    latents(tmp_path).put("ab12", torch.zeros(4, 8))
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    statistics = Statistics()
    again = latents(tmp_path, statistics=statistics)
    assert again.get("ab12") is None
    assert statistics["damaged_on_disk"] == 1
    again.put("ab12", torch.ones(4, 8))
    assert torch.equal(latents(tmp_path).get("ab12"), torch.ones(4, 8))


def accelerated(device_bytes):
    """Latents as on an accelerator, a near shelf and a far one, with both in this memory."""
    kept = FeatureCache(
        "weights",
        Statistics(),
        device=torch.device("meta"),
        device_bytes=device_bytes,
        host_bytes=10**6,
    )
    kept.device = torch.device("cpu")
    for number, name in enumerate("abc"):
        kept.put(name, torch.full((8,), float(number)))
    return kept


def failing(monkeypatch, times):
    bring, calls = torch.Tensor.to, []

    def to(tensor, *arguments, **keywords):
        calls.append(tensor)
        if len(calls) <= times:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 32 bytes")
        return bring(tensor, *arguments, **keywords)

    monkeypatch.setattr(torch.Tensor, "to", to)


def test_latents_that_do_not_fit_beside_the_kept_ones_take_their_place(monkeypatch):
    kept = accelerated(device_bytes=64)
    failing(monkeypatch, times=1)
    for name, number in (("a", 0.0), ("b", 1.0), ("c", 2.0)):
        assert torch.equal(kept.get(name), torch.full((8,), number))
    assert kept.statistics["oom_halvings"] == 1


def test_latents_that_never_fit_stop_the_run_in_one_line(monkeypatch):
    kept = accelerated(device_bytes=64)
    failing(monkeypatch, times=9)
    with pytest.raises(MachineryError, match="one encoded picture does not fit into memory"):
        kept.get("a")


def test_the_last_of_a_disk_is_left_to_others(tmp_path, monkeypatch):
    statistics = Statistics()
    kept = latents(tmp_path, statistics=statistics)
    nearly_full = SimpleNamespace(total=1000, used=960, free=40)
    monkeypatch.setattr(feature_cache, "disk_usage", lambda _: nearly_full)
    kept.put("ab1", torch.ones(2))
    assert statistics["unwritten_to_disk"] == 1
    assert not list(tmp_path.rglob("*.safetensors"))
    nearly_full.free = 60
    kept.put("ab2", torch.ones(2))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_a_disk_that_takes_no_more_pictures_ends_no_run(tmp_path):
    statistics = Statistics()
    kept = latents(tmp_path, statistics=statistics)
    (next(tmp_path.iterdir()) / "ab").write_text("in the way of a folder")
    assert torch.equal(kept.put("ab1", torch.ones(2)), torch.ones(2))
    assert torch.equal(kept.get("ab1"), torch.ones(2))
    assert statistics["unwritten_to_disk"] == 1


def test_a_folder_for_pictures_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be kept in .*file.*--picture-cache"):
        latents(tmp_path / "file")


@pytest.mark.parametrize(("limit", "left"), [("max", []), ("1000", [700])])
def test_a_container_has_what_its_limit_leaves(tmp_path, limit, left):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("400\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 100\n")
    assert container_has(tmp_path) == left
    assert container_has(tmp_path / "nowhere") == []


def test_pictures_may_take_what_is_free_unless_told(monkeypatch):
    monkeypatch.setattr("infimm_eval.models.shared.feature_cache.free_bytes", lambda _: 80)
    kept = FeatureCache("", Statistics(), device=torch.device("cpu"))
    for n in range(3):
        kept.put(str(n), torch.zeros(4))
    assert [kept.holds(str(n)) for n in range(3)] == [False, True, True]


def test_what_work_takes_at_its_height_is_measured():
    def work():
        return len(bytearray(b"x") * (64 << 20))

    done, taken = peak(torch.device("cpu"), work)
    assert done == 64 << 20
    if taken is None:
        pytest.skip("this system does not tell a process's high water")
    assert 60 << 20 < taken < 200 << 20


def test_work_ahead_keeps_order_and_distance():
    started = []

    def work(n: int) -> int:
        started.append(n)
        return n * n

    results = prefetch(count(), work, workers=3, depth=5)
    assert [next(results) for _ in range(4)] == [0, 1, 4, 9]
    results.close()
    assert len(started) <= 4 + 5


def test_what_work_raises_comes_out_in_its_turn():
    def work(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        return n

    results = prefetch(range(5), work, workers=2, depth=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_threads_hand_over_often_while_there_is_work_ahead_and_then_as_before():
    usual = sys.getswitchinterval()
    results = prefetch(range(5), str, workers=2, depth=2)
    next(results)
    assert sys.getswitchinterval() < usual
    results.close()
    assert sys.getswitchinterval() == usual


def test_requests_are_read_in_the_callers_thread():
    threads = set()

    def reading():
        for n in range(10):
            threads.add(threading.get_ident())
            yield n

    assert list(prefetch(reading(), str, workers=2, depth=3)) == list(map(str, range(10)))
    assert threads == {threading.get_ident()}


def test_room_shrinks_for_good():
    statistics = Statistics()
    room = BatchLimiter(8, statistics)
    sizes = []

    def compute(part):
        if len(part) > 3:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(len(part))
        return [n + 1 for n in part]

    assert list(room.run(range(10), compute)) == list(range(1, 11))
    assert sizes == [2] * 5
    assert statistics["oom_halvings"] == 2


IMAGE = 9


def prompt(start: list[int], length: int, last: int, pictures=()):
    return beginnings(start + [last] * (length - len(start)), IMAGE, pictures)


def test_a_beginning_leaves_a_token_to_read():
    assert [p.length for p in prompt([], 2 * BLOCK, 1)] == [BLOCK]
    assert [p.length for p in prompt([], 2 * BLOCK + 1, 1)] == [BLOCK, 2 * BLOCK]


def test_the_longest_beginning_that_saves_most_is_shared():
    same = [1, 2] * BLOCK
    found = shared([prompt(same, 50, n) for n in range(5)] + [prompt([3], 50, 3)], (), worth=1)
    assert [p and p.length for p in found] == [2 * BLOCK] * 5 + [None]
    assert len({p.name for p in found if p}) == 1


def test_too_little_to_save_is_not_shared():
    found = shared([prompt([1] * BLOCK, 20, 1)] * 2, (), worth=BLOCK + 1)
    assert found == [None, None]


def test_what_is_held_already_is_used_by_one_prompt_too():
    (one,) = prompt([1] * BLOCK, 20, 1)
    assert shared([[one]], (), worth=1) == [None]
    assert shared([[one]], {one.name}, worth=1) == [one]


def test_another_picture_or_a_picture_further_on_is_another_beginning():
    start = [IMAGE, *[1] * (BLOCK - 1)]
    one, same, other = (prompt(start, 20, 1, (digest,)) for digest in ("a", "a", "b"))
    assert one == same != other
    text, shown = prompt([1] * BLOCK, 20, 1), prompt([1] * BLOCK, 20, IMAGE, ("a",) * 4)
    assert text[0].name != shown[0].name
