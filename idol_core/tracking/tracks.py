"""Assemble the tracks of a whole video frame by frame; only the masks' RLEs grow with the video's length."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from idol_core.config import TrackerConfig
from idol_core.tracking.conversions import tracks_to_fiftyone, tracks_to_pandas, tracks_to_supervision
from idol_core.tracking.masks import Size

Floats = NDArray[np.float32]

_SETTLED_FRAME = 9  # frame index from which brief tracks are dropped
_BRIEF = 3  # a track seen in fewer frames is brief
_GONE = 2  # a brief track is dropped after this many frames in a row without it


class ClassScores:
    """Class probabilities of a track over the frames it was seen in."""

    def __init__(self, classes: int) -> None:
        self.total: NDArray[np.float64] = np.zeros(classes)
        self.best: Floats = np.zeros(classes, np.float32)
        self.frames = 0

    def add(self, probs: Floats) -> None:
        """Add a frame's class probabilities, [K]."""
        self.total += probs
        np.maximum(self.best, probs, out=self.best)
        self.frames += 1

    def value(self, config: TrackerConfig) -> Floats:
        """Scores [K]: each class's mean over the frames, or its maximum if the configuration says so."""
        return self.best.copy() if config.score == "max" else (self.total / self.frames).astype(np.float32)

    def state(self) -> dict[str, Any]:
        return {"total": self.total.copy(), "best": self.best.copy(), "frames": self.frames}

    @staticmethod
    def restored(state: dict[str, Any]) -> ClassScores:
        scores = ClassScores(len(state["total"]))
        scores.total, scores.best, scores.frames = state["total"].copy(), state["best"].copy(), state["frames"]
        return scores


class VideoTrack(NamedTuple):
    """One object of a video."""

    id: int
    probs: Floats  # [K]
    masks: dict[int, bytes]  # frame index -> compressed COCO run lengths; absent frames are not in it


@dataclass(frozen=True)
class VideoTracks:
    """All tracks of a video, by first frame (for a track dropped and found again: the frame it was found again in)."""

    tracks: list[VideoTrack]
    frames: int
    size: Size  # of the original frames

    def scored(self, config: TrackerConfig) -> list[tuple[VideoTrack, int, float]]:
        """(track, class index, score) of each track's classes above `class_score`, or of its best class only."""
        found: list[tuple[VideoTrack, int, float]] = []
        for track in self.tracks:
            labels = (track.probs > np.float32(config.class_score)).nonzero()[0]
            for label in labels if config.multi_class else [track.probs.argmax()]:
                found.append((track, int(label), float(track.probs[label])))
        return found

    def results(self, video_id: int, category_ids: Sequence[int], config: TrackerConfig) -> list[dict[str, Any]]:
        """Entries of a YouTube-VIS results file; the classes of a track share its list of segmentations."""
        segmentations = {track.id: self.segmentations(track) for track in self.tracks}
        return [
            {
                "video_id": video_id,
                "category_id": category_ids[label],
                "score": score,
                "segmentations": segmentations[track.id],
            }
            for track, label, score in self.scored(config)
        ]

    def segmentations(self, track: VideoTrack) -> list[dict[str, Any] | None]:
        """One compressed RLE (counts as text) or None for each frame of the video."""
        size = list(self.size)
        return [
            {"size": size, "counts": track.masks[t].decode("ascii")} if t in track.masks else None
            for t in range(self.frames)
        ]

    def to_pandas(self, classes: Sequence[str] | None = None) -> Any:
        """The tracks as a pandas.DataFrame: a row for each track and frame in which it is visible.

        Columns: track, frame, label, name, score, x0, y0, x1, y1, area; `conversions.Row` says what they are.
        `classes`: names by class index; default: their numbers. Raises Missing if pandas is not installed.
        """
        return tracks_to_pandas(self, classes)

    def to_supervision(self, frame: int, classes: Sequence[str] | None = None) -> Any:
        """The tracks that are visible in a frame as supervision.Detections, with their classes and scores of the whole
        video. Boxes are tight around the masks. Raises InvalidInput for a frame that does not exist, Missing if
        the package supervision is not installed.
        """
        return tracks_to_supervision(self, frame, classes)

    def to_fiftyone(self, video: str | os.PathLike[str], classes: Sequence[str] | None = None) -> Any:
        """The tracks as a fiftyone.Sample of the file `video`, to be added to a FiftyOne data set.

        Frame numbers start at 1 there; a detection's `index` is its track. Raises Missing if fiftyone is not installed.
        """
        return tracks_to_fiftyone(self, video, classes)


@dataclass
class _Building:
    scores: ClassScores
    masks: dict[int, bytes] = field(default_factory=dict)
    last: int = -1


class VideoAssembler:
    """Collects tracks frame by frame."""

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.frame = 0
        self._tracks: dict[int, _Building] = {}

    def add(self, ids: Sequence[int], probs: Floats, masks: Sequence[bytes]) -> None:
        """Add the next frame: identity, class probabilities [m, K] and RLE counts of each track that is present."""
        for identity, vector, counts in zip(ids, probs, masks, strict=True):
            track = self._tracks.get(int(identity))
            if track is None:
                track = self._tracks[int(identity)] = _Building(ClassScores(len(vector)))
            track.scores.add(vector)
            track.masks[self.frame] = counts
            track.last = self.frame
        if self.frame >= _SETTLED_FRAME:
            # The tracker keeps the identity: if it assigns it again, a new entry begins.
            brief = [i for i, t in self._tracks.items() if t.scores.frames < _BRIEF and self.frame - t.last >= _GONE]
            for identity in brief:
                del self._tracks[identity]
        self.frame += 1

    def finish(self, size: Size) -> VideoTracks:
        """The tracks so far; more frames may follow."""
        tracks = [VideoTrack(i, t.scores.value(self.config), dict(t.masks)) for i, t in self._tracks.items()]
        return VideoTracks(tracks, self.frame, size)

    def state(self) -> dict[str, Any]:
        """The complete state, as arrays, bytes and numbers; see `restore`."""
        tracks = {i: (t.scores.state(), dict(t.masks), t.last) for i, t in self._tracks.items()}
        return {"frame": self.frame, "tracks": tracks}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.frame = state["frame"]
        self._tracks = {
            i: _Building(ClassScores.restored(scores), dict(masks), last)
            for i, (scores, masks, last) in state["tracks"].items()
        }


class ReportedTrack(NamedTuple):
    """A track as it is reported: with its best class over the video."""

    track: VideoTrack
    label: int  # class index
    name: str
    score: float


def report_tracks(
    tracks: VideoTracks, config: TrackerConfig, *, classes: Sequence[str], threshold: float
) -> list[ReportedTrack]:
    """Tracks with their best class and a score of at least `threshold`, by falling score."""
    single = dataclasses.replace(config, multi_class=False)
    found = [ReportedTrack(track, label, classes[label], score) for track, label, score in tracks.scored(single)]
    return sorted((f for f in found if f.score >= threshold), key=lambda f: -f.score)
