"""What local models share so that they are fast: pictures encoded once, prefixes read once,
batches filled by cost, preparation beside computation.

Knows nothing of benchmarks, and nothing here may change an answer.
"""
