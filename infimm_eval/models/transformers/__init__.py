"""The backend for models of the transformers library: from prompts to answers, fast.

Knows nothing of benchmarks, and nothing of how an architecture computes.
"""
