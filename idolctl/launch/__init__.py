"""Carry out a plan: start the workers of each stage, here, in a group of machines or through Slurm."""
