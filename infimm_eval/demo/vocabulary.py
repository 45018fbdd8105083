"""The demo model's tokenizer: a word is a token, and so is a punctuation mark.

Knows which words exist, nothing of what they mean.  tokenizers is loaded only when called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
END_OF_CHUNK, IMAGE = "<|endofchunk|>", "<image>"
_SPECIAL = (PAD, BOS, EOS, UNKNOWN, END_OF_CHUNK, IMAGE)


def build(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer that knows the words of ``texts``, in alphabetical order after the six marks.

    White space is dropped and put back by rule, so line breaks do not survive; an unseen word
    becomes ``<unk>``.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    split = pre_tokenizers.Whitespace()
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    numbers = {word: n for n, word in enumerate((*_SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, numbers[BOS])]
    )
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in _SPECIAL])
    return tokenizer


def number(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the tokenizer was built with."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise KeyError(token)
    return found
