"""Language models, one a file: token ids in, scores of the next token out.

Knows nothing of pictures or of which checkpoints have which.
"""
