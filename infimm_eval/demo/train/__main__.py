"""Train the demo checkpoint: ``python -m infimm_eval.demo.train --output DIR --seed 0``.

Knows the command line; the lessons are in ``loop``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from infimm_eval.demo.train import loop, tiny


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the demo model and write its checkpoint."""
    parser = argparse.ArgumentParser(prog="infimm_eval.demo.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="equal results need equal threads")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    model, tokenizer = loop.train(given.seed)
    tiny.save(model, tokenizer, given.output)


if __name__ == "__main__":
    main()
