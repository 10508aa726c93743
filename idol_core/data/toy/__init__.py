"""The embedded toy set, drawn from a seed."""
