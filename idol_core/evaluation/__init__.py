"""Score results: video AP, mask AP of images, occlusion groups, identity switches."""

METRICS = ("AP", "AP50", "AP75", "AR1", "AR10")  # of every table of scores, in this order
