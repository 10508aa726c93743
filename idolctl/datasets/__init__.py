"""Data sets below the data root: check, add, split."""
