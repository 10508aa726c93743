"""Read and write the label files of other tools and data sets: one file per format, one plain form between them."""
