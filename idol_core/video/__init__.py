"""Read frames from video files, cameras and folders of images; write video files."""
