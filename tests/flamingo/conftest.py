"""Tokenizers that need no download: the published one, and a tiny one of whole words."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from infimm_eval.flamingo.sentencepiece import convert
from infimm_eval.flamingo.tokenizer import Tokenizer

MARKS = {"<|endofchunk|>": 32000, "<image>": 32001}


@pytest.fixture(scope="session")
def sentencepiece_file() -> Path:
    """Mistral's first tokenizer, which is the one InfiMM-Zephyr ships."""
    if find_spec("sentencepiece") is None:
        pytest.skip("the package sentencepiece is not installed")
    package = find_spec("mistral_common")
    if package is None or package.origin is None:
        pytest.skip("the package mistral-common, which carries the tokenizer, is not installed")
    return Path(package.origin).parent / "data" / "tokenizer.model.v1"


@pytest.fixture(scope="session")
def zephyr(sentencepiece_file: Path) -> Tokenizer:
    return Tokenizer(convert(sentencepiece_file, MARKS))


def words(text: str) -> tokenizers.Tokenizer:
    """A tokenizer that knows the words of ``text``, as a demonstration model has one."""
    known = ["<unk>", "<s>", "</s>", "<|endofchunk|>", "<image>", *dict.fromkeys(text.split())]
    raw = tokenizers.Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>")
    )
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.add_special_tokens(known[:5])
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return raw


@pytest.fixture
def wordwise() -> Tokenizer:
    return Tokenizer(words("what is this ? a red cat blue dog question: answer:"))


@pytest.fixture
def checkpoint(tmp_path: Path, wordwise: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small published checkpoint, Auto classes registered, its picture in this directory."""
    from infimm_eval.flamingo import hf
    from tests.flamingo.card import write_checkpoint

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hf.register()
    return write_checkpoint(tmp_path, wordwise)
