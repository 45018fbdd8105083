"""Tiny models of the transformers library with random weights, one of each kind of architecture."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import tokenizers
import torch
import transformers as library
from tokenizers import decoders, pre_tokenizers
from tokenizers import models as tokenizer_models

from infimm_eval import models
from infimm_eval.models.transformers import build
from infimm_eval.models.transformers.model import TransformersModel
from infimm_eval.types import Answer, Request

SPECIAL = ["<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "<end_of_utterance>"]
CHARACTERS = [*map(chr, range(33, 127)), "\u0120", "\u010a"]
"""In byte-level spelling: the last two are the space and the line break."""
TEXT: dict[str, Any] = {
    "vocab_size": len(SPECIAL) + len(CHARACTERS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 400,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def tokenizer(special: list[str] = SPECIAL, **named: str) -> Any:
    """One token for each printable ASCII character, and the special ones."""
    vocabulary = {token: i for i, token in enumerate([*special, *CHARACTERS])}
    raw = tokenizers.Tokenizer(tokenizer_models.BPE(vocabulary, [], unk_token=None))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return library.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=named or special[3:],
    )


def llava(template: str | None) -> tuple[Any, Any]:
    config = library.LlavaConfig(
        vision_config={"model_type": "siglip_vision_model", **SIGLIP, "vision_use_head": False},
        text_config={"model_type": "llama", **TEXT},
        image_token_index=3,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    pictures = library.SiglipImageProcessor(size={"height": 28, "width": 28})
    processor = library.LlavaProcessor(
        pictures,
        tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="full",
        chat_template=template,
    )
    return library.LlavaForConditionalGeneration(config), processor


def idefics2(template: str | None) -> tuple[Any, Any]:
    config = library.Idefics2Config(
        vision_config=SIGLIP,
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 3,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "num_key_value_heads": 1,
            "resampler_head_dim": 16,
        },
        text_config={"model_type": "mistral", **TEXT},
        image_token_id=3,
    )
    pictures = library.Idefics2ImageProcessor(
        size={"shortest_edge": 28, "longest_edge": 56}, do_image_splitting=False
    )
    processor = library.Idefics2Processor(
        pictures, tokenizer(), image_seq_len=3, chat_template=template
    )
    return library.Idefics2ForConditionalGeneration(config), processor


def idefics3(template: str | None) -> tuple[Any, Any]:
    config = library.Idefics3Config(
        vision_config=SIGLIP,
        text_config={"model_type": "llama", **TEXT},
        image_token_id=3,
        scale_factor=1,
    )
    pictures = library.Idefics3ImageProcessor(
        size={"longest_edge": 28}, max_image_size={"longest_edge": 28}, do_image_splitting=False
    )
    processor = library.Idefics3Processor(
        pictures, tokenizer(), image_seq_len=4, chat_template=template
    )
    return library.Idefics3ForConditionalGeneration(config), processor


def idefics(_: str | None, **top: Any) -> tuple[Any, Any]:
    vision = {"embed_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = library.IdeficsConfig(
        **{**TEXT, "vocab_size": TEXT["vocab_size"] - 2},
        additional_vocab_size=2,
        vision_config={**vision, "image_size": 28, "patch_size": 14, "intermediate_size": 48},
        cross_layer_interval=1,
        **{"use_resampler": False, **top},
    )
    pictures = library.IdeficsImageProcessor(image_size=28)
    return library.IdeficsForVisionText2Text(config), library.IdeficsProcessor(
        pictures, tokenizer()
    )


QWEN = ["<pad>", "<s>", "</s>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>"]


def _framed(template: str | None) -> str | None:
    return template and template.replace("<image>", "".join(QWEN[i] for i in (4, 3, 5)))


def qwen2(template: str | None) -> tuple[Any, Any]:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14}
    config = library.Qwen2VLConfig(
        text_config={**TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
        vision_config=vision,
        image_token_id=3,
        video_token_id=TEXT["vocab_size"] - 1,
        vision_start_token_id=4,
    )
    processor = library.Qwen2VLProcessor(
        library.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56),
        tokenizer(QWEN),
        library.Qwen2VLVideoProcessor(),
        chat_template=_framed(template),
    )
    return library.Qwen2VLForConditionalGeneration(config), processor


def idefics_resampled(_: str | None) -> tuple[Any, Any]:
    perceiver = {
        "use_resampler": True,
        "resampler_n_latents": 3,
        "resampler_depth": 1,
        "resampler_n_heads": 2,
        "resampler_head_dim": 16,
    }
    return idefics(None, use_resampler=True, perceiver_config=perceiver)


def idefics3_in_tiles(template: str | None) -> tuple[Any, Any]:
    model, processor = idefics3(template)
    processor.image_processor.do_image_splitting = True
    processor.image_processor.size = {"longest_edge": 56}
    return model, processor


def smolvlm(template: str | None) -> tuple[Any, Any]:
    """Its own processor, which reads as that of IDEFICS 3 does, needs one more package."""
    config = library.SmolVLMConfig(
        vision_config=SIGLIP,
        text_config={"model_type": "llama", **TEXT},
        image_token_id=3,
        scale_factor=1,
    )
    return library.SmolVLMForConditionalGeneration(config), idefics3(template)[1]


def llava_next(template: str | None) -> tuple[Any, Any]:
    pinpoints = [[28, 56], [56, 28], [56, 56]]
    clip = {**SIGLIP, "model_type": "clip_vision_model", "projection_dim": 32}
    config = library.LlavaNextConfig(
        vision_config=clip,
        text_config={"model_type": "llama", **TEXT},
        image_token_index=3,
        vision_feature_layer=-2,
        image_grid_pinpoints=pinpoints,
    )
    size = {"height": 28, "width": 28}
    pictures = library.LlavaNextImageProcessor(
        size={"shortest_edge": 28}, crop_size=size, image_grid_pinpoints=pinpoints
    )
    processor = library.LlavaNextProcessor(
        pictures,
        tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    return library.LlavaNextForConditionalGeneration(config), processor


def pixtral(template: str | None) -> tuple[Any, Any]:
    config = library.LlavaConfig(
        vision_config={**SIGLIP, "model_type": "pixtral", "head_dim": 8},
        text_config={"model_type": "mistral", **TEXT},
        image_token_index=3,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    pictures = library.PixtralImageProcessor(size={"longest_edge": 56}, patch_size=14)
    processor = library.PixtralProcessor(
        pictures,
        tokenizer([*SPECIAL[:3], "[IMG]", "[IMG_BREAK]", "[IMG_END]"]),
        patch_size=14,
        chat_template=template and template.replace("<image>", "[IMG]"),
    )
    return library.LlavaForConditionalGeneration(config), processor


def qwen3(template: str | None) -> tuple[Any, Any]:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 14,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    config = library.Qwen3VLConfig(
        text_config={
            **TEXT,
            "head_dim": 8,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        },
        vision_config=vision,
        image_token_id=3,
        video_token_id=TEXT["vocab_size"] - 1,
        vision_start_token_id=4,
        vision_end_token_id=5,
    )
    processor = library.Qwen3VLProcessor(
        library.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56),
        tokenizer(QWEN),
        library.Qwen3VLVideoProcessor(),
        chat_template=_framed(template),
    )
    return library.Qwen3VLForConditionalGeneration(config), processor


def gemma3(template: str | None) -> tuple[Any, Any]:
    special = ["<pad>", "<s>", "</s>", "<image_soft_token>", "<start_of_image>", "<end_of_image>"]
    config = library.Gemma3Config(
        vision_config={**SIGLIP, "vision_use_head": False},
        text_config={**TEXT, "head_dim": 8, "sliding_window": 24, "tie_word_embeddings": False},
        tie_word_embeddings=False,
        mm_tokens_per_image=4,
        image_token_index=3,
        boi_token_index=4,
        eoi_token_index=5,
    )
    named = {"image_token": special[3], "boi_token": special[4], "eoi_token": special[5]}
    processor = library.Gemma3Processor(
        library.Gemma3ImageProcessor(size={"height": 28, "width": 28}),
        tokenizer(special, **named),
        image_seq_length=4,
        chat_template=template and template.replace("<image>", "<start_of_image>"),
    )
    return library.Gemma3ForConditionalGeneration(config), processor


def paligemma(template: str | None) -> tuple[Any, Any]:
    config = library.PaliGemmaConfig(
        vision_config={**SIGLIP, "vision_use_head": False},
        projection_dim=32,
        text_config={"model_type": "gemma", **TEXT, "head_dim": 8, "tie_word_embeddings": False},
        image_token_index=3,
        tie_word_embeddings=False,
    )
    pictures = library.SiglipImageProcessor(size={"height": 28, "width": 28})
    pictures.image_seq_length = 4
    processor = library.PaliGemmaProcessor(pictures, tokenizer(), chat_template=template)
    return library.PaliGemmaForConditionalGeneration(config), processor


def mllama(template: str | None) -> tuple[Any, Any]:
    tiles = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
    config = library.MllamaConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 4,
            "image_size": 28,
            "patch_size": 14,
            "vision_output_dim": 64,
            "intermediate_layers_indices": [0],
            "max_num_tiles": 4,
            "supported_aspect_ratios": tiles,
        },
        text_config={
            **TEXT,
            "cross_attention_layers": [1],
            "num_hidden_layers": 3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        image_token_index=3,
    )
    pictures = library.MllamaImageProcessor(size={"height": 28, "width": 28}, max_image_tiles=4)
    words = tokenizer([*SPECIAL[:3], "<|image|>", "<|eot_id|>", "<|python_tag|>"])
    written = template and template.replace("<image>", "<|image|>")
    written = written and written.replace("<end_of_utterance>", "<|eot_id|>")
    processor = library.MllamaProcessor(pictures, words, chat_template=written)
    return library.MllamaForConditionalGeneration(config), processor


FAMILIES = {
    "llava": llava,
    "idefics": idefics,
    "idefics2": idefics2,
    "idefics3": idefics3,
    "qwen2": qwen2,
}
"""One of each; the others differ in how they take pictures in."""
MORE = {
    "idefics_resampled": idefics_resampled,
    "idefics3_in_tiles": idefics3_in_tiles,
    "smolvlm": smolvlm,
    "llava_next": llava_next,
    "pixtral": pixtral,
    "qwen3": qwen3,
    "gemma3": gemma3,
    "paligemma": paligemma,
}
ENCODING_ALL = {"mllama": mllama}
"""Those whose tower cannot be stood before: every picture is encoded whenever it is shown."""


def saved(place: Path, family: Any, template: str | None = TEMPLATE) -> Path:
    torch.manual_seed(0)
    model, processor = family(template)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.generation_config = library.GenerationConfig(
        eos_token_id=2, do_sample=True, temperature=2.0, repetition_penalty=1.5, max_length=3
    )
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def load(folder: Path, **options: Any) -> TransformersModel:
    """As ``models.load``; files that many tests load are read once, and copied in memory."""
    model, processor = _once(build.open_model), _once(build.open_processor)
    patch = partial(mock.patch.object, build)
    with patch("open_model", model), patch("open_processor", processor):
        return models.load(str(folder), device="cpu", **options)


_OPENED: dict[Any, Any] = {}


def _once(read: Callable[..., Any]) -> Callable[..., Any]:
    def opened(folder: Path, *how: Any) -> Any:
        files = sorted((file.name, file.stat().st_mtime_ns) for file in folder.iterdir())
        key = (read.__name__, folder, str(how), str(files))
        if key not in _OPENED:
            if len(_OPENED) == 32:
                _OPENED.clear()
            _OPENED[key] = read(folder, *how)
        return deepcopy(_OPENED[key])

    return opened


def answers(model: TransformersModel, requests: list[Request]) -> dict[str, Answer]:
    found = list(model.generate(requests))
    assert len(found) == len(requests)
    return {answer.id: answer for answer in found}
