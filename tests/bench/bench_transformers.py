"""What models of the transformers library gain by not reading things twice, in one process.  Prints
one JSON object.

Run by hand, never by the tests, from the project's folder:
    python -m tests.bench.bench_transformers [--family idefics2|llava] [--questions 64]

The load is 4-shot VQA: every question shows one of the pictures, four others with their answers
before it.  `generate` answers with 5 tokens; `rank` compares four options.  The model has
random weights: tower 384 wide with 6 layers on pictures of 224 px, language model 512 wide with 8
layers.  With and without sharing, the same must be said.  `--clock cpu` counts CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers as library

from infimm_eval.models.transformers.engine import EngineOptions
from infimm_eval.models.transformers.model import TransformersModel
from infimm_eval.types import Answer, Request
from tests.models.families import TEXT, tokenizer
from tests.models.tiny import painted, request

OPTIONS = (" a red house", " two dogs on the beach", " nobody knows", " a tree")
WORDS = ["red", "blue", "green", "dog", "cat", "house", "tree", "beach"]


LANGUAGE = {
    **TEXT,
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096,
}
TOWER = {
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "image_size": 224,
    "patch_size": 14,
}


def llava() -> tuple[Any, Any]:
    """256 tokens of the language model's for each picture."""
    config = library.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **TOWER},
        text_config={"model_type": "llama", **LANGUAGE},
        image_token_index=3,
    )
    size = {"height": 224, "width": 224}
    processor = library.LlavaProcessor(
        library.CLIPImageProcessor(size=size, crop_size=size),
        tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return library.LlavaForConditionalGeneration(config), processor


def idefics2() -> tuple[Any, Any]:
    """16 tokens of the language model's for each picture."""
    config = library.Idefics2Config(
        vision_config=TOWER,
        perceiver_config={
            "hidden_size": 512,
            "resampler_n_latents": 16,
            "resampler_depth": 2,
            "resampler_n_heads": 8,
            "num_key_value_heads": 4,
            "resampler_head_dim": 64,
        },
        text_config={"model_type": "mistral", **LANGUAGE},
        image_token_id=3,
    )
    size = {"shortest_edge": 224, "longest_edge": 224}
    pictures = library.Idefics2ImageProcessor(size=size, do_image_splitting=False)
    processor = library.Idefics2Processor(pictures, tokenizer(), image_seq_len=16)
    return library.Idefics2ForConditionalGeneration(config), processor


FAMILIES = {"idefics2": idefics2, "llava": llava}


def questions(count: int, pictures: int) -> list[Request]:
    rng = random.Random(0)
    shown = [painted(n, (224, 224)) for n in range(pictures)]
    made = []
    for i in range(count):
        turns: list[Any] = []
        for _ in range(4):
            turns += [(rng.choice(shown), "Question: what? Short answer:"), rng.choice(WORDS)]
        asked = f"Question: is {i} {rng.choice(WORDS)}? Short answer:"
        query = (rng.choice(shown), asked)
        made.append(request(str(i), *turns, query, options=OPTIONS, max_new_tokens=5))
    return made


def measured(
    work: Callable[[TransformersModel], list[Answer]], args: argparse.Namespace, sharing: bool
) -> tuple[dict[str, Any], dict[str, Answer]]:
    torch.manual_seed(0)
    model, processor = FAMILIES[args.family]()
    asked = TransformersModel(
        model.to(args.device),
        processor,
        name="bench",
        fingerprint="",
        options=EngineOptions(batch_size=args.batch, sharing=sharing),
    )
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    start = clock()
    answers = {answer.id: answer for answer in work(asked)}
    seconds = round(clock() - start, 2)
    return {"seconds": seconds, **asked.statistics}, answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", choices=[*FAMILIES], default="idefics2")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    asked = questions(args.questions, args.pictures)
    report: dict[str, Any] = {"bench": "transformers", **vars(args), "torch": torch.__version__}
    parts: dict[str, Callable[[TransformersModel], list[Answer]]] = {
        "generate": lambda model: list(model.generate(asked)),
        "rank": lambda model: list(model.rank(asked)),
    }
    for name, work in parts.items():
        without, plain = measured(work, args, sharing=False)
        shared, answers = measured(work, args, sharing=True)
        report[name] = {
            "without": without,
            "with": shared,
            "times": round(without["seconds"] / shared["seconds"], 2),
            "different_answers": sum(plain[i].text != a.text for i, a in answers.items()),
            "largest_difference_of_logliks": max(
                (
                    abs(one - other)
                    for i, answer in answers.items()
                    for one, other in zip(plain[i].logliks, answer.logliks, strict=True)
                ),
                default=None,
            ),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
