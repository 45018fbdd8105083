"""What lies in checkpoint folders of the transformers library: whole, broken and booby-trapped."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from infimm_eval import models
from infimm_eval.errors import UsageError
from infimm_eval.models.transformers.generate import NOT_FINITE, library
from tests.models.families import TEXT, answers, gemma3, llava, load, saved
from tests.models.tiny import few_shot

# Of peft, which asks every model something that the library has renamed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
Weights = dict[str, Tensor]
HEAD = "language_model.lm_head.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("whole"), llava)


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "place")


def change(place: Path, edit: Callable[[Weights], Weights]) -> None:
    weights = edit(load_file(place / "model.safetensors"))
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})


def configure(place: Path, edit: Callable[[Any], object], name: str = "config.json") -> None:
    written = json.loads((place / name).read_text())
    edit(written)
    (place / name).write_text(json.dumps(written))


def pickled(place: Path, extra: Weights | None = None) -> None:
    weights = load_file(place / "model.safetensors")
    torch.save({**weights, **(extra or {})}, place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()


def refusal(place: Path) -> str:
    """The one line, which names the folder."""
    with pytest.raises(UsageError) as caught:
        load_hf(place)
    assert "\n" not in str(caught.value)
    assert str(place) in str(caught.value)
    return str(caught.value)


def load_hf(place: Path, **options: Any) -> Any:
    return models.load(f"hf:{place}", device="cpu", **options)


def texts(model: Any) -> dict[str, str]:
    return {id: answer.text for id, answer in answers(model, few_shot(4)).items()}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != HEAD}, r"1 missing (lm_head.weight)"),
        (lambda w: {k: v for k, v in w.items() if "vision" not in k}, "37 missing (model.vision"),
        (lambda w: {**w, "extra.bias": torch.zeros(3)}, "1 unexpected (extra.bias)"),
        (
            lambda w: {**w, HEAD: torch.zeros(7, 32)},
            f"1 of another shape (lm_head.weight is (7, 32), not ({TEXT['vocab_size']}, 32))",
        ),
        (
            lambda w: {k: torch.empty(0) if "q_proj" in k else v for k, v in w.items()},
            "6 of another shape",
        ),
        (lambda w: {**w, HEAD: w[HEAD] * float("nan")}, "lm_head.weight holds NaN or infinite"),
        (lambda w: {**w, HEAD: w[HEAD] + float("inf")}, "lm_head.weight holds NaN or infinite"),
        (lambda w: {"a": torch.zeros(2)}, "missing"),
    ],
)
def test_weights_that_are_not_those_of_the_model_are_counted_and_named(place, edit, message):
    change(place, edit)
    assert message in refusal(place)


def test_weight_files_that_are_none_are_named_with_what_helps(place):
    file = place / "model.safetensors"
    content = file.read_bytes()
    for size in (0, 5, 90, len(content) - 1):
        file.write_bytes(content[:size])
        assert f"{file} is cut off" in refusal(place)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 49431\n")
    assert f"{file} is a Git LFS pointer" in refusal(place)
    file.unlink()
    assert "holds no weights" in refusal(place)
    (place / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other"}}')
    assert "a file outside its folder" in refusal(place)


def test_a_pickle_of_plain_weights_is_read_and_one_that_runs_code_is_not(place, whole, tmp_path):
    pickled(place, {"language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    assert texts(load_hf(place)) == texts(load(whole))

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"a": Trap()}, place / "pytorch_model.bin")
    assert "not a file of plain weights" in refusal(place)
    (place / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(), protocol=2))
    assert "not a file of plain weights" in refusal(place)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "prefix", ["module.", "base_model.model.", "_orig_mod.", "module._orig_mod."]
)
def test_a_wrappers_prefix_is_taken_off_and_said(place, whole, prefix, caplog):
    change(place, lambda w: {prefix + k: v for k, v in w.items()})
    model = load_hf(place)
    assert texts(model) == texts(load(whole))
    assert model.settings["tensor_names_without"] == prefix
    assert f"read without '{prefix}'" in caplog.text


def test_a_part_that_was_compiled_is_found_too(place, whole):
    name = "language_model."
    change(place, lambda w: {k.replace(name, f"{name}_orig_mod."): v for k, v in w.items()})
    model = load_hf(place)
    assert texts(model) == texts(load(whole))
    assert model.settings["tensor_names_without"] == "_orig_mod."


@pytest.mark.parametrize(
    "edit",
    [
        lambda w: {f"module.{k}": v for k, v in w.items() if k != HEAD},
        lambda w: {**{f"module.{k}": v for k, v in w.items()}, HEAD: w[HEAD].clone()},
        lambda w: {f"base_model.{k}": v for k, v in w.items()},
    ],
)
def test_a_prefix_helps_only_where_everything_then_fits(place, edit):
    change(place, edit)
    assert "do not belong together" in refusal(place)


def test_tied_heads_are_not_missing_and_known_prefixes_are_not_spoken_of(tmp_path):
    def tied(template: str | None) -> tuple[Any, Any]:
        model, processor = gemma3(template)
        config = model.config
        config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
        return library.Gemma3ForConditionalGeneration(config), processor

    place = saved(tmp_path, tied)
    assert HEAD not in load_file(place / "model.safetensors")
    assert "tensor_names_without" not in load_hf(place).settings


@pytest.mark.parametrize("count", [10**3, 10**9, 10**30])
@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_a_huge_count_of_layers_is_refused_before_anything_is_built(place, count, part):
    configure(place, lambda c: c[part].update(num_hidden_layers=count))
    message = f"{part}.num_hidden_layers is {count}, and the weights number 2 layers"
    assert message in refusal(place)


def test_a_huge_width_is_refused_before_memory_is_asked_for(place):
    configure(place, lambda c: c["text_config"].update(vocab_size=10**10))
    assert "config.json describes a model of 640,000," in refusal(place)


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("config.json", lambda c: c.update(model_type="mine", auto_map={"AutoModel": "evil.M"})),
        ("config.json", lambda c: c.update(model_type="mine", auto_map={"AutoConfig": "o/r--e.C"})),
        (
            "processor_config.json",
            lambda c: c.update(processor_class="P", auto_map={"AutoProcessor": "evil.P"}),
        ),
    ],
)
def test_code_of_a_checkpoint_is_named_and_never_run(place, file, edit, monkeypatch):
    (place / "evil.py").write_text("raise SystemExit('the code of a checkpoint was run')")
    configure(place, edit, file)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    assert f"auto_map in {file} names Python of its own" in refusal(place)


def test_an_image_processor_of_a_checkpoints_own_is_not_run(place, monkeypatch):
    (place / "evil.py").write_text("raise SystemExit('the code of a checkpoint was run')")
    own = {"image_processor_type": "P", "auto_map": {"AutoImageProcessor": "evil.P"}}
    configure(place, lambda c: c.update(image_processor=own), "processor_config.json")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    refusal(place)


def test_code_that_nobody_needs_is_no_obstacle(place, whole):
    (place / "evil.py").write_text("raise SystemExit('the code of a checkpoint was run')")
    auto = {"AutoModelForImageTextToText": "evil.M", "AutoConfig": "evil.C"}
    configure(place, lambda c: c.update(auto_map=auto))
    own = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["evil.T", None]}}
    configure(place, lambda c: c.update(own), "tokenizer_config.json")
    (place / "custom_generate").mkdir()
    shutil.copy(place / "evil.py", place / "custom_generate" / "generate.py")
    assert texts(load_hf(place)) == texts(load(whole))


@pytest.mark.parametrize("part", [None, "text_config"])
def test_a_kernel_from_the_hub_is_named_and_never_fetched(place, part):
    kernel = {"attn_implementation": "kernels-community/flash-attn3"}
    configure(place, lambda c: (c[part] if part else c).update(kernel))
    assert "a kernel from the hub (kernels-community/flash-attn3)" in refusal(place)


@pytest.mark.parametrize(
    "name", ["config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize("content", ["", "[]", '{"a": ', "[" * 100_000, '"x"', "\0\1"])
def test_a_damaged_file_is_one_line(place, name, content):
    (place / name).write_text(content)
    refusal(place)


@pytest.mark.parametrize("kind", [None, 3, [], "bert", {"a": 1}])
def test_a_model_of_another_type_is_one_line(place, kind):
    configure(place, lambda c: c.update(model_type=kind))
    assert "has no model of that type" in refusal(place)


@pytest.mark.parametrize("ask", ["generate", "rank"])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_score_that_is_not_finite_costs_its_own_question(place, ask, beams, monkeypatch):
    model = load_hf(place, batch_size=4)
    options = (" a dog", " no") if ask == "rank" else ()
    requests = few_shot(6, num_beams=beams, options=options)
    expected = {answer.id: answer for answer in getattr(model, ask)(requests)}
    odd = requests[2].prompt.turns[-1].content[1]
    forward = model.model.forward
    ids = model.processor.tokenizer.encode(odd, add_special_tokens=False)

    def overflowing(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        read = kwargs["input_ids"]
        if read.shape[1] > 1:
            marked = [row[-len(ids) :].tolist() == ids for row in read]
            marked = marked if ask == "generate" else [str(ids)[1:-1] in str(read[0].tolist())]
            output.logits[[bool(m) for m in marked] * (len(read) // len(marked))] = float("nan")
        return output

    overflowing.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(model.model, "forward", overflowing)
    found = {answer.id: answer for answer in getattr(model, ask)(requests)}
    failed = {id: answer.notes["error"] for id, answer in found.items() if answer.finish == "error"}
    assert failed == {"2": NOT_FINITE}
    assert {i: found[i].text for i in found if i != "2"} == {
        i: expected[i].text for i in expected if i != "2"
    }


# -- adapters ------------------------------------------------------------------------------------


def adapted(base: Path, place: Path, **config: Any) -> Any:
    """A trained adapter in a folder of its own, and peft's own model of it."""
    peft = pytest.importorskip("peft")
    model = library.AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(3)
    settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings, **config))
    wrapped.save_pretrained(place)
    return wrapped.eval()


def logliks(model: Any) -> list[float]:
    asked = few_shot(3, style="instruct", options=(" a dog", " no"))
    return [loglik for answer in model.rank(asked) for loglik in answer.logliks]


def expected_of(wrapped: Any, whole: Path) -> list[float]:
    plain = load(whole)
    return logliks(type(plain)(wrapped.get_base_model(), plain.processor, name="", fingerprint=""))


def test_an_adapter_alone_is_opened_on_its_base(whole, tmp_path):
    wrapped = adapted(whole, tmp_path / "adapter")
    model, base = load_hf(tmp_path / "adapter"), load(whole)
    assert logliks(model) == pytest.approx(expected_of(wrapped, whole), abs=1e-5)
    assert logliks(model) != pytest.approx(logliks(base), abs=1e-2)
    assert model.settings["adapter_of"] == whole.name
    assert models.load(str(tmp_path / "adapter")).settings == model.settings


def test_an_adapter_beside_full_weights_is_put_on_those(place, whole):
    wrapped = adapted(whole, place)
    configure(place, lambda c: c.update(base_model_name_or_path="nobody/knows"), ADAPTER)
    assert logliks(load_hf(place)) == pytest.approx(expected_of(wrapped, whole), abs=1e-5)


def test_the_fingerprint_of_an_adapted_model_covers_both(whole, place, tmp_path):
    adapted(whole, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    change_adapter(tmp_path / "two", lambda w: {k: v * 2 for k, v in w.items()})
    shutil.copytree(tmp_path / "one", tmp_path / "three")
    change(place, lambda w: {k: v * 2 for k, v in w.items()})
    configure(tmp_path / "three", lambda c: c.update(base_model_name_or_path=str(whole)), ADAPTER)
    names = ("one", "two", "three")
    found = [load_hf(tmp_path / name).settings["fingerprint"] for name in names]
    configure(tmp_path / "three", lambda c: c.update(base_model_name_or_path=str(place)), ADAPTER)
    found.append(load_hf(tmp_path / "three").settings["fingerprint"])
    assert len({*found, load(whole).settings["fingerprint"]}) >= 4


ADAPTER = "adapter_config.json"


def change_adapter(place: Path, edit: Callable[[Weights], Weights]) -> None:
    weights = edit(load_file(place / "adapter_model.safetensors"))
    save_file(weights, place / "adapter_model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: {**w, "base_model.model.x.lora_A.weight": torch.zeros(4, 32)}, "1 unexpected"),
        (lambda w: {k: v for k, v in w.items() if "lora_A" not in k}, "8 missing"),
        (lambda w: {k: v[:, :1].contiguous() for k, v in w.items()}, "of another shape"),
        (lambda w: {k: v * float("nan") for k, v in w.items()}, "NaN"),
    ],
)
def test_an_adapter_that_does_not_fit_its_base_is_refused(whole, tmp_path, edit, message):
    adapted(whole, tmp_path / "adapter")
    change_adapter(tmp_path / "adapter", edit)
    assert message in refusal(tmp_path / "adapter")


def test_layers_that_an_adapter_leaves_out_are_the_bases(whole, tmp_path, caplog):
    adapted(whole, tmp_path / "adapter")
    configure(tmp_path / "adapter", lambda c: c.update(init_lora_weights=True), ADAPTER)
    change_adapter(tmp_path / "adapter", lambda w: {k: v for k, v in w.items() if "q_proj" in k})
    assert logliks(load_hf(tmp_path / "adapter")) != pytest.approx(logliks(load(whole)), abs=1e-2)
    assert "holds nothing for" in caplog.text


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (None, "names no base_model_name_or_path"),
        ("/no/such/folder", "is no folder here"),
        ("./folder", "is no folder here"),
        (7, "names no base_model_name_or_path"),
    ],
)
def test_a_base_that_is_not_there_is_named(whole, tmp_path, base, message):
    adapted(whole, tmp_path / "adapter")
    configure(tmp_path / "adapter", lambda c: c.update(base_model_name_or_path=base), ADAPTER)
    assert message in refusal(tmp_path / "adapter")


def test_a_relative_base_may_be_meant_from_the_adapter(whole, tmp_path):
    adapted(whole, tmp_path / "run" / "adapter")
    shutil.copytree(whole, tmp_path / "run" / "base")
    configure(
        tmp_path / "run" / "adapter",
        lambda c: c.update(base_model_name_or_path="../base"),
        ADAPTER,
    )
    assert load_hf(tmp_path / "run" / "adapter").settings["adapter_of"] == "base"


def test_the_chat_template_that_was_saved_with_an_adapter_is_its_own(whole, tmp_path):
    adapted(whole, tmp_path / "adapter")
    tokenizer = library.AutoTokenizer.from_pretrained(whole)
    tokenizer.chat_template = "{{ bos_token }}other" + load(whole).processor.chat_template
    tokenizer.save_pretrained(tmp_path / "adapter")
    model = load_hf(tmp_path / "adapter")
    (text,) = model.formatter.write(few_shot(1, style="instruct")[0].prompt)
    assert text.startswith("<s>other")


@pytest.mark.parametrize("alone", [True, False])
def test_an_adapter_is_never_passed_over_where_peft_is_not_there(
    place, whole, tmp_path, alone, monkeypatch
):
    adapter = tmp_path / "adapter" if alone else place
    adapter.mkdir(exist_ok=True)
    (adapter / ADAPTER).write_text(json.dumps({"base_model_name_or_path": str(whole)}))
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "pip install 'infimm-eval[peft]'" in refusal(adapter)
