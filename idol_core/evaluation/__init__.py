"""Score results: video AP, mask AP of images, occlusion groups, identity metrics, error analysis."""

METRICS = ("AP", "AP50", "AP75", "AR1", "AR10")  # of every table of scores, in this order
IDENTITY_METRICS = ("HOTA", "DetA", "AssA", "LocA", "IDF1", "MOTA", "IDSW")  # 0..100; IDSW is a count
