"""Training items: images (step 1), pseudo pairs or clips of an image (step 2), pairs or clips of a video (step 3)."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from idol_core.config import InputConfig
from idol_core.data.collate import Sample
from idol_core.data.colors import draw_colors, recolor
from idol_core.data.samples import LabelledFrames
from idol_core.data.transforms import draw_clip_geometry, draw_image_geometry

ATTEMPTS = 5  # draws before an item without a single instance in its (key) frame is accepted


def draw_image(rng: Generator, frames: LabelledFrames, config: InputConfig, video: int, frame: int) -> Sample:
    """Draw an augmented image."""
    pixels, tracks, size = frames.pixels(video, frame), frames.tracks(video, frame), frames.size(video)
    for _ in range(ATTEMPTS):
        sample = frames.sample(pixels, video, frame, tracks, draw_image_geometry(rng, size, config))
        if bool(sample.present.any()) or not len(tracks):
            break
    return sample._replace(image=recolor(sample.image, draw_colors(rng, config.color)))


def draw_pseudo_pair(
    rng: Generator, frames: LabelledFrames, config: InputConfig, video: int, frame: int
) -> tuple[Sample, Sample]:
    """Augment one image twice, independently, as key and reference; row j of both is the same annotation."""
    pixels, tracks, size = frames.pixels(video, frame), frames.tracks(video, frame), frames.size(video)
    for _ in range(ATTEMPTS):
        key = frames.sample(pixels, video, frame, tracks, draw_image_geometry(rng, size, config))
        if bool(key.present.any()) or not len(tracks):
            break
    ref = frames.sample(pixels, video, frame, tracks, draw_image_geometry(rng, size, config))
    return recolor_pair(rng, config, key, ref)


def draw_video_pair(
    rng: Generator, frames: LabelledFrames, config: InputConfig, video: int
) -> tuple[Sample, Sample, tuple[int, int]]:
    """Draw two nearby frames of a video, the earlier as key; also returns the two frame numbers."""
    size, length = frames.size(video), frames.length(video)
    for attempt in range(ATTEMPTS):
        key_frame, ref_frame = draw_frames(rng, length, config.frame_range)
        geometry, ref_geometry = draw_clip_geometry(rng, size, config)
        tracks = frames.tracks(video, key_frame)
        if not len(tracks) and attempt + 1 < ATTEMPTS:
            continue
        key = frames.sample(frames.pixels(video, key_frame), video, key_frame, tracks, geometry)
        if bool(key.present.any()):
            break
    ref = frames.sample(frames.pixels(video, ref_frame), video, ref_frame, tracks, ref_geometry)
    return *recolor_pair(rng, config, key, ref), (key_frame, ref_frame)


def draw_pseudo_clip(
    rng: Generator, frames: LabelledFrames, config: InputConfig, video: int, frame: int
) -> list[Sample]:
    """Augment one image several times, independently, as the frames of a clip; row j of all is the same annotation."""
    pixels, tracks, size = frames.pixels(video, frame), frames.tracks(video, frame), frames.size(video)
    for _ in range(ATTEMPTS):
        geometries = [draw_image_geometry(rng, size, config) for _ in range(config.clip_frames)]
        clip = [frames.sample(pixels, video, frame, tracks, geometry) for geometry in geometries]
        if any(bool(sample.present.any()) for sample in clip) or not len(tracks):
            break
    return recolor_clip(rng, config, clip)


def draw_video_clip(
    rng: Generator, frames: LabelledFrames, config: InputConfig, video: int
) -> tuple[list[Sample], list[int]]:
    """Draw nearby frames of a video in time order; also returns the frame numbers."""
    size, length = frames.size(video), frames.length(video)
    for _ in range(ATTEMPTS):
        numbers = draw_clip_frames(rng, length, config.frame_range, config.clip_frames)
        geometries = draw_clip_geometry(rng, size, config, frames=config.clip_frames)
        tracks = np.unique(np.concatenate([frames.tracks(video, t) for t in numbers]))
        clip = [
            frames.sample(frames.pixels(video, t), video, t, tracks, geometry)
            for t, geometry in zip(numbers, geometries, strict=True)
        ]
        if any(bool(sample.present.any()) for sample in clip):
            break
    return recolor_clip(rng, config, clip), numbers


def recolor_clip(rng: Generator, config: InputConfig, clip: list[Sample]) -> list[Sample]:
    """Apply the same color jitter to all frames: color is an identity cue."""
    colors = draw_colors(rng, config.color)
    return [sample._replace(image=recolor(sample.image, colors)) for sample in clip]


def draw_clip_frames(rng: Generator, length: int, frame_range: int, number: int) -> list[int]:
    """Draw `number` frames at most `frame_range` away from a middle one, in time order; different ones if there are as
    many."""
    middle = int(rng.integers(length))
    first, last = max(0, middle - frame_range), min(length - 1, middle + frame_range)
    near = np.arange(first, last + 1)
    repeats = -(-number // len(near))  # every frame comes once before one comes twice
    chosen = np.concatenate(
        [near] * (repeats - 1) + [rng.choice(near, number - (repeats - 1) * len(near), replace=False)]
    )
    return sorted(int(t) for t in chosen)


def recolor_pair(rng: Generator, config: InputConfig, key: Sample, ref: Sample) -> tuple[Sample, Sample]:
    """Apply the same color jitter to both frames: color is an identity cue."""
    colors = draw_colors(rng, config.color)
    return key._replace(image=recolor(key.image, colors)), ref._replace(image=recolor(ref.image, colors))


def draw_frames(rng: Generator, length: int, frame_range: int) -> tuple[int, int]:
    """Draw two different frames at most `frame_range` apart, in time order; a single frame is paired with itself."""
    if length == 1:
        return 0, 0
    frame = int(rng.integers(length))
    first, last = max(0, frame - frame_range), min(length - 1, frame + frame_range)
    other = int(rng.integers(first, last))
    other += other >= frame
    return min(frame, other), max(frame, other)
