"""Ways to start the worker of a stage."""
