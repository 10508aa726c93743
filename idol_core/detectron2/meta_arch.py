"""The meta architecture `IDOL`: our network, losses and tracking with detectron2's interfaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, overload

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import Tensor, nn

from idol_core.build import build_model
from idol_core.config import InputConfig, TrackerConfig
from idol_core.data.collate import collate_frames, collate_pairs
from idol_core.detectron2.backbone import RegisteredBackbone
from idol_core.detectron2.config import network_config, own_backbone
from idol_core.detectron2.convert import Size, instances_to_sample, stills_to_instances
from idol_core.detectron2.names import published_names_of, to_ours, to_published
from idol_core.errors import InvalidInput
from idol_core.inference.images import still_instances
from idol_core.inference.select import observations, select_detections
from idol_core.losses.criterion import Criterion
from idol_core.model import idol
from idol_core.tracking.masks import decode_masks
from idol_core.tracking.online import OnlineVideo
from idol_core.tracking.tracks import VideoTrack, VideoTracks

Inputs = Sequence[dict[str, Any]]


class TrackMasks(Sequence[Tensor]):
    """The masks of reported tracks, bool [T, H, W] each, decoded on access; `rles` returns them compressed."""

    def __init__(self, tracks: VideoTracks, reported: Sequence[VideoTrack]) -> None:
        self._tracks, self._reported = tracks, reported

    def __len__(self) -> int:
        return len(self._reported)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        track = self._reported[index]
        masks = torch.zeros(self._tracks.frames, *self._tracks.size, dtype=torch.bool)
        frames = sorted(track.masks)
        masks[frames] = torch.from_numpy(decode_masks([track.masks[t] for t in frames], self._tracks.size))
        return masks

    def rles(self, index: int) -> list[dict[str, Any] | None]:
        """Compressed RLEs of one track, one per frame; None where it is absent."""
        return self._tracks.segmentations(self._reported[index])


@META_ARCH_REGISTRY.register()
class IDOL(nn.Module):
    """IDOL for detectron2's trainers, checkpointers and evaluators.

    Its state dict has the names of the published checkpoints, whatever the modules are called here; it loads published
    names and ours.

    Args:
        model: with an embedding head. In training, the parameters with `requires_grad` get gradients.
        criterion: the training losses.
        tracker: thresholds of selection, tracking and reporting.
        input: mean and standard deviation of the pixels.
    """

    @configurable
    def __init__(self, *, model: idol.IDOL, criterion: Criterion, tracker: TrackerConfig, input: InputConfig) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.tracker = tracker
        self.input = input
        self.register_state_dict_post_hook(_name_as_published)
        self.register_load_state_dict_pre_hook(_name_as_ours)
        self.register_load_state_dict_post_hook(_name_missing_as_published)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the constructor's arguments from a configuration with the original's keys.

        A published ResNet or Swin is built by us, any other MODEL.BACKBONE by detectron2's registry.
        """
        config = network_config(cfg)
        backbone = None if own_backbone(cfg) else RegisteredBackbone(build_backbone(cfg))
        return {
            "model": build_model(config.model, backbone=backbone),
            "criterion": Criterion(config.loss),
            "tracker": config.tracker,
            "input": config.input,
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def forward(self, batched_inputs: Inputs) -> dict[str, Any] | list[dict[str, Any]]:
        """Compute losses in training, tracks of a video or instances of images in evaluation.

        Training: one dict per pair. `image` is the key and the reference frame ([3, h, w] tensors, RGB, 0..255),
        `instances` their ground truth (`instances_to_sample`); row i is the same object in both. Returns the weighted
        losses.

        Evaluation of a video: one dict, `image` being its resized frames, `height` and `width` the original size.
        Returns {image_size, pred_scores, pred_labels, pred_masks}, lists with an entry for each class of each track.

        Evaluation of images: one dict per image, `image` being a tensor. Returns [{"instances": Instances}].

        Raises InvalidInput if the dicts have none of these forms.
        """
        if self.training:
            return self._losses(batched_inputs)
        if all(isinstance(inputs["image"], Tensor) for inputs in batched_inputs):
            return self._stills(batched_inputs)
        if len(batched_inputs) != 1:
            raise InvalidInput(f"{len(batched_inputs)} videos in a batch", fix="evaluate one video at a time")
        return self._video(batched_inputs[0])

    def _losses(self, batched_inputs: Inputs) -> dict[str, Tensor]:
        pairs, names = [], []
        for inputs in batched_inputs:
            if isinstance(inputs["image"], Tensor) or len(inputs["image"]) != 2 or len(inputs["instances"]) != 2:
                raise InvalidInput("a training item is not a pair of frames", fix="INPUT.SAMPLING_FRAME_NUM: 2")
            key, ref = map(instances_to_sample, inputs["image"], inputs["instances"])
            if len(key.labels) != len(ref.labels):
                what = f"{len(key.labels)} objects in the key frame, {len(ref.labels)} in the reference frame"
                raise InvalidInput(what, fix="give each object a row in both, gt_ids -1 where it is absent")
            pairs.append((key, ref))
            names.append(" ".join(map(str, inputs.get("file_names", ()))))
        batch = collate_pairs(pairs, config=self.input, sample_ids=names).to(self.device)
        decoded = self.model(batch.frames)
        return self.criterion(self.model, decoded, batch, generator=torch.default_generator)

    @torch.no_grad()
    def _video(self, inputs: dict[str, Any]) -> dict[str, Any]:
        video = OnlineVideo(self.tracker, keep=True)
        for frames in _chunks(inputs["image"], self.tracker.batch_frames):
            decoded = self.model(collate_frames([f.cpu() for f in frames], config=self.input).to(self.device))
            for frame, found in zip(frames, select_detections(self.model, decoded, self.tracker), strict=True):
                (seen,) = observations([found], _size(frame), _original(inputs, frame))
                video.step(seen)
        tracks = video.tracks()
        scored = tracks.scored(self.tracker)
        return {
            "image_size": tracks.size,
            "pred_scores": [score for _, _, score in scored],
            "pred_labels": [label for _, label, _ in scored],
            "pred_masks": TrackMasks(tracks, [track for track, _, _ in scored]),
        }

    @torch.no_grad()
    def _stills(self, batched_inputs: Inputs) -> list[dict[str, Any]]:
        images = [inputs["image"].cpu() for inputs in batched_inputs]
        originals = [_original(inputs, image) for inputs, image in zip(batched_inputs, images, strict=True)]
        decoded = self.model(collate_frames(images, config=self.input).to(self.device))
        found = still_instances(self.model, decoded, originals)
        return [{"instances": stills_to_instances(f, size)} for f, size in zip(found, originals, strict=True)]

    @property
    def detr(self) -> _Anywhere:
        """Root of the published names: fvcore looks up the module of a tensor of the wrong shape by its name."""
        return _Anywhere()


class _Anywhere:
    """A dummy that has every attribute."""

    def __getattr__(self, name: str) -> _Anywhere:
        return self


def _size(frame: Tensor) -> Size:
    return int(frame.shape[-2]), int(frame.shape[-1])


def _original(inputs: dict[str, Any], frame: Tensor) -> Size:
    height, width = _size(frame)
    return int(inputs.get("height", height)), int(inputs.get("width", width))


def _chunks(frames: Any, size: int) -> Iterator[list[Tensor]]:
    waiting = iter(frames)
    while chunk := list(islice(waiting, size)):
        yield chunk


def _name_as_published(module: IDOL, state: dict[str, Any], prefix: str, _: Any) -> None:
    start = f"{prefix}model."
    inner = {name: state.pop(name) for name in list(state) if name.startswith(start)}
    renamed = to_published({name.removeprefix(start): tensor for name, tensor in inner.items()})
    state.update({prefix + name: tensor for name, tensor in renamed.items()})


def _name_as_ours(module: IDOL, state: dict[str, Any], prefix: str, *_: Any) -> None:
    inner = {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}
    renamed = to_ours(inner, registered=isinstance(module.model.backbone, RegisteredBackbone))
    known = module.model.state_dict().keys()
    state.update({f"{prefix}model.{name}" if name in known else prefix + name: t for name, t in renamed.items()})


def _name_missing_as_published(module: IDOL, incompatible: Any) -> None:
    known = module.model.state_dict().keys()
    for name in list(incompatible.missing_keys):
        head, _, inner = name.partition("model.")
        if inner in known:
            incompatible.missing_keys.remove(name)
            incompatible.missing_keys.extend(head + theirs for theirs in published_names_of(inner))
