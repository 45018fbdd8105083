"""One run on many replicas of a model: on the processors and accelerators of one machine, or of a
cluster, on Ray.

Nothing here is imported without ``--workers`` or ``--ray``.
"""
