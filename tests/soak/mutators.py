"""Valid files changed at random: as JSON, as YAML, as bytes, as safetensors, as torch's zip archives."""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from random import Random
from typing import Any

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>quota exceeded</body></html>\n"
_WHOLE = (
    b"",
    b" ",
    b"\n",
    b"\0",
    POINTER,
    PAGE,
    b"{}",
    b"[]",
    b"null",
    b"\xef\xbb\xbf",
    b"\x1f\x8b\x08\0",
    b"PK\x03\x04",
)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 0.5, -0.0, 1e9, -1e9, 1e308, 2**31, 2**31 - 1, 2**32, 2**63,
    -(2**63), 2**64, 10**30,
    70000, "", "0", "1", "-1", "1.5", "nan", "true", "a", "\x00",
    "\x1b]0;t\x07", "../../x", "/dev/zero", "é" * 300, "0" * 5000,
    "\ud800", [], {}, [[]], [None], {"a": 1}, [0, 0, 0, 0], [1, 2], ["a"], [[0, 0, 5, 0, 5, 5]],
    {"counts": "0", "size": [1, 1]},
)  # fmt: skip
_RAW = (
    "1e400", "-1e400", "NaN", "Infinity", "1" * 5000, "[" * 20000 + "]" * 20000,
    '{"a":' * 20000 + "1" + "}" * 20000, "[" * 20000,
    "1.0", "-0", "1e-400", "00", "0x10", "+1", "'a'", '"\\ud800"', '"\\u0000"', "tru", "", "1,",
    "1 1", '"', "\\", "/**/1",
)  # fmt: skip
_MARK = "\ue000"


def change_tree(tree: Any, rng: Random) -> Any:
    """A copy of parsed JSON with one to four values, keys or elements that are otherwise."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        tree = _change_once(tree, rng)
    return tree


def _change_once(tree: Any, rng: Random) -> Any:
    holder, key = _slot(tree, rng)
    if holder is None:
        return _odd(tree, rng)
    value, kind = holder[key], rng.randrange(8)
    if kind <= 2:
        holder[key] = _odd(value, rng)
    elif kind == 3:
        del holder[key]
    elif kind == 4 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(value))
    elif kind == 4:
        holder[rng.choice((key + " ", key.upper(), "", "\x1b[2J", f"{key}.{key}", "id", "name"))] = holder.pop(key)
    elif kind == 5:
        holder[key] = rng.choice(([value], {"a": value}, str(value), repr(value)))
    elif kind == 6:
        other, name = _slot(tree, rng)
        if other is not None:
            holder[key] = copy.deepcopy(other[name])
    elif isinstance(value, list | str):
        holder[key] = rng.choice((value[: len(value) // 2], value * 2, value[::-1], value[1:]))
    else:
        holder[key] = _odd(value, rng)
    return tree


def _slot(tree: Any, rng: Random) -> tuple[Any, Any]:
    """A container and the key of one of its values, at any depth; (None, None) where there is none."""
    holder, key = None, None
    while isinstance(tree, list | dict) and tree:
        holder, key = tree, rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        tree = tree[key]
        if rng.random() < 0.25:
            break
    return holder, key


def _odd(value: Any, rng: Random) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice(
            (value + 1, value - 1, -value, value * 1000, value / 3, value + 0.5, str(value), float(value))
        )
    if rng.random() < 0.3:
        return f"{_MARK}{rng.randrange(len(_RAW))}{_MARK}"
    return rng.choice(_VALUES)


def json_text(tree: Any, rng: Random) -> bytes:
    """A changed tree as a file, now and then with a byte order mark, another encoding or text behind it."""
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.8, indent=rng.choice((None, None, 1)))
    mark = rf'"(?:\\ue000|{_MARK})(\d+)(?:\\ue000|{_MARK})"'
    text = re.sub(mark, lambda found: _RAW[int(found[1])], text)
    encoded = text.encode("utf-8", "surrogatepass")
    how = rng.randrange(30)
    if how == 0:
        return b"\xef\xbb\xbf" + encoded
    if how == 1:
        return text.encode("utf-16", "surrogatepass")
    if how == 2:
        return encoded + rng.choice((b"\0", b"x", b"\n\n", encoded))
    return encoded


def change_json(content: bytes, rng: Random) -> bytes:
    """Mostly still JSON; one time in six changed as bytes."""
    if rng.random() < 1 / 6:
        return change_bytes(content, rng)
    return json_text(change_tree(json.loads(content), rng), rng)


def change_bytes(content: bytes, rng: Random) -> bytes:
    """Bytes flipped, cut, doubled, put in; or something else in their place."""
    if rng.random() < 0.08:
        return rng.choice(_WHOLE)
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(found) + 1) if rng.random() < 0.5 else rng.randrange(min(len(found), 512) + 1)
        size = rng.choice((1, 1, 2, 4, 8, 64, 1024))
        kind = rng.randrange(6)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at : at + size]
        elif kind == 2:
            found[at:at] = found[at : at + size] * rng.choice((1, 2, 50))
        elif kind == 3:
            found[at : at + size] = rng.randbytes(size)
        elif kind == 4:
            extreme = (0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(extreme) & (256**width - 1)
            found[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))  # type: ignore[arg-type]
        elif rng.random() < 0.3:
            del found[at:]
    return bytes(found)


_YAML_VALUES = (
    "", "~", "[]", "{}",
    "[", "{", "]", ".nan", ".inf", "-.inf", "0x10", "0o17", "1_000", "1e400", "9" * 5000, "2001-01-01",
    "2001-01-01T00:00:00Z", "on", "'",
    '"', '"\\x1b[2J"', '"\\ud800"', "|", ">-", "&a 1", "*a", "&a [*a]", "&a {b: *a}", "!!binary x",
    "!!int a", "!!float a", "!!set {a}", "!!omap [a: 1]",
    "!!python/object/apply:os.system [false]", "!x y", "@", "`", "%", "\t", "- 1",
    "? a", "[1, [2, [3]]]", "[" * 3000 + "]" * 3000, "{a: " * 500 + "}" * 500, "1:30", "toy",
    "../x.yaml", "/dev/zero", "-1", "0", "1.5",
    "true", "'8'", "1e-9", "[0, 0]", "[1, a]", "{a: 1, a: 2}", "9223372036854775808", "<<",
    "!!null x", "!!bool x", "!!timestamp x",
)  # fmt: skip
_YAML_LINES = (
    "<<: *a", "a: &a {b: 1}", "---", "...", "%YAML 9.9", "%TAG ! x:", "? [1, 2]\n: 3", "1: 2",
    "null: 1", "true: 1", "- a", "extends: toy",
    "steps: {4: {}}", "steps: {3: }", "steps: []", "backbones: {x: 1}", "solver: {lr: {a: 1}}",
    "_BASE_: a.yaml", "\0", "\x1b", "#",
    "init: ''", "model: {backbone: {kind: swin}}", "model: {backbone: {kind: x}}",
    "model: {backbone: }", "inferred: 1", "about: [1]",
    "2001-01-01: 1", "1.5: a", "[a]: b", "{a: b}: c", "!!binary x: y", '"\\n": 1',
    "x: &b [&c [*b]]", "x: \u2028", "\ufeff", ":", ": :",
)  # fmt: skip


def change_yaml(content: bytes, rng: Random) -> bytes:
    """Lines put in, taken away, moved and indented otherwise, values replaced; seldom as bytes."""
    if rng.random() < 0.1:
        return change_bytes(content, rng)
    lines = content.decode().split("\n")
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        lines = lines or [""]
        at = rng.randrange(len(lines))
        line = lines[at]
        indent = line[: len(line) - len(line.lstrip())]
        kind = rng.randrange(8)
        if kind <= 3 and ":" in line:
            head, _, tail = line.partition(":")
            inner = [m.start() for m in re.finditer(r": ", tail)]
            if inner and rng.random() < 0.5:
                place = rng.choice(inner) + 2
                end = re.search(r"[,}\]]|$", tail[place:])
                rest = tail[place + (end.start() if end else 0) :]
                lines[at] = f"{head}:{tail[:place]}{rng.choice(_YAML_VALUES)}{rest}"
            else:
                lines[at] = f"{head}: {rng.choice(_YAML_VALUES)}"
        elif kind == 4:
            lines.insert(at, indent + rng.choice(_YAML_LINES))
        elif kind == 5:
            lines[at] = rng.choice((" ", "  ", "\t", "")) + rng.choice((line, line.lstrip()))
        elif kind == 6:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        else:
            lines[at : at + rng.randrange(1, 4)] = [line] * rng.randrange(3)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def change_safetensors(content: bytes, rng: Random) -> bytes:
    """The header changed as JSON (its length told right, mostly), what it carries changed too; or the bytes."""
    if rng.random() < 0.3:
        return change_bytes(content, rng)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    carried = header.get("__metadata__", {})
    if carried and rng.random() < 0.6:
        key = rng.choice(list(carried))
        if rng.random() < 0.7:
            carried[key] = change_json(carried[key].encode(), rng).decode("utf-8", "replace")
        else:
            header["__metadata__"] = change_tree(carried, rng)
    else:
        names = [name for name in header if name != "__metadata__"]
        name = rng.choice(names)
        if rng.random() < 0.5:
            header[name] = change_tree(header[name], rng)
        else:
            header = change_tree(header, rng)
    text = json_text(header, rng)
    told = (
        len(text) if rng.random() < 0.9 else rng.choice((0, 1, len(text) - 1, len(text) + 1, 2**31, 2**63, 2**64 - 1))
    )
    return told.to_bytes(8, "little") + text + content[8 + size :]


def change_archive(content: bytes, rng: Random) -> bytes:
    """A zip archive of torch with a member changed, renamed, doubled, compressed or left out; or the bytes."""
    if rng.random() < 0.3:
        return change_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    pickles = [i for i, (name, _) in enumerate(members) if name.endswith("data.pkl")]
    at = rng.choice(pickles) if pickles and rng.random() < 0.6 else rng.randrange(len(members))
    name, data = members[at]
    kind = rng.randrange(8)
    if kind <= 3:
        members[at] = name, change_bytes(data, rng)
    elif kind == 4:
        del members[at]
    elif kind == 5:
        members[at] = rng.choice(("x", "../x", name.upper(), name + "\x1b", "/x", name.replace("/", "\\"))), data
    elif kind == 6:
        members.append((rng.choice((name, "x/y", "constants.pkl")), data))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for i, (name, data) in enumerate(members):
            packed = kind == 7 and (i == at or rng.random() < 0.5)
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
    return made.getvalue()
