"""Open the training set, mixed images and validation set of a stage; check that their classes fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from idol_core.classes import choose_classes, match_classes, parse_chosen, parse_same
from idol_core.config import StageConfig
from idol_core.data.annotations.json_stream import Progress
from idol_core.data.catalog import resolve_source
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.images import as_images, with_classes
from idol_core.errors import InvalidInput


def training_set(config: StageConfig, root: Path, *, on_read: Progress | None = None) -> Dataset:
    """Open the training set. Raises InvalidInput if it has not model.num_classes classes; else as `open_dataset`."""
    dataset = open_dataset(resolve_source(config.data.train, root), on_read=on_read)
    found = len(dataset.category_ids)
    if found != config.model.num_classes:
        raise InvalidInput(
            f"the data set has {found} categories, the recipe says model.num_classes={config.model.num_classes}",
            where=str(config.data.train.annotations or config.data.train.name),
            fix=f"--set model.num_classes={found}",
        )
    return dataset


def mixed_images(
    config: StageConfig, root: Path, train_set: Dataset, *, on_read: Progress | None = None
) -> Dataset | None:
    """Open the images that are mixed into the training, with the classes of the training set; None if there are none.

    Raises InvalidInput if a class of data.mix.classes is in neither set, and what `open_dataset` raises.
    """
    mix = config.data.mix
    if not mix.share:
        return None
    dataset = as_images(open_dataset(resolve_source(mix.images, root), on_read=on_read))
    places = choose_classes(
        dataset.category_names,
        train_set.category_names,
        chosen=parse_chosen(mix.classes),
        where=f"data.mix.classes, {dataset.source}",
    )
    return with_classes(dataset, train_set, places)


def validation_set(
    config: StageConfig, root: Path, classes: Sequence[str], *, on_read: Progress | None = None
) -> Dataset:
    """Open the validation set, with its classes in the order of `classes`, the names of the training classes.

    Raises InvalidInput if its classes are not the training classes, and what `open_dataset` raises.
    """
    dataset = open_dataset(resolve_source(config.data.val, root), on_read=on_read)
    order = match_classes(
        classes, dataset.category_names, where=str(dataset.source), same=parse_same(config.data.classes_map),
        sides=("the training set", "the validation set"), fix="--set data.classes_map=[{pairs}]",
    )  # fmt: skip
    return dataset.reordered(order)
