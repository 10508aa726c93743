"""Draw tracks on frames, and frames on contact sheets."""
