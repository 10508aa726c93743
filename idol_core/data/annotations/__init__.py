"""Read annotation files: COCO, YouTube-VIS, run-length masks."""
