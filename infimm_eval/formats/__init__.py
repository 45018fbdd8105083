"""Other people's files: results as leaderboards take them, answers as authors publish them.

Each module reads and writes the files of one family.  Nothing here runs or scores anything, and a
file that is not what it should be gets one line that names it.
"""
