"""Ideas for the tracker, each alone, beside the tracker as it is: on kept detections, so that no network runs twice.

    python benchmarks/tracker_ideas.py --weights runs/toy-tiny/weights.safetensors --toy 1 2 3
    python benchmarks/tracker_ideas.py --weights SHAPES_WEIGHTS --videos FRAMES ANNOTATIONS --videos FRAMES ANNOTATIONS

`--toy` makes the validation videos of the toy set from these seeds. Prints a Markdown table: the figures of the tracker
as it is for each set, and the difference that each idea makes.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from idol_core.config import DataSource
from idol_core.data.dataset import open_dataset
from idol_core.data.toy.make import make_toy
from idol_core.evaluation.id_switches import identity_switches
from idol_core.evaluation.identity import evaluate_identity
from idol_core.evaluation.video_ap import evaluate_vis
from idol_core.inference.kept_detections import video_records
from idol_core.inference.streaming import VideoSegmenter
from idol_core.tracking.records import add_frame
from idol_core.tracking.tracker import UNASSIGNED, Tracker, bisoftmax
from idol_core.tracking.tracks import VideoAssembler

LOWEST = 0.05  # select_threshold of the kept detections


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


class TwoStageTracker(Tracker):
    """Detections above `new_threshold` are matched first, the others then to the tracks that are left (ByteTrack)."""

    def associate(self, scores, embeddings, overlaps):
        self.strong = {e.tobytes() for e in embeddings[scores > np.float32(self.config.new_threshold)]}
        return super().associate(scores, embeddings, overlaps)

    def _match(self, embeddings):
        number = sum(e.tobytes() in self.strong for e in embeddings)  # by falling score: the strong ones come first
        first = super()._match(embeddings[:number])
        everything = self.memory.tracks
        self.memory.tracks = {i: track for i, track in everything.items() if i not in first}
        second = super()._match(embeddings[number:])
        self.memory.tracks = everything
        return np.concatenate((first, second))


class BuyBackTracker(Tracker):
    """A young track that resembles one lost before it began takes that one's identity from then on."""

    cosine, young = 0.7, 5

    def __init__(self, config):
        super().__init__(config)
        self.begun = {}

    def associate(self, scores, embeddings, overlaps):
        frame = self.frame
        ids = super().associate(scores, embeddings, overlaps)
        tracks = self.memory.tracks
        for place in np.flatnonzero(ids >= 0):
            own = int(ids[place])
            self.begun.setdefault(own, frame)
            if own not in tracks or not 2 <= tracks[own].frames_seen <= self.young:
                continue
            lost = [i for i, track in tracks.items() if track.last_seen < self.begun[own]]
            if not lost:
                continue
            alike = unit(np.stack([tracks[i].representative for i in lost])) @ unit(tracks[own].representative)
            best = int(alike.argmax())
            if alike[best] > self.cosine:
                older, younger = tracks[lost[best]], tracks.pop(own)
                older.embeddings = [*older.embeddings, *younger.embeddings][-self.memory.length :]
                older.scores = [*older.scores, *younger.scores][-self.memory.length :]
                older.representative, older.last_seen = younger.representative, frame
                older.frames_seen += younger.frames_seen
                ids[place] = lost[best]
        return ids


class HungarianTracker(Tracker):
    """The best one-to-one assignment in place of one detection after the other."""

    def _match(self, embeddings):
        from scipy.optimize import linear_sum_assignment

        ids = np.full(len(embeddings), UNASSIGNED, np.int64)
        if len(self.memory) and len(embeddings):
            similarity = bisoftmax(embeddings @ self.memory.representatives().T)
            for i, j in zip(*linear_sum_assignment(-similarity), strict=True):
                if similarity[i, j] > np.float32(self.config.match_threshold):
                    ids[i] = self.memory.ids()[j]
        return ids


# name -> (tracker, settings that differ)
IDEAS = {
    "as it is": (Tracker, {}),
    "similarity-guided average, 3 kept": (Tracker, {"similarity_weighting": True}),
    "similarity-guided average, 10 kept": (Tracker, {"similarity_weighting": True, "memory_length": 10}),
    "mask_nms .3": (Tracker, {"mask_nms": 0.3}),
    "mask_nms .2": (Tracker, {"mask_nms": 0.2}),
    "similarity-guided average, mask_nms .3": (Tracker, {"similarity_weighting": True, "mask_nms": 0.3}),
    "similarity-guided average, mask_nms .2": (Tracker, {"similarity_weighting": True, "mask_nms": 0.2}),
    "memory_length 5": (Tracker, {"memory_length": 5}),
    "memory_length 10": (Tracker, {"memory_length": 10}),
    "max_missed 5": (Tracker, {"max_missed": 5}),
    "max_missed 20": (Tracker, {"max_missed": 20}),
    "two stages": (TwoStageTracker, {}),
    "two stages, from .05": (TwoStageTracker, {"select_threshold": LOWEST}),
    "one stage, from .05": (Tracker, {"select_threshold": LOWEST}),
    "identity bought back": (BuyBackTracker, {}),
    "identity bought back, max_missed 20": (BuyBackTracker, {"max_missed": 20}),
    "one-to-one assignment": (HungarianTracker, {}),
}
FIGURES = ("AP", "HOTA", "IDF1", "switches")


def selected(frame, threshold):
    """The detections of a recorded frame above a threshold, the best one at least."""
    number = max(int((frame.scores > np.float32(threshold)).sum()), min(1, len(frame.scores)))
    return frame._replace(
        scores=frame.scores[:number], probs=frame.probs[:number], embeddings=frame.embeddings[:number],
        overlaps=frame.overlaps[:number, :number], counts=frame.counts[:number],
    )  # fmt: skip


def figures(make, config, records, dataset):
    """AP, HOTA, IDF1 (0..100) and identity switches of one tracker on one set."""
    results = []
    for row, record in records:
        tracker, assembler = make(config), VideoAssembler(config)
        for frame in record.frames:
            found = selected(frame, config.select_threshold)
            add_frame(assembler, found, tracker.associate(found.scores, found.embeddings, found.overlaps))
        results += assembler.finish(record.size).results(dataset.videos[row].id, dataset.category_ids, config)
    identity = evaluate_identity(dataset.source, results, threshold=0.2).combined
    switches = sum(video.switches for video in identity_switches(dataset.index, results).values())
    return 100 * evaluate_vis(dataset.source, results).stats["AP"], identity["HOTA"], identity["IDF1"], switches


def datasets(arguments, folder):
    for seed in arguments.toy:
        make_toy(folder / str(seed), seed=seed)
        val = folder / str(seed) / "toy/vis/val"
        yield f"toy {seed}", val / "JPEGImages", val / "instances.json"
    for frames, file in arguments.videos:
        yield Path(file).parent.name + "/" + Path(file).stem, frames, file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--toy", type=int, nargs="*", default=[])
    parser.add_argument("--videos", nargs=2, action="append", default=[], metavar=("FRAMES", "ANNOTATIONS"))
    parser.add_argument("--only", default="", help="the ideas whose names contain this text")
    parser.add_argument(
        "--keep", type=Path, help="folder for the toy sets and the detections; default: a temporary one"
    )
    arguments = parser.parse_args()
    ideas = {name: idea for name, idea in IDEAS.items() if arguments.only in name or name == "as it is"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        segmenter = VideoSegmenter.from_pretrained(arguments.weights)
        published = segmenter.tracker
        segmenter.tracker = dataclasses.replace(published, select_threshold=LOWEST)
        columns = {}
        for name, frames, annotations in datasets(arguments, folder):
            source = DataSource(kind="vis", frames=str(frames), annotations=str(annotations))
            dataset = open_dataset(source)
            kept = folder / "detections" / name.replace("/", "-")
            records = list(video_records(lambda: segmenter, dataset, kept, on_progress=lambda *_: None))
            columns[name] = {
                idea: figures(make, dataclasses.replace(published, **settings), records, dataset)
                for idea, (make, settings) in ideas.items()
            }
    print(f"| {' / '.join(FIGURES)} | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for idea in ideas:
        cells = []
        for of_set in columns.values():
            before = np.array(of_set["as it is"]) if idea != "as it is" else 0
            sign = "" if idea == "as it is" else "+"
            found = np.array(of_set[idea]) - before
            cells.append(" / ".join([*(f"{value:{sign}.1f}" for value in found[:3]), f"{found[3]:{sign}.0f}"]))
        print(f"| {idea} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
