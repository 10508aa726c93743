"""`idolctl eval`: resolve weights and data, infer, score, print tables."""
