"""Which format an annotation file is in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import ijson

from idol_core.errors import Integrity, Missing


def annotation_kind(path: Path) -> Literal["coco", "vis"]:
    """vis where the file lists videos, coco where it lists images; read up to the first of these keys only.

    Raises Missing where there is no such file, Integrity where it is no JSON or has neither.
    """
    try:
        with open(path, "rb") as file:
            for prefix, event, value in ijson.parse(file, use_float=True):
                if not prefix and event == "map_key" and value in ("videos", "images"):
                    return "vis" if value == "videos" else "coco"
    except FileNotFoundError as error:
        raise Missing("annotation file not found", where=str(path), fix="check the path") from error
    except (OSError, ijson.JSONError, UnicodeDecodeError) as error:
        raise Integrity(f"not readable as JSON: {error}", where=str(path), fix="make or download it again") from error
    raise Integrity("the file lists neither videos nor images", where=str(path),
                    fix="give a YouTube-VIS or COCO instances file")  # fmt: skip
