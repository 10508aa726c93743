"""Write a model card: Markdown with YAML front matter, as Hugging Face reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from idol_core.config import StageConfig
from idol_core.evaluation import METRICS
from idol_core.system.hub import PREFIX, WEIGHTS
from idolctl import __version__

PAPER = "https://arxiv.org/abs/2207.10661"
_LEARNT = {
    1: "instance segmentation of single images (no embedding head: it finds objects, and can't track them)",
    2: "embeddings that tell objects apart, on pairs cut from images",
    3: "tracking on videos",
}


@dataclass(frozen=True)
class Card:
    """What a card is written from. `to`: where the model is published, hf:USER/NAME or a folder."""

    config: StageConfig
    classes: tuple[str, ...] | None
    measured: Mapping[str, float] | None  # on the validation set, 0..100; None: not measured
    published: Mapping[str, Mapping[str, float | None]]  # comparable rows of the zoo
    license_id: str | None
    parameters: int
    to: str


def write_card(card: Card) -> str:
    """The card's text."""
    config = card.config
    title = card.to.removeprefix(PREFIX).rstrip("/").rpartition("/")[2] or "IDOL"
    paragraphs = [
        _front_matter(card, title),
        f"# {title}",
        f"IDOL ([In Defense of Online Models for Video Instance Segmentation]({PAPER}), Wu et al., ECCV 2022): it "
        "finds every object of its classes in a video, segments it, and keeps its identity from frame to frame, online."
        f" Trained with idolctl {__version__}.",
        _facts(card),
        "## Scores",
        _scores(card),
        "## How to load it",
        _loading(card.to, tracks=config.model.embedding),
        "## Limits",
        _limits(card),
        "## Licence and citation",
        _license(card),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _front_matter(card: Card, title: str) -> str:
    lines = ["---", "library_name: idolctl", "pipeline_tag: image-segmentation"]
    lines.append(f"license: {card.license_id or 'other'}")
    lines += ["tags: [video-instance-segmentation, object-tracking, idol]"]
    if card.measured:
        data = json.dumps(card.config.data.val.name or "own data")
        lines += ["model-index:", f"  - name: {json.dumps(title)}", "    results:", "      - task:"]
        lines += ["          type: image-segmentation", "          name: Video instance segmentation"]
        lines += ["        dataset:", f"          type: {data}", f"          name: {data}", "        metrics:"]
        for name in METRICS:
            if name in card.measured:
                lines += [f"          - type: {name}", f"            value: {round(card.measured[name], 2)}"]
    return "\n".join([*lines, "---"])


def _facts(card: Card) -> str:
    config, solver = card.config, card.config.solver
    names = ", ".join(card.classes) if card.classes else "without names"
    start = config.init or ("the step before it" if config.step > 1 else "random weights")
    rows = [
        ("Recipe", f"{config.recipe}, step {config.step}: {_LEARNT[config.step]}"),
        ("Backbone", f"{config.backbone} ({card.parameters / 1e6:.1f} million numbers in all)"),
        ("Trained on", config.data.train.name or "a data set given by paths"),
        ("Schedule", f"{solver.iterations} iterations of {solver.batch_size}, learning rate {solver.lr:g}"),
        ("Started from", start),
        (f"{config.model.num_classes} classes", names),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows)])


def _scores(card: Card) -> str:
    rows: list[tuple[str, Mapping[str, float | None] | None]] = []
    if card.measured:
        rows = [(f"measured on {card.config.data.val.name or 'its validation set'}", dict(card.measured))]
    rows += [(f"published: {name} (validation server)", values) for name, values in card.published.items()]
    if not rows:
        return "Nothing was measured: there was no ground truth."
    head = ["| | " + " | ".join(METRICS) + " |", "|---" * (1 + len(METRICS)) + "|"]
    body = [
        f"| {_cell(name)} | " + " | ".join(_number((values or {}).get(metric)) for metric in METRICS) + " |"
        for name, values in rows
    ]
    kind = "masks in images" if card.config.step < 3 else "tracks in videos"
    note = f"Average precision and recall, 0 to 100, of {kind}; one training, whose spread over seeds is not known."
    return "\n".join([*head, *body, "", note])


def _loading(to: str, *, tracks: bool) -> str:
    hub = to.startswith(PREFIX)
    name = to if hub else WEIGHTS
    lines = ["With idolctl installed:", "", "```"]
    if hub:
        lines.append(f"idolctl fetch {name}")
    if tracks:
        lines.append(f"idolctl predict VIDEO --weights {name}")
    lines += [f"idolctl run RECIPE --init {name}    # to go on training from it", "```"]
    if tracks:
        lines += ["", "```python", "from idol_core import VideoSegmenter", ""]
        lines += [f'segmenter = VideoSegmenter.from_pretrained("{name}")']
        lines += ["for frame in segmenter.stream(frames):  # H x W x 3 uint8 RGB arrays"]
        lines += ["    print(frame.track_ids, frame.labels, frame.scores, frame.boxes)", "```"]
    return "\n".join(lines)


def _limits(card: Card) -> str:
    data = card.config.data.train.name or "its data set"
    limits = [
        "It knows the classes above and no others; objects of other classes are missed or called by a wrong name.",
        f"It was trained on frames like those of {data}; elsewhere expect less.",
        "Identities are lost at cuts, and after an object has been out of sight for longer than the tracker remembers.",
        "Whether it treats people and places of all kinds alike was not examined.",
    ]
    if card.config.data.train.name.startswith("toy"):
        limits.insert(0, "It was trained on a toy set of drawn shapes, to show that everything works.")
    return "\n".join(f"- {line}" for line in limits)


def _license(card: Card) -> str:
    named = f"Weights: {card.license_id}." if card.license_id else "The author has not named a licence of the weights."
    data = f" The data set ({card.config.data.train.name}) has terms of its own." if card.config.data.train.name else ""
    return f"{named}{data} Please cite the paper: Wu, Liu, Jiang, Bai, Yuille, Bai, ECCV 2022, {PAPER}."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
