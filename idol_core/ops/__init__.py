"""Operators: boxes, deformable attention, careful arithmetic."""
