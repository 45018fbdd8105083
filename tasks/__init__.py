"""The benchmarks: one file each, or one folder for one with readers or scorers of its own.

To add one: copy the nearest neighbour, say where its rows lie, write ``sample`` (one row in, one
``Sample`` out), pick prompt templates, scorers and metrics.  A task imports from ``infimm_eval``
and from its own folder only; never a model, never the runner or the log, never another task.  The
contract test finds it by itself.
"""
