"""Options that several commands share."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from idolctl.commands import complete

BACKBONE = Annotated[
    str | None,
    typer.Option(
        help="r50, r101, swinl, tiny or a YAML file; default: the recipe's.", autocompletion=complete.backbones
    ),
]
RUNS = Annotated[Path | None, typer.Option("--runs-dir", help="Folder that contains the runs; default: runs/.")]
ROOT = Annotated[Path | None, typer.Option(help="Data root; default: $DETECTRON2_DATASETS, else datasets/.")]
CLASSES_MAP = Annotated[
    list[str] | None,
    typer.Option(
        "--classes-map",
        metavar="NAME=NAME[,...]",
        help="Match class names that differ: person=human, the weights' name first, then the data set's.",
    ),
]


class Arithmetic(StrEnum):
    """Numeric precision of matrix products and convolutions."""

    float32 = "float32"
    tf32 = "tf32"
    bf16 = "bf16"
    fp16 = "fp16"


class Source(StrEnum):
    """Where published files are."""

    hf = "hf"
    drive = "drive"


SOURCE = Annotated[
    Source | None,
    typer.Option(help="Try Hugging Face or Google Drive first; default: the zoo's order."),
]
PRECISION = Annotated[
    Arithmetic | None,
    typer.Option(help="Numeric precision of the network; default: solver.evaluation_precision, float32."),
]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]


class Overridable(TyperCommand):
    """A command that takes KEY VALUE pairs: a negative number after a KEY is its value, not an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        pairs = zip(["", *args], args[:end], strict=False)
        words = [f" {word}" if _KEY.fullmatch(key) and _NEGATIVE.match(word) else word for key, word in pairs]
        return super().parse_args(ctx, words + args[end:])  # `read_config_file` strips the space again


_KEY, _NEGATIVE = re.compile(r"[A-Z][A-Z0-9_.]*"), re.compile(r"-[.\d]")


def class_pairs(given: Sequence[str] | None) -> tuple[str, ...]:
    """Split the values of --classes-map (repeatable, comma-separated) into NAME=NAME pairs."""
    return tuple(pair for text in given or () for pair in text.split(",") if pair.strip())


def examples(*lines: str) -> str:
    """Format the examples at the end of a command's help; each works as it is written."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command that takes a dataclass of options: each field becomes an option.

    Typer reads options from the function's signature only, so the decorated function gets a signature in which the
    fields replace the dataclass parameter.
    """
    signature = inspect.signature(command, eval_str=True)
    declared = signature.parameters.items()
    name, kind = next(
        (n, p.annotation) for n, p in declared if isinstance(p.annotation, type) and is_dataclass(p.annotation)
    )
    fields = inspect.signature(kind, eval_str=True).parameters

    def spread_out(**values: Any) -> None:
        command(**{name: kind(**{field: values.pop(field) for field in fields})}, **values)

    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        parameters += fields.values() if parameter.name == name else [parameter]
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    spread_out.__signature__ = signature.replace(parameters=keyword)  # type: ignore[attr-defined]
    spread_out.__annotations__ = {p.name: p.annotation for p in keyword}
    spread_out.__name__, spread_out.__doc__ = command.__name__, command.__doc__
    return spread_out
