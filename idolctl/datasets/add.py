"""Register a user's own data set: a small YAML file below the data root makes its name work like a built-in one."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from idol_core.classes import check_same_classes
from idol_core.config import DataSource
from idol_core.data.annotations.kind import annotation_kind
from idol_core.data.catalog import LAYOUTS
from idol_core.data.dataset import Dataset, open_dataset
from idol_core.data.frames import missing_frame
from idol_core.data.names import similar_file
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.system.files import write_aside
from idolctl.terminal.progress import transfer


@dataclass(frozen=True)
class SideFiles:
    """Paths of frames and annotations of the training or the validation side."""

    frames: Path
    annotations: Path


def add_set(
    name: str, root: Path, *, kind: str | None, train: SideFiles, val: SideFiles | None, force: bool
) -> tuple[Path, dict[str, Dataset]]:
    """Open both sides to check them, then write ROOT/NAME.yaml. `kind` None: read it off the annotation file.

    Raises InvalidInput for a name that is taken or not valid, Missing and Integrity for files that can't be opened,
    Integrity if the two sides have different classes.
    """
    path = check_name(name, root, force=force)
    opened: dict[str, Dataset] = {}
    kind = kind or annotation_kind(train.annotations)
    content: dict[str, object] = {"kind": kind}
    for side, part in (("train", train), ("val", val)):
        if part is not None:
            opened[f"{name}_{side}"] = _open(part, kind)
            content[side] = {"frames": _shown(part.frames, root), "annotations": _shown(part.annotations, root)}
    _check_classes(opened)
    text = StringIO()
    YAML().dump(content, text)
    with write_aside(path) as aside:
        aside.write_text(f"# A data set of idolctl: {', '.join(opened)}.\n{text.getvalue()}", encoding="utf-8")
    return path, opened


def check_name(name: str, root: Path, *, force: bool) -> Path:
    """The YAML file of a new data set. Raises InvalidInput for a name that is taken (unless `force`) or not valid."""
    if not name.replace("-", "").replace(".", "").isalnum() or name.startswith((".", "-")):
        what = f"'{name}' is not a valid data set name (letters, digits, '-' and '.')"
        raise InvalidInput(what, where="command line", fix="idolctl data add mine ...")
    if f"{name}_train" in LAYOUTS:
        raise InvalidInput(f"'{name}' is a built-in data set", where="command line", fix="choose another name")
    path = root / f"{name}.yaml"
    if path.exists() and not force:
        raise InvalidInput(f"{path} already exists", where=str(path), fix="--force replaces it")
    return path


def example_recipe(name: str, kind: str, *, has_val: bool, classes: int) -> str:
    """YAML text of a recipe that trains on the data set."""
    val = f"{name}_val" if has_val else f"{name}@val20-seed0_val"
    train = f"{name}_train" if has_val else f"{name}@val20-seed0_train"
    lines = [
        "extends: bases/published.yaml",
        f"model: {{num_classes: {classes}}}",
        f"data: {{train: {{name: {train}}}, val: {{name: {val}}}}}",
    ]
    return "\n".join(lines if kind == "vis" else [*lines, "# of images: run it with --steps 1,2"])


def _open(part: SideFiles, kind: str) -> Dataset:
    if not part.frames.is_dir():
        raise Missing("frames folder not found", where=str(part.frames), fix="check the path")
    if not part.annotations.is_file():
        raise Missing("annotation file not found", where=str(part.annotations), fix="check the path")
    source = DataSource(kind=kind, frames=str(part.frames), annotations=str(part.annotations))  # type: ignore[arg-type]
    with transfer(f"reading {part.annotations.name}") as reading:
        dataset = open_dataset(source, on_read=reading.update)
    first = Path(dataset.videos[0].file_names[0]) if len(dataset.videos) else None
    if first is None:
        raise Integrity("the file lists no videos or images", where=str(part.annotations), fix="give one that does")
    if not first.is_file():
        there, fix = similar_file(first), "give --frames the folder that file names in the annotations are relative to"
        what = f"the first frame of the annotations was not found: {first}"
        if there is not None:
            what, fix = f"{what}; there is {there}", missing_frame(first).fix
        raise Integrity(what, where=str(part.annotations), fix=fix)
    return dataset


def _check_classes(opened: dict[str, Dataset]) -> None:
    """Check that both sides have the same class names; their ids may differ, as training matches classes by name."""
    (first, known), *others = [(name, dataset.category_names) for name, dataset in opened.items()]
    where = " and ".join(str(d.source) for d in opened.values())
    for name, names in others:
        try:
            check_same_classes(known, names, sides=(first, name), where=where)
        except InvalidInput as error:
            what = f"different classes: {first} has {len(known)}; {name} has {len(names)}; {error.what}"
            raise Integrity(what, where=where, fix="give both the same categories") from error


def _shown(path: Path, root: Path) -> str:
    """The path relative to the root if it is below it, so that the root can be moved; else unchanged."""
    try:
        return str(path.resolve().relative_to(root.resolve()))
    except ValueError:
        return str(path.resolve())
