"""How the demo checkpoints were made and measured; the one part of the demo that needs torch.

    python -m infimm_eval.demo.train --output DIR --seed 0
    python -m infimm_eval.demo.train.measure DIR/pretraining/step-1710

The rest of the demo knows nothing of it.
"""
