"""A folder in which the commands of the documentation work: small things under the names that the
pages use, a cache of the hub, a server, a cluster of this machine.

Knows the names that pages use; nothing of what a command should print.
"""

from __future__ import annotations

import shutil
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any
from warnings import catch_warnings
from zlib import crc32

import torch
from PIL import Image as Pillow
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

import infimm_eval as ie
from infimm_eval.cli import main
from infimm_eval.models.fake import Fake
from infimm_eval.models.flamingo.build import DEMO_CHAT
from infimm_eval.types import Request
from tests import foreign_files, official
from tests.flamingo import family
from tests.models import families, tiny

OPEN_CLIP = "ViT-L-14-quickgelu"
SMALL_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    "quick_gelu": True,
}
_OWN_MODEL = """
from pathlib import Path
from infimm_eval.models.fake import Fake

def load(weights):
    assert (Path(weights) / "config.json").is_file()
    return Fake("yes")
"""
_ASKED = [f"What is written on sign {number}?" for number in range(6)]


class Shelf:
    """What pages share, each made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def lay_out(self, page: str, folder: Path) -> None:
        """Everything that the commands of a page find in their folder."""
        flamingo = page == "docs/layouts.md"
        named = {
            "DIR": self.data,
            "FOLDER": self.openflamingo / "released" if flamingo else self.infimm,
            "CHECKPOINT": self.infimm,
            "FOLDER_OR_HUB_ID": self.openflamingo / "language_model",
            "FOLDER_FILE_OR_HUB_ID": self.openflamingo / "vision_tower",
            "LANGUAGE_MODEL": self.language_model,
            "runs/mine/checkpoint-500": self.infimm,
            "runs/mine/checkpoint-1000": self.infimm,
            "runs/demo/instruction/step-520": DEMO_CHAT,
        }
        for name, place in named.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(place)
        runs = {"mine": 0, "new": 1, "step-1000": 0, "step-2000": 1}
        for name, which in runs.items():
            shutil.copytree(self.runs[which], folder / "results" / name)
        (folder / "mine.py").write_text(_OWN_MODEL)
        shutil.copyfile(self.baseline, folder / "baseline.json")
        _foreign_logs(folder)

    @cached_property
    def data(self) -> Path:
        """Every benchmark's official files, and those of the README's own benchmark."""
        root = official.write(self.root / "DIR", shots=40, picture=_jpeg)
        (root / "photos").mkdir()
        for split, numbers in (("test", range(2)), ("train", range(2, 12))):
            for number in numbers:
                (root / "photos" / f"{number}.jpg").write_bytes(_jpeg(number))
            rows = ({"id": f"{n}", "image": f"{n}.jpg"} for n in numbers)
            foreign_files.lines(
                root / f"{split}.jsonl", ({**r, "question": "Stop?", "answer": "Yes"} for r in rows)
            )
        return root

    @cached_property
    def infimm(self) -> Path:
        """A tiny checkpoint, in a folder of the name that a run's is made of."""
        return tiny.checkpoint(self.root / "FOLDER")

    @cached_property
    def openflamingo(self) -> Path:
        """Another, ``released`` beside what it was trained upon."""
        return self._openflamingo("mpt")

    @cached_property
    def language_model(self) -> Path:
        """One of transformers', with its tokenizer."""
        tokenizer = families.tokenizer()
        folder = self.root / "language_model"
        LlamaForCausalLM(LlamaConfig(**families.TEXT)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    @cached_property
    def hub(self) -> Path:
        """A cache of the hub, with tiny checkpoints in the layouts of those that pages name."""
        hub = self.root / "hub"
        _cached(hub, "Infi-MM/infimm-zephyr", self.infimm)
        for name, text, language in (
            ("OpenFlamingo-3B-vitl-mpt1b", "mosaic_gpt", "anas-awadalla/mpt-1b-redpajama-200b"),
            ("OpenFlamingo-9B-vitl-mpt7b", "mpt", "anas-awadalla/mpt-7b"),
        ):
            made = self._openflamingo(text)
            _cached(hub, f"openflamingo/{name}", made / "released")
            _cached(hub, language, made / "language_model")
        _cached(hub, "openai/clip-vit-large-patch14", self.openflamingo / "vision_tower")
        family.otter(self.root / "otter", "mpt")
        _cached(hub, "luodian/OTTER-Image-MPT7B", self.root / "otter")
        idefics = families.saved(self.root / "idefics", families.idefics)
        for size in ("9b", "80b"):
            _cached(hub, f"HuggingFaceM4/idefics-{size}", idefics)
        return hub

    def _openflamingo(self, text: str) -> Path:
        folder = self.root / f"openflamingo-{text}"
        if not folder.exists():
            family.openflamingo(folder, text)
            (folder / "released").mkdir()
            (folder / "checkpoint.pt").rename(folder / "released" / "checkpoint.pt")
        return folder

    @cached_property
    def runs(self) -> list[Path]:
        """Two finished runs on drawn data, some answers of which differ."""
        folders = []
        for every in (7, 8):

            def said(request: Request, every: int = every) -> str:
                kept = crc32(request.id.encode()) % every
                if "Output:" in request.prompt.turns[-1].content:
                    return "a black backdrop with a tiny square" if kept else "a tiny star"
                return "no" if kept else "yes"

            folders.append(self.root / f"run-{every}")
            ie.evaluate(
                Fake(said), ["coco", "vqav2"], shots=[0, 4], data="demo", limit=60,
                output=folders[-1], no_companions=True, progress=False,
            )  # fmt: skip
        return folders

    @cached_property
    def baseline(self) -> Path:
        """The first of them as a file to commit."""
        file = self.root / "baseline.json"
        assert main(["compare", str(self.runs[0]), "--save-baseline", str(file)]) == 0
        return file


def _jpeg(number: int) -> bytes:
    out = BytesIO()
    colour = (number * 37 % 256, number * 91 % 256, number * 53 % 256)
    Pillow.new("RGB", (40, 30), colour).save(out, "JPEG")
    return out.getvalue()


def _cached(hub: Path, name: str, folder: Path) -> None:
    """A repository as the hub's client keeps it."""
    commit = "0" * 40
    place = hub / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots").mkdir()
    (place / "snapshots" / commit).symlink_to(folder)


def _foreign_logs(folder: Path) -> None:
    """Logs under the names that pages give them: TextVQA of ``DIR``, and VQAv2 by rows."""

    def named(_: int) -> dict[str, Any]:
        return {"submission": {"question_id": 1000, "answer": "x"}}

    for name in ("20261127_023145_samples_textvqa_val.jsonl", "samples_textvqa_val.jsonl"):
        foreign_files.lmms(folder / name, ["What?"], named)
    for name in ("before_samples_textvqa_val.jsonl", "after_samples_textvqa_val.jsonl"):
        foreign_files.lmms(folder / name, ["What?"], named)
    for name in ("A_samples_vqav2_val.jsonl", "B_samples_vqav2_val.jsonl"):
        foreign_files.lmms(folder / name, _ASKED)
    rows = [
        {"index": f"{34602 + n}", "question": question, "answer": str(["x"] * 10)}
        for n, question in enumerate(_ASKED)
    ]
    foreign_files.sheet(folder / "MadeVlm_TextVQA_VAL.xlsx", rows)


def clip_as_a_program(path: Path, converted: Path) -> None:
    """A TorchScript archive as OpenAI publishes its CLIPs, the weights of a small one; and what a
    page makes of it further down."""
    import open_clip

    weights = open_clip.create_model(OPEN_CLIP, pretrained=None).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, converted)
    weights |= {n: torch.tensor(1) for n in ("input_resolution", "context_length", "vocab_size")}
    whole = _Part()
    for name, tensor in weights.items():
        *path_of, last = name.split(".")
        part = whole
        for step in path_of:
            if not hasattr(part, step):
                part.add_module(step, _Part())
            part = getattr(part, step)
        part.register_buffer(last, tensor)
    with catch_warnings(action="ignore", category=FutureWarning):  # OpenAI's are that old
        torch.jit.save(torch.jit.script(whole), str(path))


class _Part(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x
