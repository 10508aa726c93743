"""What `idolctl eval` does: whose results, on which data, with which tracker settings, and how they score."""
