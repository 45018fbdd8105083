"""Checkpoints of the original layout: whole ones come back bit for bit, broken ones are named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, build, load, save_pretrained
from infimm_eval.flamingo.layouts import infimm
from tests.flamingo.small import layout, small

pytestmark = pytest.mark.sampled

LAYER = "model.lang_encoder.model.layers"
ALIASES = (
    (f"{LAYER}.1.decoder_layer.", "model.lang_encoder.old_decoder_blocks.1."),
    (f"{LAYER}.1.gated_cross_attn_layer.", "model.lang_encoder.gated_cross_attn_layers.1."),
    ("model.vision_encoder.rope.", "model.vision_encoder.blocks.0.attn.rope."),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_pretrained(small(), tmp_path)
    return tmp_path


def stored(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = stored(folder)
    change(state)
    save_file(state, folder / "model.safetensors")


def same(a: Flamingo, b: Flamingo) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("kind", [("L", "mistral"), ("g", "llama"), ("E", "llama", 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saving_and_loading_changes_no_bit(
    tmp_path: Path, kind: tuple[Any, ...], dtype: torch.dtype
) -> None:
    model = small(*kind).to(dtype)
    save_pretrained(model, tmp_path / "a")
    again = load(tmp_path / "a", dtype=dtype)
    assert again.dtype == dtype and same(model, again)
    save_pretrained(again, tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_configuration_keeps_its_order_and_what_this_code_does_not_read() -> None:
    given = layout() | {"freeze_llm": True, "auto_map": {"AutoConfig": "x.Y"}}
    written = infimm.Config.from_dict(given).to_dict()
    assert json.dumps(written) == json.dumps(given)


def test_what_the_original_fixes_is_written_only_where_it_differs() -> None:
    given = {k: v for k, v in layout().items() if k not in ("resampler", "gated")}
    config = infimm.Config.from_dict(given)
    assert (config.resampler.heads, config.resampler.latents, config.gated.dim_head) == (8, 64, 64)
    assert config.to_dict() == given


def test_every_alias_of_a_parameter_is_understood(folder: Path) -> None:
    model = load(folder)

    def rename(state: dict[str, Tensor]) -> None:
        for key in list(state):
            for name, alias in ALIASES:
                if key.startswith(name):
                    state[key.replace(name, alias)] = state.pop(key)

    rewrite(folder, rename)
    assert same(model, load(folder))


def test_two_names_of_one_parameter_must_agree(folder: Path) -> None:
    name, alias = ALIASES[0]
    key, twin = f"{name}mlp.up_proj.weight", f"{alias}mlp.up_proj.weight"
    rewrite(folder, lambda state: state.update({twin: state[key].clone()}))
    assert same(small(), load(folder))
    rewrite(folder, lambda state: state.update({twin: state[key] + 1}))
    with pytest.raises(UsageError, match="name one parameter and hold different numbers"):
        load(folder)


def test_a_pickle_of_weights_loads_with_its_shared_storages(folder: Path) -> None:
    model = load(folder)
    state = stored(folder)
    for key in list(state):
        for name, alias in ALIASES:
            if key.startswith(name):
                state[key.replace(name, alias)] = state[key]
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert same(model, load(folder))


def test_a_pickle_that_would_run_code_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.perceiver.latents": Path("x")}, folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pytorch_model.bin is cut off or not a file of plain"):
        load(folder)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_joined_and_a_missing_one_is_named(folder: Path, suffix: str) -> None:
    model = load(folder)
    state = stored(folder)
    (folder / "model.safetensors").unlink()
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    names = [f"{stem}-{i}-of-3.{suffix}" for i in (1, 2, 3)]
    index: dict[str, str] = {}
    for i, name in enumerate(names):
        part = {k: state[k] for k in list(state)[i::3]}
        index |= dict.fromkeys(part, name)
        if suffix == "bin":
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name)
    content = json.dumps({"weight_map": index})
    (folder / f"{stem}.{suffix}.index.json").write_text(content)
    assert same(model, load(folder))
    (folder / names[1]).unlink()
    with pytest.raises(UsageError, match=rf"{stem}.{suffix}.index.json names {names[1]}, not"):
        load(folder)


def test_keys_that_do_not_fit_are_named_by_kind(folder: Path) -> None:
    def spoil(state: dict[str, Tensor]) -> None:
        del state["model.perceiver.norm.bias"], state[f"{LAYER}.0.decoder_layer.mlp.up_proj.weight"]
        state["model.extra"] = torch.zeros(2)
        state["model.lang_encoder.model.norm.weight"] = torch.zeros(7)

    rewrite(folder, spoil)
    with pytest.raises(UsageError) as caught:
        load(folder)
    message = str(caught.value)
    for part in (
        "model.safetensors and config.json do not belong together",
        f"2 missing ({LAYER}.0.decoder_layer.mlp.up_proj.weight, model.perceiver.norm.bias)",
        "1 unexpected (model.extra in model.safetensors)",
        "1 of another shape (model.lang_encoder.model.norm.weight in model.safetensors is (7,), "
        "not (64,))",
    ):
        assert part in message
    assert "\n" not in message


def test_each_kind_of_misfit_is_counted_where_there_are_many(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"cross_attn_every_n_layers": 3}))
    with pytest.raises(UsageError) as caught:
        load(folder)
    for part in ("11 missing (", "22 unexpected (", ".gated_cross_attn_layer.", "and 18 more"):
        assert part in str(caught.value)
    assert len(str(caught.value)) < 4000


def test_recomputed_tables_of_older_saves_are_passed_over(folder: Path) -> None:
    key = f"{LAYER}.0.decoder_layer.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda state: state.update({key: torch.ones(8)}))
    assert same(small(), load(folder))


def test_rope_tables_are_used_as_stored_and_computed_where_absent(folder: Path) -> None:
    key = "model.vision_encoder.rope.freqs_cos"
    rewrite(folder, lambda state: state.update({key: state[key].bfloat16()}))
    rounded = load(folder).tower.rope
    assert rounded is not None
    exact = small().tower.rope
    assert exact is not None
    assert torch.equal(rounded.freqs_cos, exact.freqs_cos.bfloat16().float())
    rewrite(folder, lambda state: [state.pop(k) for k in list(state) if ".rope." in k])
    assert same(small(), load(folder))


@pytest.mark.parametrize("name", ["freqs_cos", "freqs_sin"])
def test_one_rope_table_without_the_other_is_refused(folder: Path, name: str) -> None:
    rewrite(folder, lambda state: state.pop(f"model.vision_encoder.rope.{name}"))
    with pytest.raises(UsageError, match=rf"1 missing \(model.vision_encoder.rope.{name}\)"):
        load(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(folder: Path, number: float) -> None:
    rewrite(folder, lambda state: state["model.perceiver.latents"].view(-1)[3:4].fill_(number))
    with pytest.raises(UsageError, match=r"model.safetensors: model.perceiver.latents holds NaN"):
        load(folder)


def test_weights_too_large_for_the_dtype_asked_for_are_refused(folder: Path) -> None:
    rewrite(folder, lambda state: state["model.perceiver.latents"].view(-1)[3:4].fill_(1e5))
    assert load(folder, dtype=torch.bfloat16).resampler.latents.isfinite().all()
    with pytest.raises(UsageError, match=r"latents holds numbers too large for torch.float16; loa"):
        load(folder, dtype=torch.float16)


def _cut(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_file_that_is_cut_off_is_named(folder: Path, keep: float, suffix: str) -> None:
    path = folder / "model.safetensors"
    if suffix == "bin":
        torch.save(stored(folder), folder / "pytorch_model.bin")
        path.unlink()
        path = folder / "pytorch_model.bin"
    _cut(path, keep)
    with pytest.raises(UsageError, match=rf"{path.name} is cut off"):
        load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_git_lfs_pointer_is_recognised(folder: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    (folder / name).write_text(pointer)
    with pytest.raises(UsageError, match=rf"{name} is a Git LFS pointer.*git lfs pull"):
        load(folder)


def test_a_folder_that_is_no_checkpoint_is_named(folder: Path, tmp_path: Path) -> None:
    for name, content, message in (
        ("config.json", '{"model_type": "llava"}', "config.json describes a 'llava' model"),
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[]", "config.json holds a list"),
    ):
        (folder / name).write_text(content)
        with pytest.raises(UsageError, match=message) as caught:
            load(folder)
        assert str(folder) in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"holds no weights; one of these was expected: model.s"):
        load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UsageError, match=r"config.json does not exist"):
        load(folder)
    with pytest.raises(UsageError, match="neither a folder nor a hub id"):
        load(tmp_path / "nowhere" / "at" / "all")


def test_a_saved_config_states_the_dtype_that_was_saved(folder: Path, tmp_path: Path) -> None:
    given = json.loads((folder / "config.json").read_text()) | {"torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(given))
    save_pretrained(load(folder, dtype=torch.float32), tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written == given | {"torch_dtype": "float32"}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_the_hub_is_asked_for_one_format_of_the_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import huggingface_hub

    asked: list[str] = []

    def give(owner_and_name: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(folder)

    if name.endswith(".bin"):
        torch.save(stored(folder), folder / name)
        (folder / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    assert same(small(), load("a/b", revision="c"))
    assert ("pytorch_model*.bin" in asked) == name.endswith(".bin")


def test_a_hub_that_gives_nothing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*args: object, **kw: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no such snapshot\nand so on")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UsageError, match=r"^no folder a/b here, and .*\(no such snapshot\).*$"):
        load("a/b")


def heads_folder(folder: Path, heads: int, dim_head: int) -> Path:
    given = layout() | {"resampler": {"heads": heads, "dim_head": dim_head, "depth": 6}}
    save_pretrained(build(given), folder)
    del given["resampler"]
    (folder / "config.json").write_text(json.dumps(given))
    return folder


@pytest.mark.parametrize(("heads", "dim_head"), [(8, 64), (16, 96)])
def test_resampler_heads_are_known_from_the_published_widths(
    tmp_path: Path, heads: int, dim_head: int
) -> None:
    read = load(heads_folder(tmp_path, heads, dim_head)).config.resampler
    assert (read.heads, read.dim_head) == (heads, dim_head)


def test_resampler_heads_of_another_width_must_be_told_and_are_then_remembered(
    tmp_path: Path,
) -> None:
    heads_folder(tmp_path, 4, 12)
    with pytest.raises(UsageError, match=r"inner width is 48.*pass resampler_heads"):
        load(tmp_path)
    with pytest.raises(UsageError, match="5 heads"):
        load(tmp_path, resampler_heads=5)
    model = load(tmp_path, resampler_heads=4)
    save_pretrained(model, tmp_path / "again")
    assert load(tmp_path / "again").config.resampler == model.config.resampler


PEAK = """
import resource, sys, torch
torch.set_num_threads(1)
from infimm_eval.flamingo import load
folder, dtype = sys.argv[1:]
load_small = load(folder + "/small")  # what any load needs once
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = load(folder, dtype=getattr(torch, dtype))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_loading_takes_little_more_memory_than_the_weights(tmp_path: Path, suffix: str) -> None:
    language = layout()["language"] | {
        "vocab_size": 20000,
        "hidden_size": 640,
        "intermediate_size": 1700,
        "num_attention_heads": 8,
    }
    with torch.device("meta"):
        shell = build(layout(language=language)).bfloat16()
    model = shell.to_empty(device="cpu")
    for weight in model.state_dict().values():
        weight.zero_()
    save_pretrained(model, tmp_path)
    save_pretrained(small(), tmp_path / "small")
    weights = tmp_path / "model.safetensors"
    if suffix == "bin":
        torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
        weights.unlink()
        weights = tmp_path / "pytorch_model.bin"
    size = weights.stat().st_size
    assert size > 80e6
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path), "bfloat16"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert int(ran.stdout) < 1.3 * size
