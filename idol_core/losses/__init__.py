"""What training minimises: SimOTA assignment, detection, mask and contrastive losses."""
