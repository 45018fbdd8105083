"""A bare sentencepiece ``tokenizer.model`` becomes what its ``tokenizer.json`` would have been.

It knows LLaMA's kind alone (byte-pair merges with byte fallback), and proves each conversion
against sentencepiece itself before handing it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from infimm_eval.errors import UsageError

_PROBE = "The quick  brown fox:\n\tit's 12,345.6 €, naïve 图片 🐱; def f(x):\n    return x**2 "


def convert(path: Path, added: Mapping[str, int]) -> Tokenizer:
    """The tokenizer in ``path``, with ``added`` special tokens under the ids they must have.

    Every stretch of text between special tokens gets a leading space, as LLaMA's tokenizers had
    it until 2023 ("legacy"); ``<s>`` opens every text.  Needs the package ``sentencepiece``.
    """
    try:
        import sentencepiece
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{path} needs the package sentencepiece (pip install sentencepiece), "
            "or a tokenizer.json beside it"
        ) from error
    try:
        original = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise UsageError(f"{path} is not a sentencepiece model: {error}") from error

    tokenizer = _byte_pair_encoder(original)
    if original.encode(_PROBE) != tokenizer.encode(_PROBE).ids:
        raise UsageError(f"{path} is not of LLaMA's kind; a tokenizer.json is needed beside it")
    _open_with(tokenizer, original.bos_id())
    _add(tokenizer, original, added, path)
    return tokenizer


def _byte_pair_encoder(original: Any) -> Tokenizer:
    pieces = [original.id_to_piece(i) for i in range(original.get_piece_size())]
    model = models.BPE(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=_merges(original, pieces),
        unk_token=original.id_to_piece(original.unk_id()),
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def _merges(original: Any, pieces: list[str]) -> list[tuple[str, str]]:
    """Every way to make one piece of two, best score first.

    Sentencepiece joins whichever neighbours make the best piece; a merge list must spell out
    each pair.  Control and byte pieces are not made of text.
    """
    made_of_text = {
        piece: i
        for i, piece in enumerate(pieces)
        if not (original.is_control(i) or original.is_unknown(i) or original.is_byte(i))
    }
    ranked = []
    for piece, i in made_of_text.items():
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        for left, right in halves:
            if left in made_of_text and right in made_of_text:
                score = original.get_score(i)
                order = (-score, -len(left), -len(right), i)
                ranked.append((order, (left, right)))
    return [pair for _, pair in sorted(ranked)]


def _open_with(tokenizer: Tokenizer, bos_id: int) -> None:
    """Let every text begin with ``<s>``."""
    bos = tokenizer.id_to_token(bos_id)
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, bos_id)]
        )


def _add(tokenizer: Tokenizer, original: Any, added: Mapping[str, int], path: Path) -> None:
    own = {i for i in (original.unk_id(), original.bos_id(), original.eos_id()) if i >= 0}
    named = {original.id_to_piece(i): i for i in sorted(own)} | dict(added)
    for content, number in sorted(named.items(), key=lambda item: item[1]):
        tokenizer.add_special_tokens([AddedToken(content, normalized=False, special=True)])
        if tokenizer.token_to_id(content) != number:
            raise UsageError(
                f"{path}: {content!r} should have the id {number}, "
                f"but {tokenizer.token_to_id(content)} is the next one free"
            )
