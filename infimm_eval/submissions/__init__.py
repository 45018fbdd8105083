"""Submissions: results as leaderboards take them, answers as their authors publish them.

Each module reads and writes files of a kind that several benchmarks share.  Nothing here runs or
scores anything, and a file that is not what it should be gets one line that names it.
"""
