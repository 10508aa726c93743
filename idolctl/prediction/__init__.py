"""`idolctl predict`: read clips, track objects, write results, tables and pictures."""
