"""Operators: boxes, deformable attention, numerics and precision."""
