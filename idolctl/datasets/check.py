"""List the data sets on disk and check that each is complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from idol_core.config import DataSource
from idol_core.data.catalog import SIDES, find_layout, known_names
from idol_core.data.contents import contents_of, why_nothing
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.deep_check import Broken, check_deeply, missing_frames
from idol_core.data.frames import missing_frame
from idol_core.errors import IdolError, Integrity, InvalidInput, Missing
from idolctl.errors import suggestion
from idolctl.terminal.progress import transfer

# Published sizes: ((train, val) videos, or images for coco), number of classes.
KNOWN_SIZES = {
    "ytvis19": ((2238, 302), 40),
    "ytvis21": ((2985, 421), 40),
    "ovis": ((607, 140), 25),
    "coco": ((118287, 5000), 80),
}
_SHOWN = 10


@dataclass(frozen=True)
class Line:
    """One line of a report: whether the check passed, and what was found or expected."""

    ok: bool
    part: str  # frames, annotations, truth, size, files, content, objects
    text: str
    remark: bool = False  # for information, neither passed nor failed


@dataclass(frozen=True)
class SideReport:
    """Check results of NAME_train or NAME_val; `errors` say how to fix the failed lines."""

    name: str
    lines: tuple[Line, ...]
    errors: tuple[IdolError, ...]
    unscored: Path | None = None  # the annotation file, if it has no masks to score with


@dataclass(frozen=True)
class SetRow:
    """One line of `idolctl ls datasets`."""

    name: str
    kind: str
    found: bool
    frames: str
    annotations: str


def set_rows(root: Path) -> list[SetRow]:
    """Every known side (train, val) of every data set, and whether its files exist."""
    rows = []
    for name in known_names(root):
        layout = find_layout(name, root)
        assert layout is not None
        frames, annotations = _existing(layout.frames, root), _existing(layout.annotations, root)
        shown = (frames or root / layout.frames[0], annotations or root / layout.annotations[0])
        rows.append(SetRow(name, layout.kind, bool(frames and annotations), *map(str, shown)))
    return rows


def sides_of(name: str, root: Path) -> list[str]:
    """Full names of a data set's sides: `ovis` -> ovis_train, ovis_val; a full name gives itself.

    Raises InvalidInput, suggesting the nearest name.
    """
    known = known_names(root)
    found = [name] if name in known else [f"{name}_{side}" for side in SIDES if f"{name}_{side}" in known]
    if not found:
        bases = {n.rpartition("_")[0] for n in known}
        fix = f"{suggestion(name, bases)} (or describe your own: idolctl data add)"
        raise InvalidInput(f"no data set '{name}'", where=f"data root {root}", fix=fix)
    return found


def check_side(name: str, root: Path, *, on_progress: Callable[[int, int], None] | None) -> SideReport:
    """Find the files of one side (train or val), read and count its annotations; with `on_progress` open all frames."""
    layout = find_layout(name, root)
    assert layout is not None
    frames, annotations = _existing(layout.frames, root), _existing(layout.annotations, root)
    lines = [
        _place("frames", layout.frames, frames, root),
        _place("annotations", layout.annotations, annotations, root),
    ]
    errors: list[IdolError] = [
        Missing(f"{line.part} of {name} not found", where=line.text.removeprefix("expected "),
                fix="put the files there, or name another data root with --root")
        for line in lines if not line.ok
    ]  # fmt: skip
    if annotations is None:
        return SideReport(name, tuple(lines), tuple(errors))
    source = DataSource(name, layout.kind, str(frames or root / layout.frames[0]), str(annotations))
    try:
        with transfer(f"reading {annotations.name}") as reading:
            dataset = open_dataset(source, on_read=reading.update)
    except IdolError as error:
        lines.append(Line(False, "content", error.what))
        return SideReport(name, tuple(lines), (*errors, error))
    if dataset.source != annotations:
        lines.append(Line(True, "truth", f"{dataset.source}, of the same videos, frames and classes"))
    _check_size(name, dataset, lines, errors)
    _check_objects(name, dataset, lines, errors)
    if frames is not None:
        _check_frames(name, dataset, lines, errors)
        if on_progress is not None:
            _check_content(name, dataset, check_deeply(dataset, on_progress=on_progress), lines, errors)
    return SideReport(name, tuple(lines), tuple(errors), None if dataset.has_ground_truth else annotations)


def remarks(dataset: Dataset) -> list[str]:
    """Notes on objects that training leaves out and on annotations that look like mistakes."""
    found = contents_of(dataset)
    if not found.objects:
        return []
    told = [] if found.usable == found.objects else [f"{found.usable:,} of {found.objects:,} objects are trained on"]
    return told + [str(remark) for remark in found.remarks]


def describe(dataset: Dataset) -> str:
    """Counts of a data set as text."""
    index = dataset.index
    frames, videos = int(index.first_frame[-1]), len(index.video_ids)
    things = f"{videos:,} images" if dataset.kind == "coco" else f"{videos:,} videos, {frames:,} frames"
    number = len(index.track_ids)
    objects = f"{number:,} objects" + ("" if dataset.has_ground_truth else " without masks") if number else "no objects"
    return f"{things}, {objects}, {len(index.category_ids)} classes"


def _place(part: str, places: tuple[str, ...], found: Path | None, root: Path) -> Line:
    text = str(found) if found else "expected " + " or ".join(str(root / place) for place in places)
    return Line(found is not None, part, text)


def _existing(places: tuple[str, ...], root: Path) -> Path | None:
    return next((root / place for place in places if (root / place).exists()), None)


def _check_size(name: str, dataset: Dataset, lines: list[Line], errors: list[IdolError]) -> None:
    base, side = name.rpartition("_")[::2]
    text = describe(dataset)
    if base not in KNOWN_SIZES:
        lines.append(Line(True, "size", text))
        return
    sizes, classes = KNOWN_SIZES[base]
    wanted = sizes[SIDES.index(side)]
    found = (len(dataset.index.video_ids), len(dataset.category_ids))
    if found == (wanted, classes):
        lines.append(Line(True, "size", f"{text}, as published"))
        return
    things = "images" if dataset.kind == "coco" else "videos"
    text = f"{text}; the published set has {wanted:,} {things}, {classes} classes"
    lines.append(Line(False, "size", text))
    errors.append(Integrity(f"{name} has {text}", where=str(dataset.source), fix="download the annotation file again"))


def _check_objects(name: str, dataset: Dataset, lines: list[Line], errors: list[IdolError]) -> None:
    lines += [Line(True, "objects", text, remark=True) for text in remarks(dataset)]
    if name.endswith("_train") and len(dataset.index.track_ids) and not dataset.index.annotated_frames().any():
        what = why_nothing(dataset.index)
        lines.append(Line(False, "objects", what))
        fix = "annotate single objects (iscrowd 0) with masks, in pixel coordinates"
        errors.append(Integrity(what, where=str(dataset.source), fix=fix))


def _check_frames(name: str, dataset: Dataset, lines: list[Line], errors: list[IdolError]) -> None:
    missing = missing_frames(dataset)
    if not missing:
        lines.append(Line(True, "files", "every frame file is there"))
        return
    shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
    lines.append(Line(False, "files", f"{len(missing):,} frame files are missing: {shown}"))
    first = missing_frame(dataset.frames / missing[0])
    instead = first.what.removeprefix("frame not found")
    errors.append(
        Missing(f"{len(missing)} frames of {name} are missing, first {missing[0]}{instead}", where=str(dataset.frames),
                fix=first.fix)
    )  # fmt: skip


def _check_content(
    name: str, dataset: Dataset, broken: list[Broken], lines: list[Line], errors: list[IdolError]
) -> None:
    if not broken:
        lines.append(Line(True, "content", "every frame opens and has the size that its annotation says"))
        return
    lines += [Line(False, "content", f"{b.where}: {b.what}") for b in broken[:_SHOWN]]
    if len(broken) > _SHOWN:
        lines.append(Line(False, "content", f"and {len(broken) - _SHOWN} more"))
    what = f"{len(broken)} frames of {name} are broken, first {broken[0].where}: {broken[0].what}"
    errors.append(Integrity(what, where=str(dataset.source), fix="download or copy them again"))
