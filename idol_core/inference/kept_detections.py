"""Cache detections on disk, one file per video, so that tracking can be repeated without the network.

A file tells the state of the frame files that its detections are from; where these have changed since, it is not used.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from idol_core.data.dataset import Dataset
from idol_core.inference.datasets import Progress, read_frames
from idol_core.inference.streaming import VideoSegmenter
from idol_core.system.background import prefetched
from idol_core.system.files import write_aside
from idol_core.tracking.records import FrameRecord, VideoRecord


def video_records(
    make_segmenter: Callable[[], VideoSegmenter],
    dataset: Dataset,
    folder: Path,
    *,
    on_progress: Progress,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[int, VideoRecord]]:
    """Yield (row, record) of every video: read from `folder` if cached there, else computed and then cached.

    The network is built only when a video is not cached. `say` is called with how much was written and, once, if frames
    have changed since their detections were cached; if writing fails (a full disk), `say` is called once about it and
    the rest is not cached. Raises as `infer_videos`.
    """
    segmenter: VideoSegmenter | None = None
    kept, keeping, told = 0, True, False
    total = len(dataset.videos)
    for row in range(total):
        on_progress(row, total)
        video = dataset.videos[row]
        path = folder / f"{video.id}.npz"
        state = _state_of(video.file_names)
        record = load_record(path, state=state)
        if record is None:
            if path.exists() and not told:
                told = True
                say(f"the frames of video {video.id} are not those that detections were kept of: running the network")
            segmenter = segmenter or make_segmenter()
            with prefetched(read_frames(video.file_names, (video.height, video.width))) as frames:
                record = segmenter.record(frames)
            if keeping:
                try:
                    kept += save_record(path, record, state=state)
                except OSError as error:
                    keeping = False
                    say(f"warning: detections are not kept any more ({error.strerror}): {folder}")
        yield row, record
    on_progress(total, total)
    if kept:
        say(f"detections kept, for other tracker settings without the network: {folder}, {kept / 1e6:.1f} MB")


def _state_of(frames: Sequence[str]) -> str | None:
    """Digest of the sizes and modification times of frame files; None if one of them is not there."""
    digest = hashlib.sha256()
    try:
        for frame in frames:
            status = Path(frame).stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns},".encode())
    except OSError:
        return None
    return digest.hexdigest()


def save_record(path: Path, record: VideoRecord, *, state: str | None = None) -> int:
    """Write a record atomically and without loss; returns the number of bytes. Raises OSError.

    `state` is that of the frame files, to be compared by `load_record`.
    """
    frames = record.frames
    counts = [c for frame in frames for c in frame.counts]
    packed = io.BytesIO()  # in memory first: on a full disk, closing a partial zip file raises again
    np.savez_compressed(
        packed,
        state=np.array(state or ""),
        size=np.array(record.size, np.int64),
        detections=np.array([len(frame.scores) for frame in frames], np.int64),
        scores=np.concatenate([frame.scores for frame in frames]),
        probs=np.concatenate([frame.probs for frame in frames]),
        embeddings=np.concatenate([frame.embeddings for frame in frames]),
        overlaps=np.concatenate([frame.overlaps.ravel() for frame in frames]),
        lengths=np.array([len(c) for c in counts], np.int64),
        counts=np.frombuffer(b"".join(counts), np.uint8),
    )
    with write_aside(path) as aside:
        return aside.write_bytes(packed.getbuffer())


def load_record(path: Path, *, state: str | None = None) -> VideoRecord | None:
    """Read a record written by `save_record`; None if it is missing, damaged, or of another state of the frames.

    `state`: the present one of the frame files; None: not known, any record is taken.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            parts = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if state is not None and str(parts.get("state")) != state:
        return None
    detections = parts["detections"].tolist()
    height, width = parts["size"].tolist()
    ends = np.cumsum(parts["lengths"]).tolist()
    text = parts["counts"].tobytes()
    counts = [text[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]
    frames, first, square = [], 0, 0
    for n in detections:
        rows, area = slice(first, first + n), slice(square, square + n * n)
        frames.append(
            FrameRecord(
                parts["scores"][rows],
                parts["probs"][rows],
                parts["embeddings"][rows],
                parts["overlaps"][area].reshape(n, n),
                counts[rows],
            )
        )
        first, square = first + n, square + n * n
    return VideoRecord(frames, (height, width))
