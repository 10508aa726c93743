"""Train and evaluate one stage: loop, optimizers, checkpoints, processes."""
