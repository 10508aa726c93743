"""The command line of IDOL: recipes, plans, runs, weights, scores and submissions."""

__version__ = "0.1.0"
