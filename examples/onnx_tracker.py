"""Track the objects of a clip with a model from `idolctl export`: numpy and onnxruntime only, to be ported elsewhere.

python examples/onnx_tracker.py model.onnx frames.npy

frames.npy: [T, h, w, 3] uint8 RGB, of the size given to `idolctl export --frame`; for a model exported without it,
resized as the recipe in the file says (input.test_short_side, test_max_size).
Prints for each frame and track: frame, track, class, score, box (left, top, right, bottom in pixels), mask's pixels.
"""

import json
import sys
from collections.abc import Iterator

import numpy as np
import onnxruntime


class Tracker:
    """Identities from embeddings (paper section 4.2); all numbers are float32. `settings`: the recipe's "tracker"."""

    def __init__(self, settings: dict) -> None:
        self.settings, self.tracks, self.frame, self.next_id = settings, {}, 0, 0

    def step(self, scores: np.ndarray, embeddings: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Track of each of a frame's n detections, -1 for none. masks: [n, h, w] bool; all by falling score."""
        kept = self._unlike_better_ones(masks)
        ids = np.full(len(scores), -1)
        ids[kept] = self._match(embeddings[kept])
        least = np.float32(self.settings["new_threshold" if self.tracks else "init_threshold"])
        for i in kept:
            if ids[i] < 0 and scores[i] > least:
                ids[i], self.next_id = self.next_id, self.next_id + 1
        for i in kept[ids[kept] >= 0]:
            self._see(int(ids[i]), scores[i], embeddings[i])
        self.tracks = {k: t for k, t in self.tracks.items() if self.frame - t["last"] < self.settings["max_missed"]}
        self.frame += 1
        return ids

    def _unlike_better_ones(self, masks: np.ndarray) -> np.ndarray:
        """Mask NMS: indices of masks whose IoU with every better one that was kept is at most `mask_nms`."""
        flat = masks.reshape(len(masks), -1).astype(np.float32)
        shared = flat @ flat.T
        areas = shared.diagonal()
        iou = (shared + np.float32(1e-6)) / (areas[:, None] + areas - shared + np.float32(1e-6))
        kept: list[int] = []
        for i in range(len(masks)):
            if not (iou[i, kept] > np.float32(self.settings["mask_nms"])).any():
                kept.append(i)
        return np.array(kept, int)

    def _match(self, embeddings: np.ndarray) -> np.ndarray:
        """The most similar track of each detection, best detection first; -1 if it is taken or not similar enough."""
        ids = np.full(len(embeddings), -1)
        if not self.tracks or not len(embeddings):
            return ids
        known, least = list(self.tracks), np.float32(self.settings["match_threshold"])
        products = embeddings @ np.stack([track["average"] for track in self.tracks.values()]).T
        similarity = (softmax(products, 1) + softmax(products, 0)) / np.float32(2)
        seen = np.array([track["seen"] for track in self.tracks.values()], np.float32)
        for i, row in enumerate(similarity):
            rivals = row > least
            if rivals.sum() > 1 and (self.settings["frame_weighting"] or self.settings["temporal_weighting"]):
                row = row * np.where(rivals, seen, seen[rivals].mean())
            best = row.argmax()
            if rivals.any() and row[best] > least:
                ids[i] = known[best]
                similarity[:, best] = 0
        return ids

    def _see(self, number: int, score: np.float32, embedding: np.ndarray) -> None:
        """Add a detection to a track's memory; a new number starts a track."""
        new = {"last": 0, "seen": 0, "scores": [], "embeddings": [], "average": embedding}
        track = self.tracks.setdefault(number, new)
        length = self.settings["memory_length"]
        track["last"], track["seen"] = self.frame, track["seen"] + 1
        others, share = track["embeddings"], np.float32(0.8)
        similar = self.settings.get("similarity_weighting", False)
        if track["seen"] > 1 and similar:
            norms = np.linalg.norm(others, axis=1) * np.linalg.norm(embedding)
            share = np.maximum((np.stack(others) @ embedding / np.maximum(norms, np.float32(1e-12))).mean(), 0)
        track["scores"] = [*track["scores"], score][-length:]
        track["embeddings"] = [*track["embeddings"], embedding][-length:]
        count = len(track["scores"])
        if track["seen"] > 1 and self.settings["temporal_weighting"] and not similar:
            weights = np.array(track["scores"]) + np.arange(1, count + 1, dtype=np.float32) / np.float32(count)
            track["average"] = (np.stack(track["embeddings"]) * weights[:, None]).sum(0) / weights.sum()
        elif track["seen"] > 1:
            track["average"] = share * embedding + (1 - share) * track["average"]


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def track_clip(model: str, frames: np.ndarray) -> Iterator[tuple[int, int, str, float, list[float], int]]:
    """Yield what the top of this page says, one detection with a track after another."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    recipe, graph = json.loads(metadata["recipe"]), json.loads(metadata["graph"])
    names = json.loads(metadata.get("classes", "null")) or range(recipe["model"]["num_classes"])
    height, width = frames.shape[1:3]
    rows, columns = graph["size"] or (-(-height // 32) * 32, -(-width // 32) * 32)
    seen = graph["resized"] or (height, width)  # by the network, without padding
    area = 16 * height * width / (seen[0] * seen[1])  # of a mask's cell
    tracker = Tracker(recipe["tracker"])
    for t, frame in enumerate(frames):
        inputs = {"frame": frame}
        if not graph["frame"]:
            inputs["frame"] = np.pad(frame, ((0, rows - height), (0, columns - width), (0, 0)))
            inputs["size"] = np.array([height, width])
        outputs = session.run(None, inputs)
        found = dict(zip([output.name for output in session.get_outputs()], outputs, strict=True))
        n = int(found["count"])
        masks = found["mask_logits"][:n] > 0  # a quarter of the padded frame's size
        for i, number in enumerate(tracker.step(found["scores"][:n], found["embeddings"][:n], masks)):
            if number >= 0:
                x, y, w, h = found["boxes"][i] * (width, height, width, height)
                box = [float(side) for side in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
                pixels = round(int(masks[i].sum()) * area)
                yield t, int(number), str(names[found["labels"][i]]), float(found["scores"][i]), box, pixels


if __name__ == "__main__":
    for t, number, name, score, box, pixels in track_clip(sys.argv[1], np.load(sys.argv[2])):
        print(t, number, name, f"{score:.3f}", *(f"{side:.1f}" for side in box), pixels)
