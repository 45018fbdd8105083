"""Vision towers, one a file: pixels in, visual tokens out.

Knows nothing of which checkpoints have which.
"""
