"""`idolctl predict`: sources of frames in, files of tracks out."""
