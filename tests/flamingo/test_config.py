"""A `config.json` that a person got wrong is one line that names the key and what would work."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.layouts.infimm import Config
from tests.flamingo.small import layout


def changed(place: str, change: dict[str, Any]) -> dict[str, Any]:
    """The small model's file with some keys of a section, or of the top level, exchanged."""
    given = layout()
    return given | (change if place == "top" else {place: given[place] | change})


@pytest.mark.parametrize(
    ("place", "key", "value", "wanted"),
    [
        ("visual", "layers", "24", "a whole number from 1"),
        ("visual", "width", None, "a whole number from 1"),
        ("visual", "head_width", 0, "a whole number from 1"),
        ("visual", "patch_size", 0, "a whole number from 1"),
        ("visual", "patch_size", -14, "a whole number from 1"),
        ("visual", "image_size", True, "a whole number from 1"),
        ("visual", "embed_dim", -1, "a whole number from 0"),
        ("visual", "mlp_ratio", "2.6667", "a number above 0"),
        ("visual", "rope", "true", "true or false"),
        ("visual", "subln", None, "true or false"),
        ("language", "num_attention_heads", 0, "a whole number from 1"),
        ("language", "num_key_value_heads", 0, "a whole number from 1 or null"),
        ("language", "head_dim", 0, "a whole number from 1 or null"),
        ("language", "hidden_size", "64", "a whole number from 1"),
        ("language", "num_hidden_layers", 2.0, "a whole number from 1"),
        ("language", "vocab_size", None, "a whole number from 1"),
        ("language", "rms_norm_eps", "1e-5", "a number above 0"),
        ("language", "rms_norm_eps", float("nan"), "a number above 0"),
        ("language", "rope_theta", None, "a number above 0"),
        ("language", "rope_theta", float("inf"), "a number above 0"),
        ("language", "sliding_window", 0, "a whole number from 1 or null"),
        ("language", "tie_word_embeddings", 0, "true or false"),
        ("language", "bos_token_id", "<s>", "a whole number or null"),
        ("language", "eos_token_id", "</s>", "a whole number, a list of them or null"),
        ("language", "eos_token_id", [2, None], "a whole number, a list of them or null"),
        ("resampler", "latents", 0, "a whole number from 1"),
        ("gated", "heads", [8], "a whole number from 1"),
        ("top", "cross_attn_every_n_layers", "2", "a whole number from 1"),
        ("top", "cross_attn_every_n_layers", None, "a whole number from 1"),
        ("top", "cross_attn_every_n_layers", 0, "a whole number from 1"),
        ("top", "image_token_id", -1, "a whole number from 0"),
    ],
)
def test_a_value_that_a_key_cannot_have_is_named(
    place: str, key: str, value: Any, wanted: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Config.from_dict(changed(place, {key: value}))
    where = "the top level" if place == "top" else repr(place)
    assert str(caught.value) == f"config.json: {where} has {key} {value!r}, not {wanted}"


def test_all_wrong_values_of_a_section_are_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"has layers '2', not .*; width None, not "):
        Config.from_dict(changed("visual", {"layers": "2", "width": None}))


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        ("visual", {"patch_dropuot": 0.1}, "'visual' section.*did you mean 'patch_dropout'"),
        ("visual", {"extra": {}}, "'visual' section.*'extra'; known: drop_path_rate, embed_dim"),
        ("resampler", {"dimhead": 64}, "'resampler' section.*did you mean 'dim_head'"),
        ("gated", {"dimhead": 64}, "'gated' section.*did you mean 'dim_head'"),
        ("top", {"resampler": None}, "'resampler' is None, not an object"),
        ("top", {"gated": [1]}, "'gated' is .1., not an object"),
        ("top", {"image_token_id": 80}, "image_token_id is 80, but .* ids from 0 to 79"),
        ("top", {"eoc_token_id": 5000}, "eoc_token_id is 5000, but .* vocab_size 80"),
        ("top", {"cross_attn_every_n_layers": 5}, "cross_attn_every_n_layers is 5 with 4 decoder"),
        ("language", {"model_type": ["mistral"]}, "unknown language model"),
        ("language", {"model_type": None, "architectures": "Llama"}, "unknown language model"),
        ("language", {"head_dim": 15}, "heads of width 15; rope turns pairs"),
        ("visual", {"head_width": 2, "width": 32}, "head_width 2, not a multiple of 4"),
    ],
)
def test_a_model_that_cannot_be_is_refused(
    place: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Config.from_dict(changed(place, change))


@pytest.mark.parametrize(
    "change",
    [
        {"sliding_window": None, "pad_token_id": -1, "eos_token_id": [2, 7]},
        {"rms_norm_eps": 1, "rope_theta": 500_000, "eos_token_id": None},
        {"rope_scaling": None, "attention_dropout": 0.0},
    ],
)
def test_what_published_files_hold_is_read_and_written_again(change: dict[str, Any]) -> None:
    given = changed("language", change)
    assert json.dumps(Config.from_dict(given).to_dict()) == json.dumps(given)


def test_a_language_model_without_a_type_is_known_by_its_architecture() -> None:
    named = {"model_type": None, "architectures": ["MistralForCausalLM"]}
    assert Config.from_dict(changed("language", named)).language.model_type == "mistral"


@pytest.mark.parametrize(
    ("change", "theta"),
    [
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, 1e6),
        ({"rope_parameters": {"rope_theta": 1e6}, "rope_theta": 1e6}, 1e6),
        ({"rope_parameters": {"rope_type": "default"}, "rope_theta": 5e5}, 5e5),
        ({"rope_parameters": None, "rope_scaling": {"type": "default"}}, 1e4),
    ],
)
def test_rope_is_read_as_either_transformers_writes_it(
    change: dict[str, Any], theta: float
) -> None:
    given = layout()["language"] | change
    read = Config.from_dict(layout(language=given)).language
    assert read.rope_theta == theta
    assert json.dumps(read.to_dict()) == json.dumps(given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 4.0}},
            "no scaling of rope is built",
        ),
        ({"rope_parameters": {"rope_type": "yarn"}}, "has rope_parameters.*no scaling of rope"),
        ({"rope_scaling": {"factor": 2.0}}, "has rope_scaling.*no scaling of rope"),
        ({"rope_parameters": {"rope_type": ["default"]}}, "no scaling of rope"),
        ({"rope_parameters": [1e6]}, "not an object"),
        ({"rope_parameters": {"rope_theta": "1e6"}}, "rope_theta '1e6', not a number above 0"),
        ({"rope_parameters": {"rope_theta": 1e6}, "rope_theta": 1e4}, "keep the one"),
    ],
)
def test_rope_that_is_not_built_here_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config.from_dict(changed("language", change))
