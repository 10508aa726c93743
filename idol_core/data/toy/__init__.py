"""The built-in toy data set, generated from a seed."""
