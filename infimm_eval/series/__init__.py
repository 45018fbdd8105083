"""Many checkpoints of one training: what may be said of them at one error rate.

    scores      standard errors between two runs     thresholds  how many are too many
    judging     a verdict for every checkpoint       looks       a verdict before all is asked
    planning    how many samples a drop takes

These modules refuse to know files, models and benchmarks; they are numpy and ``types.Unit``.
"""
