"""Large JSON files, read piece by piece: the same as json.loads gives, and every fault told with its place."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idol_core.data.annotations import json_stream
from idol_core.data.annotations.json_stream import JsonStream, json_list
from idol_core.errors import Integrity

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
_ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig"])
_VALUES = st.recursive(
    _SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=3), v, max_size=3)
)


@pytest.fixture
def small_pieces(monkeypatch):
    """The window sees a few bytes at a time, so that everything is cut somewhere."""
    monkeypatch.setattr(json_stream, "_PIECE", 7)


def elements(data: bytes):
    return list(json_list(io.BytesIO(data), "results"))


@given(
    st.lists(_VALUES, max_size=5), st.sampled_from([None, 1]), st.booleans(), st.sampled_from(["utf-8", "utf-8-sig"])
)
def test_a_list_comes_as_json_loads_has_it(values, indent, ascii_only, encoding):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_PIECE", 7)
        text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
        assert elements(text.encode(encoding, "surrogatepass" if not ascii_only else "strict")) == values


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_an_object_gives_its_large_list_when_the_rest_is_known(tmp_path, small_pieces, order):
    parts = {"a": [{"id": n, "text": "ü" * n} for n in range(9)], "b": {"x": [1, 2]}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({key: parts[key] for key in order}, ensure_ascii=False, indent=1), "utf-8-sig")
    document, found = JsonStream(path), []
    for element in document.walk("a", after={"b"}):
        assert document.value("b") == parts["b"]
        found.append(element)
    assert found == parts["a"]


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        (b'{"a": [1, 2', "the file ends", ":1:12"),
        (b'{"a": [1,\n 2,]}', "Expecting value|trailing comma", ":2:"),
        (b'{"b": 1} {"a": 2}', "extra text after the end", ":1:10"),
        (b'{"b": 1]', "',' or '}' expected", ":1:8"),
        (b"{'a': 1}", "'\"' expected", ":1:2"),
        (b'{"a": [1]', "the file ends", ":1:10"),
        (b'{"a": "\xff"}', "not UTF-8 text", "byte 7"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16", "byte 0"),
        (b"[" * 100_000 + b"]" * 100_000, "'{' expected", ":1:1"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply", ":1:7"),
        (b'{"a": [' + b'{"a":' * 100_000, "nested too deeply", ":1:8"),
        (b'{"a": [' + b"1" * 5000 + b"]}", "a number has thousands of digits", ":1:8"),
        (b'{"a": {"b": 1}}', "`a` is not a list", ""),
        (b'{"a": "\n"}', "Invalid control character", ":1:8"),
        (b"", "the file is empty", ""),
        (b"  ", "the file is empty", ""),
        (b"\0\0\0\0", "'{' expected", ":1:1"),
    ],
)
def test_what_is_no_such_object_is_told_with_its_place(tmp_path, text, said, place):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(Integrity, match=said) as caught:
        list(JsonStream(path).walk("a", after=set()))
    assert caught.value.where.startswith(f"{path}{place}" if place.startswith(":") else str(path))
    assert place in caught.value.where


def test_lines_are_counted_across_pieces(tmp_path, small_pieces):
    path = tmp_path / "a.json"
    path.write_text('{"a": [\n' + "1234567890,\n" * 50 + "oops]}")
    with pytest.raises(Integrity) as caught:
        list(JsonStream(path).walk("a", after=set()))
    assert caught.value.where == f"{path}:52:1"


def test_the_entry_of_a_list_is_told():
    with pytest.raises(Integrity) as caught:
        elements(b'[{"a": 1}, {"a": 2}, {"a" 3}]')
    assert caught.value.where == "results:1:27, entry 2"


def test_memory_does_not_follow_the_file(tmp_path):
    """A list of 40 MB goes through a window of a few."""
    import tracemalloc

    path = tmp_path / "a.json"
    with path.open("w") as file:
        file.write('{"a": [' + ",".join(f'"{"x" * 10_000}"' for _ in range(4000)) + "]}")
    tracemalloc.start()
    assert sum(len(text) for text in JsonStream(path).walk("a", after=set())) == 40_000_000
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
