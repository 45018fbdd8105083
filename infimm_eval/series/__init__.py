"""Many checkpoints of one training run: measured as they come, judged at one error rate.

    checkpoints  which there are, and which are whole     folder     series.json
    watch        the way in                               follow     find, measure, say, wait
    measuring    one checkpoint, part by part             loader     models, one read ahead
    drawing      which samples come first                 verdicts   from runs to verdicts
    standing     which is best, what turned               page       the series as one page
    trackers     figures for other people's pages         callback   a training that measures itself

    scores       standard errors between two runs         thresholds how many are too many
    judging      a verdict for every checkpoint           looks      a verdict before all is asked
    planning     how many samples a drop takes

The last five refuse to know files, models and benchmarks; they are numpy and ``types.Unit``.
Nothing is imported here, so that who needs the statistics need not know the rest.
"""
