"""Cut the goldens of shot retrieval (../shared/icl) to what the tests of this repository read.

Knows their names; how they were made is said beside them.  Run from the root of the checkout::

    python -m tests.golden.icl_cut ../shared/icl
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
QUERIES = 40
ROWS = re.compile(
    r"(rices_rows|ties_rows_lowest_first|ties_pictures_in_prompt|mmices_rows_nearest_first"
    r"|mmices_texts_in_prompt)_k(\d+)"
)
FEATURES = ("rices_train", "ties_pictures", "mmices_text")
"""``mmices_train`` is ``rices_train``."""
OF_ROW = ("ties_picture_of_row", "mmices_text_of_row")
OF_QUERY = ("rices_query", "ties_query", "mmices_query", "mmices_query_text")


def main(full: Path, target: Path = HERE) -> None:
    """Write ``rices.npz``: the first queries and every feature, as they are."""
    with np.load(full / "rices_golden.npz") as found:
        kept = {name: found[name] for name in (*FEATURES, *OF_ROW)}
        kept |= {name: found[name][:QUERIES] for name in OF_QUERY}
        kept |= {name: found[name][:QUERIES].astype(np.int16) for name in found if ROWS.match(name)}
    np.savez_compressed(target / "rices.npz", **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
