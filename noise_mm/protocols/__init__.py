"""The paper's experiments, all stages and folds.

`plan` says what is to be run, `progress` what of it is done, `launch` starts commands, and `execution` does it all.
"""
