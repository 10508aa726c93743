"""Training losses: SimOTA assignment, detection, mask and contrastive losses."""
