"""The page of runs: one HTML file with scores, curves, errors and clips (`idolctl report`)."""
