"""Association of detections into tracks; knows nothing of the network."""
