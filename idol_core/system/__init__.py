"""Operating-system helpers: threads, background work, atomic file writes, the cache folder."""
