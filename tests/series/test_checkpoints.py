"""Which checkpoints a training run has left, and whether each is whole."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from infimm_eval.errors import UsageError
from infimm_eval.series import checkpoints
from infimm_eval.series.checkpoints import find, lacks, look, step_of


def write(folder: Path, *, weights: str = "model.safetensors") -> Path:
    """A small checkpoint as the library saves it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "idefics2"}')
    save_file({"a": torch.zeros(64)}, folder / weights)
    return folder


def steps(folder: Path, **how: bool) -> list[int]:
    return [one.step for one in find(folder, **how)]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-500", 500),
        ("step-31000", 31000),
        ("step_0042", 42),
        ("global_step7", 7),
        ("global-step-7", 7),
        ("iter_0005000", 5000),
        ("run.step=12", 12),
        ("checkpoint", None),
        ("final", None),
        ("misstep-3", None),
        ("checkpoint-500-hf", None),
    ],
)
def test_a_folder_s_name_tells_its_step(name: str, step: int | None) -> None:
    assert step_of(name) == step


def test_checkpoints_are_found_at_any_depth_and_come_by_step(tmp_path: Path) -> None:
    for name in ("checkpoint-200", "stage2/step_1000", "a/b/global_step30/hf", "checkpoint-9"):
        write(tmp_path / name)
    assert steps(tmp_path) == [9, 30, 200, 1000]
    assert find(tmp_path)[1].path == tmp_path / "a/b/global_step30/hf"


def test_what_a_trainer_keeps_beside_or_within_is_no_checkpoint(tmp_path: Path) -> None:
    inner = write(tmp_path / "checkpoint-100") / "global_step100"
    inner.mkdir()
    (inner / "mp_rank_00_model_states.pt").write_bytes(b"PK")
    (tmp_path / "global_step50").mkdir()
    (tmp_path / "global_step50" / "zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(b"x")
    write(tmp_path / "tmp-checkpoint-200")
    write(tmp_path / "base")
    assert steps(tmp_path) == [100]


def test_the_last_weights_in_the_folder_itself_are_told_once(tmp_path: Path) -> None:
    write(tmp_path / "run")
    (tmp_path / "run" / "trainer_state.json").write_text('{"global_step": 300}')
    assert find(tmp_path / "run") == [checkpoints.Checkpoint(300, tmp_path / "run")]
    write(tmp_path / "run" / "checkpoint-300")
    assert [one.path.name for one in find(tmp_path / "run")] == ["checkpoint-300"]


def test_an_adapter_and_an_openflamingo_are_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "adapter_config.json").write_text("{}")
    (tmp_path / "step-6").mkdir()
    torch.save({"a": torch.zeros(2)}, tmp_path / "step-6" / "checkpoint.pt")
    assert steps(tmp_path) == [5, 6]
    assert lacks(tmp_path / "checkpoint-5", None, look(tmp_path / "checkpoint-5")) == (
        "it has no weights"
    )
    save_file({"a": torch.zeros(2)}, tmp_path / "checkpoint-5" / "adapter_model.safetensors")
    for name in ("checkpoint-5", "step-6"):
        now = look(tmp_path / name)
        assert lacks(tmp_path / name, now, now) == ""


def test_a_checkpoint_is_whole_once_it_is_as_it_was(tmp_path: Path) -> None:
    folder = write(tmp_path / "checkpoint-1")
    first = look(folder)
    assert lacks(folder, None, first) == "its files may still be written"
    (folder / "tokenizer.json").write_text("{}")
    second = look(folder)
    assert lacks(folder, first, second) == "its files may still be written"
    assert lacks(folder, second, look(folder)) == ""


@pytest.mark.parametrize("marker", checkpoints.MARKERS)
def test_a_marker_declares_it_whole_at_the_first_look(tmp_path: Path, marker: str) -> None:
    folder = write(tmp_path / "checkpoint-1")
    (folder / marker).touch()
    assert lacks(folder, None, look(folder)) == ""


def test_deepspeed_names_the_last_that_is_whole_beside_it(tmp_path: Path) -> None:
    for step in (10, 20):
        write(tmp_path / f"global_step{step}")
    (tmp_path / "latest").write_text("global_step10\n")
    found = {one.step: lacks(one.path, None, look(one.path)) for one in find(tmp_path)}
    assert found == {10: "", 20: "its files may still be written"}


def test_no_marker_makes_up_for_a_shard(tmp_path: Path) -> None:
    folder = write(tmp_path / "checkpoint-1", weights="model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "DONE").touch()
    assert "model-00002-of-00002.safetensors, which is not there" in lacks(
        folder, None, look(folder)
    )
    save_file({"b": torch.zeros(8)}, folder / names["b"])
    assert lacks(folder, None, look(folder)) == ""


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_no_patience_makes_up_for_a_file_that_is_cut_off(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if name.endswith("bin"):
        torch.save({"a": torch.zeros(64)}, folder / name)
    else:
        save_file({"a": torch.zeros(64)}, folder / name)
    whole = (folder / name).read_bytes()
    for length in (0, 1, 7, 40, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        now = look(folder)
        assert lacks(folder, now, now) == f"{name} is cut off", length
    (folder / name).write_bytes(whole)
    assert lacks(folder, look(folder), look(folder)) == ""


def test_the_trainer_s_own_states_are_no_weights(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name in ("optimizer.pt", "rng_state_0.pth", "training_args.bin"):
        torch.save({}, folder / name)
    assert lacks(folder, look(folder), look(folder)) == "it has no weights"


def test_one_that_has_vanished_is_said_to_have(tmp_path: Path) -> None:
    folder = write(tmp_path / "checkpoint-1")
    before = look(folder)
    shutil.rmtree(folder)
    assert lacks(folder, before, look(folder)) == "it has vanished"
    assert steps(tmp_path) == []


def test_a_link_that_leads_up_is_not_followed_for_ever(tmp_path: Path) -> None:
    write(tmp_path / "run" / "checkpoint-1")
    (tmp_path / "run" / "up").symlink_to(tmp_path)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "run")
    assert 1 in steps(tmp_path)


def test_links_that_lead_to_each_other_or_to_themselves_end(tmp_path: Path) -> None:
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
    for name in "abcdefgh":
        for other in "abcdefgh":
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    write(tmp_path / "h" / "checkpoint-4")
    assert steps(tmp_path) == [4]


def test_a_link_to_a_checkpoint_is_no_second_one(tmp_path: Path) -> None:
    write(tmp_path / "checkpoint-7")
    (tmp_path / "checkpoint-7" / "trainer_state.json").write_text('{"global_step": 7}')
    (tmp_path / "best").symlink_to(tmp_path / "checkpoint-7")
    assert [one.path.name for one in find(tmp_path)] == ["checkpoint-7"]


def test_the_series_may_lie_in_the_folder_that_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "step-3").mkdir()
    (tmp_path / "step-3" / "weights.npz").write_bytes(b"x")
    (tmp_path / "series" / "step-3").mkdir(parents=True)
    (tmp_path / "series" / "step-3" / "run.db").write_bytes(b"x")
    (tmp_path / "series" / "series.json").write_text("{}")
    assert [one.path for one in find(tmp_path, any_files=True)] == [tmp_path / "step-3"]


def test_a_table_of_weights_that_is_nested_without_end_is_a_cut_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "checkpoint-1")
    table = b"[" * 200_000
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(table)) + table + b" ")
    now = look(folder)
    assert lacks(folder, now, now) == "model.safetensors is cut off"


def test_for_models_of_one_s_own_every_named_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "step-3").mkdir()
    (tmp_path / "step-3" / "weights.npz").write_bytes(b"x")
    assert steps(tmp_path) == [] and steps(tmp_path, any_files=True) == [3]
    now = look(tmp_path / "step-3")
    assert lacks(tmp_path / "step-3", now, now, any_files=True) == ""


def test_a_folder_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        find(tmp_path / "missing")
