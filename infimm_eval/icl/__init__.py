"""What the shots taught: plain cells beside their controls, read from the log.

Asks no model and opens no data; it compares cells that a run has finished.

    evidence    cells of one spot over seeds, sample by sample     contrasts   paired differences
    copying     answers beside the answers that the shots show     verdict     one line a cell
    curve       a benchmark over numbers of shots                  diagnosis   all of it together
    leakage     beside a language model that sees nothing          tables     as CSV and LaTeX
"""

from infimm_eval.icl.contrasts import Contrast
from infimm_eval.icl.copying import Rate
from infimm_eval.icl.curve import Curve
from infimm_eval.icl.diagnosis import Diagnosis, Figure, in_context, read
from infimm_eval.icl.leakage import Leakage

__all__ = ["Contrast", "Curve", "Diagnosis", "Figure", "Leakage", "Rate", "in_context", "read"]
