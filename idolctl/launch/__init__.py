"""Execute a plan: start the workers of each stage here, on several machines or through Slurm."""
