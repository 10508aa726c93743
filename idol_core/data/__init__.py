"""From labelled data sets to training batches: index, pairs of frames, augmentation, loader."""
