"""Made-up benchmarks and a tiny model, so that every command runs before anything is downloaded.

Scenes of coloured shapes are drawn by code, described in one house's style, and laid out in the
rows of the real benchmarks.  Nothing here knows how rows are asked, answered or scored.
"""
