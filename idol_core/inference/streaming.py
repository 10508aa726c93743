"""Frames in, tracked frames out: the one implementation of video inference in the project.

segmenter = VideoSegmenter.from_pretrained("ovis-r50", device="cuda")
for frame in segmenter.stream(frames):
    print(frame.track_ids, frame.labels, frame.scores, frame.boxes)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from idol_core.classes import numbered
from idol_core.config import InputConfig, Precision, TrackerConfig
from idol_core.data.collate import collate_frames
from idol_core.data.transforms import resize_for_test, short_side_size
from idol_core.errors import InvalidInput
from idol_core.inference.exported import ExportedModel, open_exported
from idol_core.inference.prepare import evaluation_copy, for_evaluation
from idol_core.inference.pretrained import check_tracks, open_pretrained
from idol_core.inference.replay import Forward, Replayed
from idol_core.inference.select import observations, select_detections
from idol_core.metadata import EXPORTED
from idol_core.model.idol import IDOL
from idol_core.ops.precision import arithmetic, default_precision
from idol_core.structures import Decoded, Detections
from idol_core.system.background import prefetched
from idol_core.system.cache import find_weights
from idol_core.system.hub import PREFIX
from idol_core.system.hub_cache import hub_weights
from idol_core.tracking.masks import Size
from idol_core.tracking.online import Observation, OnlineVideo, TrackedFrame
from idol_core.tracking.records import FrameRecord, VideoRecord, record_frame
from idol_core.tracking.tracks import VideoTracks

Frame = np.ndarray | Tensor  # [H, W, 3] uint8 RGB


class _Alike(NamedTuple):
    """Decoded frames of one size."""

    rows: list[int]  # their places in the batch
    decoded: Decoded | list[Detections]  # an exported model has selected already
    size: Size  # in the network, without padding
    original: Size
    done: Any  # event of the network's stream on a GPU


class VideoSegmenter:
    """Segment and track videos: test-time resize, network, selection, tracking, masks in the original size.

    Args:
        model: with an embedding head (steps 2 and 3). Training it further does not change the results (see `copy`).
            Or an exported model, whose device and precision are its own.
        tracker, input: thresholds, and the size at which frames go through the network.
        classes: names of the K classes.
        device: where the network runs.
        precision: of the network's matrix products and convolutions: "float32", "tf32", "bf16" or "fp16".
        cuda_graphs: replay the network from CUDA graphs, recorded at the second batch of each size (`replay.Replayed`).
        transform_detections: applied to the detections of each frame before they are tracked, for experiments.
        copy: False turns `model` itself into the segmenter's, as `for_evaluation` does, which saves its memory.
    """

    def __init__(
        self,
        model: IDOL | ExportedModel,
        *,
        tracker: TrackerConfig,
        input: InputConfig,
        classes: Sequence[str],
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        cuda_graphs: bool = False,
        transform_detections: Callable[[Detections], Detections] | None = None,
        copy: bool = True,
    ) -> None:
        self.device = torch.device("cpu" if isinstance(model, ExportedModel) else device)  # of the detections
        if cuda_graphs and self.device.type != "cuda":
            raise InvalidInput(f"CUDA graphs need a GPU, the network is on {self.device}", fix="leave them out")
        if isinstance(model, ExportedModel):
            model.check_settings(tracker, input, precision)
            self.model: IDOL | ExportedModel = model
        else:
            check_tracks(model)
            if copy:
                self.model = evaluation_copy(model, self.device, precision)
            else:
                self.model = for_evaluation(model.to(self.device), precision)
            self._forward: Forward = Replayed(self.model) if cuda_graphs else self.model
        self.tracker, self.input, self.classes = tracker, input, tuple(classes)
        self.precision: Precision = precision
        self.transform_detections = transform_detections
        # On a GPU detections are selected and tracked beside the next batch's forward, in a stream of their own.
        self.select_beside = self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if self.select_beside else None

    @classmethod
    def from_pretrained(
        cls,
        weights: str | os.PathLike[str],
        *,
        device: torch.device | str = "cpu",
        precision: Precision | None = None,
        **options: Any,
    ) -> VideoSegmenter:
        """Load weights that carry their recipe: a file, a name in the cache, or hf:USER/NAME[@REVISION][/PATH].

        The last is downloaded from Hugging Face into the cache, unless it is there; nothing else is downloaded.

        A file that ends in .onnx or .xml is an exported model; onnxruntime or OpenVINO runs it.

        `precision` is by default bf16 on a GPU that supports it, else float32. `options` go to the constructor, where
        they override the recipe. Raises Missing with the fetch command if the name is not in the cache, InvalidInput if
        the file has no recipe, Integrity if the recipe is invalid or does not fit the tensors.
        """
        name = os.fspath(weights)
        path = hub_weights(name) if name.startswith(PREFIX) else find_weights(name)
        if path.suffix in EXPORTED:
            exported = open_exported(path, device=str(device))
            recipe, classes = exported.carried
            model: IDOL | ExportedModel = exported
        else:
            model, recipe, classes = open_pretrained(path)
        assert recipe is not None
        found: dict[str, Any] = {
            "tracker": recipe.tracker,
            "input": recipe.input,
            "classes": classes or numbered(recipe.model.num_classes),
            "copy": False,
        }
        own = exported.facts.precision if path.suffix in EXPORTED else default_precision(torch.device(device))
        return cls(model, device=device, precision=precision or own, **(found | options))

    def start(self, *, keep: bool = False) -> OnlineVideo:
        """Create the state of a new stream for `stream(..., video=)`; it can be saved and restored midway."""
        return OnlineVideo(self.tracker, keep=keep)

    def stream(
        self, frames: Iterable[Frame], *, video: OnlineVideo | None = None, batch: int = 1, overlap: bool = False
    ) -> Generator[TrackedFrame, None, None]:
        """Segment and track frames in order; each is yielded as soon as it is done.

        Args:
            frames: any iterable of [H, W, 3] uint8 RGB arrays or tensors, all of one size.
            video: the state to continue from; a new one by default.
            batch: frames sent through the network at once. A larger one delays the output and changes nothing else.
            overlap: run the next `batch` through the network, in another thread, while frames are tracked and their
                masks encoded. Faster, but frames are taken from `frames` ahead of the output.

        Raises:
            InvalidInput: a frame has another form, or another size than the first.
        """
        video = video or self.start()
        with self._observed(frames, batch, overlap=overlap) as observations:
            for seen in observations:
                yield video.step(seen)

    def segment(
        self, frames: Iterable[Frame], *, on_frame: Callable[[TrackedFrame], None] | None = None
    ) -> VideoTracks:
        """Tracks of a whole video. Frames are consumed in batches of `tracker.batch_frames`; none is kept."""
        video = self.start(keep=True)
        with self._observed(frames, self.tracker.batch_frames, overlap=True) as observations:
            for seen in observations:
                tracked = video.step(seen)
                if on_frame is not None:
                    on_frame(tracked)
        return video.tracks()

    def record(self, frames: Iterable[Frame]) -> VideoRecord:
        """Detections of a video, to be tracked by `track_record` with different tracker settings."""
        kept: list[FrameRecord] = []
        size = (0, 0)
        with self._observed(frames, self.tracker.batch_frames, overlap=True) as observations:
            for seen in observations:
                kept.append(record_frame(seen))
                size = seen.original
        return VideoRecord(kept, size)

    def stream_together(
        self, sources: Sequence[Iterable[Frame]], *, videos: Sequence[OnlineVideo] | None = None
    ) -> Iterator[list[TrackedFrame | None]]:
        """Process several streams in step, one frame of each per batch; yields None for a stream that has ended.

        `videos` are the states to continue from, one per stream; new ones by default.
        """
        videos = videos or [self.start() for _ in sources]
        for frames in zip_longest(*sources):
            present = [i for i, frame in enumerate(frames) if frame is not None]
            tracked: list[TrackedFrame | None] = [None] * len(frames)
            for i, seen in zip(present, self.observe([frames[i] for i in present]), strict=True):
                tracked[i] = videos[i].step(seen)
            yield tracked

    def observe(self, frames: Sequence[Frame]) -> list[Observation]:
        """Run the network on frames of any streams; frames of equal size form one batch."""
        return self._select(self._decode(frames))

    @contextlib.contextmanager
    def _observed(self, frames: Iterable[Frame], batch: int, *, overlap: bool) -> Iterator[Iterator[Observation]]:
        """Run the network, yielding one frame at a time; with `overlap`, the next batch is computed meanwhile."""
        decoded = map(self._decode, _groups(frames, batch))
        if not overlap:
            yield chain.from_iterable(map(self._select, decoded))
        elif self.select_beside:
            with prefetched(decoded, ahead=1) as ready:
                yield chain.from_iterable(map(self._select, ready))
        else:
            with prefetched(map(self._select, decoded), ahead=1) as seen:
                yield chain.from_iterable(seen)

    @torch.inference_mode()
    def _decode(self, frames: Sequence[Frame]) -> list[_Alike]:
        """Run the network up to its decoder on each group of frames of one size, without waiting for a GPU."""
        arrays = [_as_array(frame) for frame in frames]
        groups = []
        for shape in dict.fromkeys(array.shape for array in arrays):
            rows = [i for i, array in enumerate(arrays) if array.shape == shape]
            if isinstance(self.model, ExportedModel):
                decoded: Decoded | list[Detections]
                decoded = self.model.detect([self.model.image(arrays[i], self.input) for i in rows])
            else:
                images = [resize_for_test(arrays[i], self.input) for i in rows]
                batch = collate_frames(images, config=self.input).to(self.device)
                with arithmetic(self.device, self.precision):
                    decoded = self._forward(batch)
            size = short_side_size(shape[:2], self.input.test_short_side, self.input.test_max_size)
            done = None if self._stream is None else torch.cuda.current_stream(self.device).record_event()
            groups.append(_Alike(rows, decoded, size, shape[:2], done))
        return groups

    @torch.inference_mode()
    def _select(self, groups: Sequence[_Alike]) -> list[Observation]:
        """Select the detections of decoded frames, in a GPU's own stream, and bring them to the CPU."""
        seen: dict[int, Observation] = {}
        with torch.cuda.stream(self._stream):
            for rows, decoded, size, original, done in groups:
                if self._stream is not None:
                    self._stream.wait_event(done)
                if isinstance(self.model, ExportedModel) or isinstance(decoded, list):
                    assert isinstance(decoded, list)
                    detections = decoded
                else:
                    with arithmetic(self.device, self.precision):
                        detections = select_detections(self.model, decoded, self.tracker)
                if self.transform_detections is not None:
                    detections = [self.transform_detections(found) for found in detections]
                # Waits for this stream: nothing reads `decoded`, which the network's stream owns, after that.
                seen |= zip(rows, observations(detections, size, original), strict=True)
        return [seen[i] for i in range(len(seen))]


def _groups(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    waiting = iter(frames)
    while group := list(islice(waiting, size)):
        yield group


def _as_array(frame: Frame) -> np.ndarray:
    array = frame.cpu().numpy() if isinstance(frame, Tensor) else np.asarray(frame)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InvalidInput(
            f"a frame is {array.dtype} of shape {tuple(array.shape)}", fix="give uint8 RGB frames of shape H x W x 3"
        )
    return np.require(array, requirements=("C", "W"))  # torch takes no negative strides: frame[..., ::-1] of BGR
