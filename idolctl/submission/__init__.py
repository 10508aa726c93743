"""Check results files and zip them for a CodaLab server."""
