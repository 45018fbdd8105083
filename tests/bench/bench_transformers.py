"""What models of the transformers library gain by not reading things twice, in one process.  Prints
one JSON object.

Run by hand, never by the tests, from the project's folder:
    python -m tests.bench.bench_transformers [--family idefics2|llava] [--questions 64]
        [--support random|fixed] [--parts generate]

The load is 4-shot VQA: every question shows one of the pictures, four others with their answers
before it, of its own or (`fixed`) the same for all.  `generate` answers with 5 tokens, against a
plain loop over the processor and `model.generate`; `rank` compares four options, with sharing and
without.  The model has random weights: tower 384 wide with 6 layers on pictures of 224 px, language
model 512 wide with 8 layers.  Both ways the same must be said.  `--clock cpu` counts CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import torch
import transformers as library
from PIL import Image as Pillow

from infimm_eval.models.transformers.engine import EngineOptions
from infimm_eval.models.transformers.model import TransformersModel
from infimm_eval.models.transformers.requests import pictures_of
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


PLAIN = EngineOptions(sharing=False)
PARTS = ("generate", "rank")
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}
FAMILIES = {"idefics2": idefics2, "llava": llava}


def questions(count: int, pictures: int, *, fixed: bool) -> list[Request]:
    """With examples of their own, or with the same before all of them."""
    rng = random.Random(0)
    shown = [painted(n, (224, 224)) for n in range(pictures)]
    made = []
    turns: list[Any] = []
    for i in range(count):
        turns = turns if fixed and turns else _shots(rng, shown)
        asked = f"Question: is {i} {rng.choice(WORDS)}? Short answer:"
        query = (rng.choice(shown), asked)
        made.append(request(str(i), *turns, query, options=OPTIONS, max_new_tokens=5))
    return made


def _shots(rng: random.Random, shown: list[Any]) -> list[Any]:
    turns: list[Any] = []
    for _ in range(4):
        turns += [(rng.choice(shown), "Question: what? Short answer:"), rng.choice(WORDS)]
    return turns


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
    clock = CLOCKS[args.clock]
    start = clock()
    answers = {answer.id: answer for answer in work(asked)}
    seconds = round(clock() - start, 2)
    return {"seconds": seconds, **asked.statistics}, answers


@torch.inference_mode()
def plain_loop(asked: list[Request], args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """What anybody would write: the processor and ``model.generate``, a batch at a time."""
    torch.manual_seed(0)
    model, processor = FAMILIES[args.family]()
    model = model.to(args.device).eval()
    written = TransformersModel(
        model, processor, name="plain", fingerprint="", options=PLAIN
    ).formatter
    model.generation_config.suppress_tokens = processor.tokenizer.convert_tokens_to_ids(
        list(written.marks)
    )
    clock, said = CLOCKS[args.clock], []
    start = clock()
    for first in range(0, len(asked), args.batch):
        some = [one.prompt for one in asked[first : first + args.batch]]
        shown = [
            [Pillow.open(BytesIO(piece.read())) for piece in pictures_of(prompt)] for prompt in some
        ]
        inputs = written.encode([written.write(prompt) for prompt in some], shown)
        ids = model.generate(
            **inputs.to(args.device), max_new_tokens=5, do_sample=False, pad_token_id=0
        )
        new = ids[:, inputs["input_ids"].shape[1] :]
        said += processor.tokenizer.batch_decode(
            new, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    return {"seconds": round(clock() - start, 2)}, said


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", choices=[*FAMILIES], default="idefics2")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--support", choices=["random", "fixed"], default="random")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    asked = questions(args.questions, args.pictures, fixed=args.support == "fixed")
    report: dict[str, Any] = {"bench": "transformers", **vars(args), "torch": torch.__version__}
    if "generate" in args.parts:
        loop, said = plain_loop(asked, args)
        ours, answers = measured(lambda model: list(model.generate(asked)), args, sharing=True)
        report["generate"] = {
            "plain_loop": loop,
            "with": ours,
            "times": round(loop["seconds"] / ours["seconds"], 2),
            "different_answers": sum(
                answers[one.id].text != text for one, text in zip(asked, said, strict=True)
            ),
        }
    if "rank" in args.parts:
        report["rank"] = ranking(asked, args)
    print(json.dumps(report, indent=1))


def ranking(asked: list[Request], args: argparse.Namespace) -> dict[str, Any]:
    without, plain = measured(lambda model: list(model.rank(asked)), args, sharing=False)
    shared, answers = measured(lambda model: list(model.rank(asked)), args, sharing=True)
    differences = [
        abs(one - other)
        for id, answer in answers.items()
        for one, other in zip(plain[id].logliks, answer.logliks, strict=True)
    ]
    return {
        "without": without,
        "with": shared,
        "times": round(without["seconds"] / shared["seconds"], 2),
        "different_answers": sum(plain[i].text != a.text for i, a in answers.items()),
        "largest_difference_of_logliks": max(differences),
    }


if __name__ == "__main__":
    main()
