"""Recipes: read YAML into one validated StageConfig per step."""
