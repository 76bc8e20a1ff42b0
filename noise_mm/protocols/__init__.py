"""The paper's experiments, all stages and folds.

`plan` says what is to be run, `launch` starts commands, and `execution` runs what is not done.
"""
