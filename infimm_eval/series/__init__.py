"""Many checkpoints of one training run: measured as they come, judged at one error rate.

    checkpoints   which there are, and whether each is whole
    folder        the folder of a series, and what is said of it in series.json
    watch         the loop: find, ask, judge, write down
    scores, thresholds, looks, planning   the statistics
    page          the series as one page
    trackers      the same figures in other people's trackers
    callback      a training run that measures itself

Nothing is imported here, so that who needs the statistics need not know the rest.
"""
