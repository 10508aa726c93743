"""Read the metadata of an OpenVINO model (.xml) without OpenVINO.

OpenVINO's converter keeps the metadata of an ONNX file as <net><rt_info><framework><KEY value="TEXT"/>.
"""

from __future__ import annotations

import xml.parsers.expat
from pathlib import Path

PLACE = ("net", "rt_info", "framework")


def openvino_metadata(path: Path) -> dict[str, str]:
    """The metadata of an OpenVINO model. Raises ValueError if it isn't one, OSError if it can't be read."""
    found: dict[str, str] = {}
    inside: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if not inside and name != PLACE[0]:
            raise ValueError("it is no OpenVINO model")
        if tuple(inside) == PLACE:
            found[name] = attributes.get("value", "")
        inside.append(name)

    def refuse(*_: object) -> None:
        raise ValueError("it is no OpenVINO model")

    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: inside.pop()
    parser.StartDoctypeDeclHandler = refuse  # no entities, which could grow without end
    try:
        with open(path, "rb") as file:
            parser.ParseFile(file)
    except xml.parsers.expat.ExpatError as error:
        raise ValueError(f"it is no OpenVINO model, or cut short: {error}") from error
    return found
