"""The optional dependencies of pyproject.toml: which packages each brings, and what they are good for here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from idol_core.errors import Missing


@dataclass(frozen=True)
class Extra:
    """One extra: `pip install 'idolctl[NAME]'`."""

    packages: tuple[str, ...]  # as PyPI names them, and Python imports them
    adds: str


EXTRAS = {
    "tensorboard": Extra(("tensorboard",), "curves of every run in TensorBoard, in the run's folder"),
    "wandb": Extra(("wandb",), "run --log wandb"),
    "mlflow": Extra(("mlflow",), "run --log mlflow"),
    "trackio": Extra(("trackio",), "run --log trackio"),
    "hub": Extra(("huggingface_hub",), "publish --to hf:USER/NAME"),
    "tables": Extra(("pandas",), "tracks as a pandas table"),
    "supervision": Extra(("supervision",), "frames as supervision's Detections"),
    "fiftyone": Extra(("fiftyone",), "tracks as a FiftyOne data set"),
    "timm": Extra(("timm",), "backbones of timm"),
    "export": Extra(("onnx", "onnxscript", "onnxruntime"), "idolctl export, and running what it wrote"),
    "openvino": Extra(("onnx", "onnxscript", "openvino"), "idolctl export --to openvino, and running what it wrote"),
    "slurm": Extra(("submitit",), "run --launcher slurm"),
    "detectron2": Extra(("detectron2", "torchvision"), "IDOL as a detectron2 model (idol_core.detectron2)"),
}


def version_of(package: str) -> str | None:
    """Installed version of a package; None if it is not installed. Nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def lacking(extra: str) -> list[str]:
    """Packages of an extra that are not installed."""
    return [package for package in EXTRAS[extra].packages if find_spec(package) is None]


def describe_extra(extra: str) -> str:
    """One line: the versions that are installed, or what to install, and what it adds."""
    absent = lacking(extra)
    versions = " ".join(f"{package} {version_of(package)}" for package in EXTRAS[extra].packages)
    state = f"pip install 'idolctl[{extra}]'" if absent else versions
    return f"{'not here' if absent else 'here'}: {EXTRAS[extra].adds} ({state})"


def require_extra(extra: str, *, where: str) -> None:
    """Raise Missing (exit 3), with the command that installs it, if an extra is not installed."""
    if absent := lacking(extra):
        what = f"{EXTRAS[extra].adds} needs the package {', '.join(absent)}, which is not installed"
        raise Missing(what, where=where, fix=f"pip install 'idolctl[{extra}]'")
