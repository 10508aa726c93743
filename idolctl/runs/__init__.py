"""Runs on disk: their stages, state, plan, status and scores."""
