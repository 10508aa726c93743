"""`idolctl eval`: what to score, on what, and the tables it prints."""
