"""The machine: threads, background work, files written whole, the cache folder."""
