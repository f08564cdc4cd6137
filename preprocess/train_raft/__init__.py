"""Training of RAFT on rendered motion: ``python -m preprocess.train_raft``.

`settings` says what decides a training, `held_out` what it is measured by, `training` is the step,
`state` what of it is on disk, `loop` the run, `pictures` what can be seen of it.
"""
