"""The backend for OpenAI-compatible servers: from prompts to answers, many at a time.

Knows nothing of benchmarks, and nothing of the weights.
"""
