"""Tracking in a clip of one's own: where frames come from, the work, its files."""
