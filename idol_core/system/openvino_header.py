"""Read the metadata of an OpenVINO model (.xml) without OpenVINO.

OpenVINO's converter keeps the metadata of an ONNX file as <net><rt_info><framework><KEY value="TEXT"/>.
"""

from __future__ import annotations

import hashlib
import re
import xml.parsers.expat
from pathlib import Path

from idol_core.system.files import sha256_of

PLACE = ("net", "rt_info", "framework")
WEIGHTS_HASH = "weights_sha256"  # key of the hash of the .bin file that belongs to the model
_SEAL = re.compile(rb'<xml_sha256 value="(\w*)"/>')  # hash of the .xml file without this element


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


def seal_openvino(path: Path) -> None:
    """Add the hashes of the .bin file and of the file itself to the metadata of a model that was just written."""
    before, end, after = path.read_bytes().rpartition(f"</{PLACE[-1]}>".encode())
    weights = f'<{WEIGHTS_HASH} value="{sha256_of(path.with_suffix(".bin"))}"/>'.encode()
    digest = hashlib.sha256(before + weights + end + after).hexdigest()
    path.write_bytes(before + weights + f'<xml_sha256 value="{digest}"/>'.encode() + end + after)


def openvino_is_sealed(path: Path) -> bool:
    """Whether an .xml file is still as `seal_openvino` left it."""
    content = path.read_bytes()
    found = _SEAL.findall(content)
    return found == [hashlib.sha256(_SEAL.sub(b"", content)).hexdigest().encode()]
