"""Published weights: what there is, download, verify, keep in the cache."""
