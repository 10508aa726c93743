"""Recipes: YAML to one validated StageConfig for each step."""
