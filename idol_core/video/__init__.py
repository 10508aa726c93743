"""Frames in and out of video files, cameras and folders of pictures."""
