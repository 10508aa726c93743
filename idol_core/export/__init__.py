"""Export a model for other runtimes, and prove that the file computes the same."""
