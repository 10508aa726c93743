"""The zoo of published weights: list, download, verify and cache them."""
