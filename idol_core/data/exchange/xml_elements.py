"""Stream the children of an XML file's root element; document types and entities are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element
from xml.parsers import expat

from idol_core.data.annotations.fields import as_integer, shown
from idol_core.data.annotations.json_stream import open_json
from idol_core.errors import Integrity

_PIECE = 1 << 20  # bytes read at a time
_DEEPEST = 32  # levels of nesting
_MEND = "export the file again from the tool that made it"


def root_children(path: Path) -> Iterator[tuple[Element, int]]:
    """Yield each child of the root element, complete, and the line that it begins in; only one is in memory at a time.

    Raises:
        Missing: no such file.
        Integrity: not XML, cut short, nested too deeply, or it declares a document type (which could expand a few
            bytes to gigabytes, or name other files); `where` has the line.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    stack: list[Element] = []
    lines: list[int] = []
    ready: list[tuple[Element, int]] = []

    def refuse(*_: object) -> None:
        what = "the file declares a document type or entities, which label files have no use for"
        raise Integrity(what, where=f"{path}:{parser.CurrentLineNumber}", fix="remove the <!DOCTYPE ...> part")

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) >= _DEEPEST:
            raise Integrity("nested too deeply", where=f"{path}:{parser.CurrentLineNumber}", fix=_MEND)
        element = Element(name, attributes)
        if len(stack) > 1:
            stack[-1].append(element)
        stack.append(element)
        lines.append(parser.CurrentLineNumber)

    def end(_: str) -> None:
        element, line = stack.pop(), lines.pop()
        if len(stack) == 1:
            ready.append((element, line))

    def text(data: str) -> None:
        if len(stack) > 1 and not len(stack[-1]):
            stack[-1].text = (stack[-1].text or "") + data

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    with open_json(path) as file:
        while True:
            piece = file.read(_PIECE)
            try:
                parser.Parse(piece, not piece)
            except expat.ExpatError as error:
                what = f"not XML: {expat.errors.messages.get(error.code, error)}"
                raise Integrity(what, where=f"{path}:{error.lineno}:{error.offset + 1}", fix=_MEND) from None
            except (LookupError, ValueError) as error:
                raise Integrity(f"not XML: {error}", where=str(path), fix=_MEND) from None
            yield from ready
            ready.clear()
            if not piece:
                return


def root_name(path: Path) -> str | None:
    """Name of the root element; None if the file's beginning is no XML."""
    found: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: found.append(name)
    try:
        with open(path, "rb") as file:
            parser.Parse(file.read(4096), False)
    except (OSError, expat.ExpatError, LookupError, ValueError):
        pass
    return found[0] if found else None


def attribute(element: Element, key: str) -> str:
    """An attribute's text. Raises ValueError if the element has none of that name."""
    value = element.get(key)
    if value is None:
        raise ValueError(f"attribute '{key}' of <{element.tag}> is missing")
    return value


def whole_attribute(element: Element, key: str) -> int:
    """An attribute that is an integer. Raises ValueError for anything else."""
    value = as_integer(attribute(element, key).strip())
    if value is None:
        raise ValueError(f"{key} {shown(element.get(key))} of <{element.tag}> is no integer")
    return value


def whole_child(element: Element, key: str) -> int:
    """The integer in a child element. Raises ValueError for anything else."""
    text = element.findtext(key)
    value = as_integer((text or "").strip())
    if value is None:
        raise ValueError(f"<{key}> {shown(text)} of <{element.tag}> is no integer")
    return value
