"""OpenFlamingo's and Otter's checkpoints, in the ways that they are laid out, and in none else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from infimm_eval import models
from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, load, save_pretrained
from infimm_eval.flamingo.layouts import openflamingo as layout
from infimm_eval.flamingo.processor import Processor
from infimm_eval.flamingo.tokenizer import IMAGE, Tokenizer
from tests.flamingo import family
from tests.flamingo.family import (
    KINDS,
    change,
    differing,
    made,
    openflamingo,
    otter,
    same,
    write_tokenizer,
)
from tests.flamingo.test_checkpoint import PEAK

HEAD = "decoder.lm_head.weight"
State = dict[str, Tensor]


def refused(folder: Path, **told: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, **told)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("kind", "every"), [*((kind, 2) for kind in KINDS), *(("llama", n) for n in (1, 3, 4))]
)
def test_a_release_is_read_over_its_language_model_and_tower(
    kind: str, every: int, tmp_path: Path
) -> None:
    model = openflamingo(tmp_path, kind, every=every)
    read = load(tmp_path)
    assert differing(model, read) == ([HEAD] if kind == "llama" else [])
    assert read.config.cross_attn_every_n_layers == every
    tokens = read.tokens
    assert (tokens.end_of_chunk, tokens.image, tokens.pad) == (258, 259, 260)
    assert tokens.eos == (258,) and tokens.end_is_spelled == (kind == "llama")


@pytest.mark.slow
def test_rows_that_no_file_holds_are_never_the_best(tmp_path: Path) -> None:
    model, read = openflamingo(tmp_path), load(tmp_path)
    assert torch.equal(read.decoder.lm_head.weight[:258], model.decoder.lm_head.weight[:258])
    logits = read(torch.tensor([[256, 40, 41, 42]]))[0]
    torch.testing.assert_close(logits[:, 258:], logits[:, :258].mean(1, keepdim=True).expand(-1, 3))
    save_pretrained(read, tmp_path / "again")
    assert same(load(tmp_path / "again"), read)


@pytest.mark.sampled
@pytest.mark.parametrize("beside", [True, False])
def test_an_extra_file_has_what_the_others_lack(beside: bool, tmp_path: Path) -> None:
    model = openflamingo(tmp_path / "model")
    file = tmp_path / "model" / "extra.safetensors" if beside else tmp_path / "rows.safetensors"
    save_file({"lang_encoder.lm_head.weight": model.decoder.lm_head.weight.detach()}, file)
    read = load(tmp_path / "model", extra_weights=None if beside else str(file))
    assert same(model, read) and not read.tokens.end_is_spelled


def test_rows_that_the_language_model_has_are_taken_from_there(tmp_path: Path) -> None:
    model = openflamingo(tmp_path)
    table = model.decoder.lm_head.weight.detach()
    weights = tmp_path / "language_model" / "pytorch_model.bin"
    change(weights, lambda state: state.update({"lm_head.weight": table}))
    assert same(model, load(tmp_path))


def _wrapped(state: State) -> dict[str, Any]:
    trained = {f"module.{key}": tensor for key, tensor in state.items()}
    return {"epoch": 3, "model_state_dict": trained, "optimizer_state_dict": {"state": {0: {}}}}


def _with_buffers(state: State) -> None:
    for layer in range(4):
        inner = f"lang_encoder.gpt_neox.layers.{layer}.decoder_layer.attention"
        state[f"{inner}.bias"] = torch.ones(1, 1, 9, 9, dtype=torch.bool)
        state[f"{inner}.masked_bias"] = torch.tensor(-1e9)
        state[f"{inner}.rotary_emb.inv_freq"] = torch.ones(4)


def _with_twins(state: State) -> None:
    for key, tensor in list(state.items()):
        if ".gated_cross_attn_layer." in key:
            layer, rest = key.split("layers.")[1].split(".gated_cross_attn_layer.")
            state[f"lang_encoder.gated_cross_attn_layers.{layer}.{rest}"] = tensor


@pytest.mark.slow
@pytest.mark.parametrize("edit", [_wrapped, _with_buffers, _with_twins])
def test_other_forms_of_a_checkpoint_are_the_same_model(
    edit: Callable[[State], Any], tmp_path: Path
) -> None:
    openflamingo(tmp_path)
    plain = load(tmp_path)
    change(tmp_path / "checkpoint.pt", edit)
    assert same(plain, load(tmp_path))


@pytest.mark.slow
def test_a_whole_models_state_dict_comes_before_the_parts(tmp_path: Path) -> None:
    model = openflamingo(tmp_path)
    whole = {
        key: tensor.clone()
        for name, tensor in model.state_dict().items()
        for key in layout.LAYOUT.key_map(model.config).keys(name)
    }
    inner = "lang_encoder.model.layers.1.decoder_layer."
    for key in [key for key in whole if key.startswith(inner)]:
        whole[f"lang_encoder.old_decoder_blocks.1.{key.removeprefix(inner)}"] = whole[key]
    torch.save(whole, tmp_path / "checkpoint.pt")
    for part in ("language_model/pytorch_model.bin", "vision_tower/open_clip_pytorch_model.bin"):
        change(tmp_path / part, lambda state: {k: torch.zeros_like(t) for k, t in state.items()})
    assert same(model, load(tmp_path))
    twin = "lang_encoder.old_decoder_blocks.1.mlp.up_proj.weight"
    change(tmp_path / "checkpoint.pt", lambda state: {**state, twin: state[twin] + 1})
    assert "name one parameter and hold different numbers" in refused(tmp_path)


@pytest.mark.slow
def test_the_parts_may_lie_anywhere(tmp_path: Path) -> None:
    openflamingo(tmp_path / "model")
    plain = load(tmp_path / "model")
    for part in ("language_model", "vision_tower"):
        shutil.move(tmp_path / "model" / part, tmp_path / part)
    assert "--model-option vision_tower=" in refused(
        tmp_path / "model", language_model=str(tmp_path / "language_model")
    )
    assert "--model-option language_model=" in refused(tmp_path / "model")
    file = tmp_path / "vision_tower" / "open_clip_pytorch_model.bin"
    for tower in (tmp_path / "vision_tower", file):
        options = {"language_model": str(tmp_path / "language_model"), "vision_tower": str(tower)}
        assert same(plain, load(tmp_path / "model", **options))
    model = models.load(str(tmp_path / "model"), **options)
    assert model.settings["layout"] == model.prompt_format == "openflamingo"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clip", "clip_vision_model"])
def test_a_tower_may_have_transformers_names(kind: str, tmp_path: Path) -> None:
    model = openflamingo(tmp_path)
    otter(tmp_path / "other", seed=1)
    state = torch.load(tmp_path / "other" / "pytorch_model.bin")
    start = "vision_encoder."
    eyes = {k.removeprefix(start): t for k, t in state.items() if k.startswith(start)}
    shutil.rmtree(tmp_path / "vision_tower")
    shutil.rmtree(tmp_path / "other")
    tower = tmp_path / "tower"
    tower.mkdir()
    told = {"model_type": "clip_vision_model", **model.config.vision_config.to_dict()}
    if kind == "clip":
        told = {"model_type": "clip", "vision_config": told}
        eyes |= {"text_model.final_layer_norm.weight": torch.ones(3), "logit_scale": torch.ones(())}
    (tower / "config.json").write_text(json.dumps(told))
    save_file(eyes, tower / "model.safetensors")
    read, theirs = load(tmp_path), made("otter", seed=1)
    pixels = torch.randn(2, 3, 28, 28)
    assert torch.equal(read.tower(pixels), theirs.tower(pixels))


@pytest.mark.slow
def test_the_published_repositories_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openflamingo(tmp_path / "made")
    asked = []

    def fetch(name: str, *_: object, **__: object) -> Path:
        asked.append(name)
        part = "vision_tower" if "clip" in name else "language_model"
        return tmp_path / ("alone" if name.startswith("openflamingo/") else f"made/{part}")

    for place in ("layouts.openflamingo", "checkpoint", "fetching"):
        monkeypatch.setattr(f"infimm_eval.flamingo.{place}.fetch", fetch)
    (tmp_path / "alone").mkdir()
    shutil.copyfile(tmp_path / "made" / "checkpoint.pt", tmp_path / "alone" / "checkpoint.pt")
    for name, language in layout.PUBLISHED.items():
        here = tmp_path / f"models--openflamingo--{name}" / "snapshots"
        shutil.copytree(tmp_path / "alone", here)
        asked.clear()
        load(here)
        assert set(asked) == {language, "openai/clip-vit-large-patch14"}
    fetched = tmp_path / "models--openflamingo--OpenFlamingo-4B-vitl-rpj3b" / "snapshots"
    monkeypatch.setattr("infimm_eval.flamingo.fetching.fetch", lambda *_, **__: fetched)
    model = models.load("openflamingo/OpenFlamingo-4B-vitl-rpj3b")
    assert model.prompt_format == "openflamingo"


def test_a_tokenizer_that_has_the_marks_decides_their_ids(tmp_path: Path) -> None:
    otter(tmp_path)
    file = tmp_path / "tokenizer" / "tokenizer.json"
    raw = tokenizers.Tokenizer.from_file(str(file))
    raw.add_special_tokens(["<|endofchunk|>", "<PAD>", "<answer>", "<image>"])
    raw.save(str(file))
    read = load(tmp_path)
    assert (read.tokens.end_of_chunk, read.tokens.pad, read.tokens.image) == (258, 259, 261)
    tokenizer = Processor.load(tmp_path).tokenizer
    assert tokenizer.id(IMAGE) == 261 and tokenizer.encode(["a<answer>"], literal=False)[-1] == 260


@pytest.mark.slow
def test_another_tokenizer_may_be_passed_and_none_is_said_in_one_line(tmp_path: Path) -> None:
    model = otter(tmp_path / "model")
    shutil.move(tmp_path / "model" / "tokenizer", tmp_path / "elsewhere")
    assert same(model, load(tmp_path / "model", tokenizer=str(tmp_path / "elsewhere")))
    assert "--model-option tokenizer=" in refused(tmp_path / "model")


@pytest.mark.sampled
@pytest.mark.parametrize("kind", KINDS)
def test_otters_folder_is_read_with_a_table_of_any_size(kind: str, tmp_path: Path) -> None:
    model = otter(tmp_path, kind, words=300, every=4)
    assert same(model, load(tmp_path))
    assert Processor.load(tmp_path).pictures.rgb_first


def test_openflamingo_as_otter_converts_it_has_no_answer_mark(tmp_path: Path) -> None:
    model = otter(tmp_path, kind="flamingo", words=261)
    read = load(tmp_path)
    assert same(model, read) and read.tokens.pad == 260


@pytest.mark.slow
def test_otters_original_cache_loses_vision_only_where_its_config_uses_the_cache(
    tmp_path: Path,
) -> None:
    otter(tmp_path)
    assert not load(tmp_path).blind_decoding
    assert load(tmp_path, otter_cache="original").blind_decoding
    told = json.loads((tmp_path / "config.json").read_text())
    told["text_config"]["use_cache"] = False
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert not load(tmp_path, otter_cache="original").blind_decoding
    assert "kept, original" in refused(tmp_path, otter_cache="lost")


@pytest.mark.slow
def test_an_output_table_is_read_whatever_the_top_level_says_of_ties(tmp_path: Path) -> None:
    model = otter(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    del told["tie_word_embeddings"]
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert same(model, load(tmp_path))
    head = "lang_encoder.lm_head.weight"
    change(tmp_path / "pytorch_model.bin", lambda state: state.pop(head))
    read = load(tmp_path)
    assert read.decoder.lm_head is None
    assert torch.equal(read.decoder.embed_tokens.weight, model.decoder.embed_tokens.weight)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"max_num_frames": 128}, "a model of videos"),
        ({"lora_config": {"r": 8}}, "merge them into the weights"),
        ({"text_config": {"model_type": "falcon"}}, "language model: 'falcon'"),
        ({"vision_config": 3}, "'vision_config'"),
        ({"cross_attn_every_n_layers": 9}, "with 4 decoder layers"),
    ],
)
def test_what_is_not_built_is_said_in_one_line(
    line: dict[str, Any], said: str, tmp_path: Path
) -> None:
    otter(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | line))
    assert said in refused(tmp_path)


GATE = "lang_encoder.model.layers.1.gated_cross_attn_layer.attn_gate"


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda state: state.pop(GATE) and None, f"1 missing ({GATE})"),
        (lambda state: state.update(odd=torch.ones(2)), "1 unexpected (odd in checkpoint.pt)"),
        (lambda state: state.update({GATE: torch.ones(2)}), "is (2,), not (1,)"),
        (lambda state: state.update({GATE: torch.full((1,), torch.nan)}), "NaN or infinite"),
        (lambda state: state.update({GATE: torch.ones(1).int()}), "stored as int32"),
        (lambda state: {"perceiver.latents": torch.ones(2, 2)}, "is it an OpenFlamingo?"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(
    edit: Callable[[State], Any], said: str, tmp_path: Path
) -> None:
    openflamingo(tmp_path)
    change(tmp_path / "checkpoint.pt", edit)
    assert said in refused(tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        "checkpoint.pt",
        "language_model/pytorch_model.bin",
        "vision_tower/open_clip_pytorch_model.bin",
    ],
)
def test_files_cut_off_and_pointers_are_refused_by_name(file: str, tmp_path: Path) -> None:
    openflamingo(tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    assert file in refused(tmp_path)
    (tmp_path / file).write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refused(tmp_path)


def test_a_torchscript_archive_is_refused_with_what_would_work(tmp_path: Path) -> None:
    openflamingo(tmp_path)
    archive = tmp_path / "ViT-L-14.pt"
    with zipfile.ZipFile(archive, "w") as made:
        for name in ("data.pkl", "code/__torch__/model.py", "constants.pkl"):
            made.writestr(f"ViT-L-14/{name}", b"class ViT: pass")
    said = refused(tmp_path, vision_tower=str(archive))
    assert "TorchScript archive" in said and "open_clip_pytorch_model.bin" in said


def test_an_interval_that_the_gates_contradict_is_refused(tmp_path: Path) -> None:
    openflamingo(tmp_path, every=2)
    assert "missing" in refused(tmp_path, cross_attn_every_n_layers=1)
    assert "it counts from 1" in refused(tmp_path, cross_attn_every_n_layers=0)


def test_options_of_another_layout_are_refused(tmp_path: Path) -> None:
    otter(tmp_path)
    assert "which take otter_cache" in refused(tmp_path, vision_tower="x")


def test_two_language_models_in_a_folder_are_said(tmp_path: Path) -> None:
    openflamingo(tmp_path)
    shutil.copytree(tmp_path / "language_model", tmp_path / "old")
    assert "several (language_model, old)" in refused(tmp_path)


def test_a_mark_beyond_the_table_is_said(tmp_path: Path) -> None:
    otter(tmp_path, words=262)
    table = "lang_encoder.model.embed_tokens.weight"
    cut = {table: torch.ones(259, 48), "lang_encoder.lm_head.weight": torch.ones(259, 48)}
    change(tmp_path / "pytorch_model.bin", lambda state: state.update(cut))
    assert "the id 259" in refused(tmp_path)


def test_text_before_a_picture_never_depends_on_it(tmp_path: Path) -> None:
    model: Flamingo = openflamingo(tmp_path)
    ids = torch.tensor([[256, 40, 41, 259, 42]])
    with torch.no_grad():
        latents = model.encode_images(torch.randn(1, 3, 28, 28))
        whole = model(ids, None, latents[None])[:, :3]
        torch.testing.assert_close(whole, model(ids[:, :3]), atol=2e-5, rtol=0)


def test_bytes_are_read_without_an_opening_token_where_the_language_model_has_none(
    tmp_path: Path,
) -> None:
    write_tokenizer(tmp_path, bos=False)
    assert Tokenizer.load(tmp_path, ("<|endofchunk|>", "<image>"), "<PAD>").opening == ()


WIDE = {"hidden_size": 640, "intermediate_size": 1700, "num_attention_heads": 8}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["openflamingo", "otter"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_takes_little_more_memory_than_the_model(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    """Though a table that is converted, the largest being a fifth of it all, is there twice."""
    text = family.TEXTS["llama"] | WIDE | {"vocab_size": 20000}
    model = made(kind, text_config=text, every=4)
    save_pretrained(model, tmp_path)
    if kind == "otter":
        state = load_file(tmp_path / "model.safetensors")
        torch.save(state, tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
        del state
    otter(tmp_path / "small")
    size = sum(tensor.numel() for tensor in model.state_dict().values())
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path), dtype],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert int(ran.stdout) < 1.1 * size * getattr(torch, dtype).itemsize
