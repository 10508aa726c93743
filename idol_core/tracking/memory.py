"""Memory bank: the tracks that a new frame's detections are matched to (paper section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_NEW_SHARE = np.float32(0.8)  # weight of the newest embedding in the running average (no temporal weighting)


@dataclass
class MemoryTrack:
    """One track: its latest `embeddings` and `scores`, oldest first; `representative` is what detections match."""

    embeddings: list[Floats]  # [C] each
    scores: list[np.float32]
    representative: Floats  # [C]
    last_seen: int  # frame number
    frames_seen: int


def mean_cosine(embedding: Floats, others: Floats) -> np.float32:
    """Mean cosine similarity of an embedding [C] to `others` [n, C], at least 0; that of zero vectors is 0."""
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(embedding)
    cosines = (others @ embedding) / np.maximum(lengths, np.float32(1e-12))
    return np.maximum(cosines.mean(), np.float32(0))


class Memory:
    """Tracks by identity, in order of creation.

    Args:
        length: embeddings kept of each track.
        max_missed: a track is forgotten at the end of this many frames in a row without it.
        temporal_weighting: a track is represented by the mean of its kept embeddings, weighted by score plus a ramp in
            (0, 1] over time; otherwise by a running average.
        similarity_weighting: the weight of a new embedding in the running average is its mean cosine similarity to the
            kept ones, at least 0 (CTVIS, Ying et al. 2023); `temporal_weighting` has no say then.
    """

    def __init__(
        self, *, length: int, max_missed: int, temporal_weighting: bool, similarity_weighting: bool = False
    ) -> None:
        self.length, self.max_missed, self.temporal_weighting = length, max_missed, temporal_weighting
        self.similarity_weighting = similarity_weighting
        self.tracks: dict[int, MemoryTrack] = {}

    def __len__(self) -> int:
        return len(self.tracks)

    def ids(self) -> NDArray[np.int64]:
        """Identities of the m tracks, [m], in order of creation."""
        return np.fromiter(self.tracks, np.int64, len(self.tracks))

    def representatives(self) -> Floats:
        """Representative embeddings, [m, C], rows as in `ids`; there must be at least one track."""
        return np.stack([track.representative for track in self.tracks.values()])

    def frames_seen(self) -> NDArray[np.int64]:
        """Number of frames that each track was present in, [m], rows as in `ids`."""
        return np.fromiter((track.frames_seen for track in self.tracks.values()), np.int64, len(self.tracks))

    def see(self, identity: int, embedding: Floats, score: np.float32, frame: int) -> None:
        """Add a detection's embedding [C] to a track; a new identity starts a track."""
        track = self.tracks.get(identity)
        if track is None:
            self.tracks[identity] = MemoryTrack([embedding], [score], embedding, frame, 1)
            return
        share = mean_cosine(embedding, np.stack(track.embeddings)) if self.similarity_weighting else _NEW_SHARE
        track.embeddings = [*track.embeddings, embedding][-self.length :]
        track.scores = [*track.scores, score][-self.length :]
        track.last_seen = frame
        track.frames_seen += 1
        if self.temporal_weighting and not self.similarity_weighting:
            count = len(track.scores)
            weights = np.array(track.scores) + np.arange(1, count + 1, dtype=np.float32) / np.float32(count)
            track.representative = (np.stack(track.embeddings) * weights[:, None]).sum(0) / weights.sum()
        else:
            track.representative = share * embedding + (1 - share) * track.representative

    def forget(self, frame: int) -> None:
        """At the end of a frame: drop the tracks that have not been seen for too long."""
        self.tracks = {i: t for i, t in self.tracks.items() if frame - t.last_seen < self.max_missed}

    def state(self) -> dict[int, dict[str, Any]]:
        """The complete state, as arrays and numbers; see `restore`."""
        return {
            identity: {
                "embeddings": np.stack(track.embeddings),
                "scores": np.array(track.scores),
                "representative": track.representative.copy(),
                "last_seen": track.last_seen,
                "frames_seen": track.frames_seen,
            }
            for identity, track in self.tracks.items()
        }

    def restore(self, state: dict[int, dict[str, Any]]) -> None:
        """Restore what `state` returned."""
        self.tracks = {
            identity: MemoryTrack(
                list(kept["embeddings"]),
                list(kept["scores"]),
                kept["representative"],
                kept["last_seen"],
                kept["frames_seen"],
            )
            for identity, kept in state.items()
        }
