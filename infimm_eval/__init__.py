"""Evaluate vision-language models the way the Flamingo family is evaluated."""

__version__ = "0.1.0"
