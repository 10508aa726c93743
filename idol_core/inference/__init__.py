"""Run a model over frames, clips and whole data sets."""
