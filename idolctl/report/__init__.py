"""`idolctl report`: one HTML page about runs, with scores, curves, errors and clips."""
