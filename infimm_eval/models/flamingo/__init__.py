"""The backend for models of ``infimm_eval.flamingo``: from prompts to answers, fast.

Knows nothing of benchmarks, and nothing of how a Flamingo computes.
"""
