"""Mirrors, servers and a cache that hold something else than they should: refused with the right exit code."""

from __future__ import annotations

import http.server
import os
import threading
import urllib.request

import pytest
import torch

from idol_core.system import download as downloading
from idolctl.app import main
from idolctl.zoo.entries import load_zoo
from tests.cli.conftest import blocks
from tests.unit.test_stand_ins import PAGE, POINTER

NAME = "swinl-imagenet22k"  # an entry without a published hash whose content is not looked into


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IDOLCTL_MIRROR", raising=False)
    monkeypatch.setattr(downloading, "PAUSE", 0.01)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers proxies
    for name in ("https_proxy", "HTTPS_PROXY"):  # the zoo's own sources are out of reach
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def fetch(cache, capsys):
    def run(name, mirror):
        code = main(
            ["fetch", name, "--mirror", str(mirror), "--timeout", "5", *([] if "://" in str(mirror) else ["--offline"])]
        )
        told = blocks(capsys.readouterr().err)
        left = [p.name for p in cache.rglob("*") if p.is_file() and "lock" not in p.name]
        return code, told[0] if told else {}, left

    return run


@pytest.mark.parametrize(
    ("content", "code", "said"), [(POINTER, 4, "Git LFS pointer"), (PAGE, 5, "web page"), (b"", 4, "empty")]
)
def test_a_pointer_or_web_page_in_place_of_weights_is_named_and_not_kept(content, code, said, tmp_path, fetch):
    (tmp_path / f"{NAME}.pth").write_bytes(content)
    found, told, left = fetch(NAME, tmp_path)
    assert (found, said in told["error"], left) == (code, True, [])
    assert told["where"] == str(tmp_path / f"{NAME}.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [(POINTER, "Git LFS pointer"), (PAGE, "web page"), (b"", "empty"), (b"[]", "not an annotation")],
)
def test_a_pointer_or_web_page_in_place_of_annotations_is_refused_too(content, said, tmp_path, fetch):
    folder = load_zoo().find("oracle_split")
    (tmp_path / folder.name).mkdir()
    for name in folder.files:
        (tmp_path / folder.name / name).write_bytes(content)
    code, told, left = fetch(folder.name, tmp_path)
    assert (code, said in told["error"], left) == (4, True, [])


def test_a_mirror_folder_gives_what_was_asked_for_and_regular_files_only(tmp_path, fetch, cache):
    folder = load_zoo().find("oracle_split")
    place = tmp_path / folder.name / "annotations"
    place.mkdir(parents=True)
    for name in folder.files:
        (place / name).write_text('{"videos": []}')
    (tmp_path / folder.name / "endless.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / folder.name / "pipe.json")
    (tmp_path / folder.name / "other.json").write_text("{}")
    assert fetch(folder.name, tmp_path)[0] == 0
    assert sorted(p.name for p in (cache / folder.name).iterdir()) == sorted(folder.files)


@pytest.mark.parametrize("kind", ["endless", "pipe"])
def test_pipes_and_endless_files_in_a_mirror_are_refused(kind, tmp_path, fetch):
    folder = load_zoo().find("oracle_split")
    (tmp_path / folder.name).mkdir()
    for name in folder.files:
        if kind == "pipe":
            os.mkfifo(tmp_path / folder.name / name)
        else:
            (tmp_path / folder.name / name).symlink_to("/dev/zero")
    code, told, left = fetch(folder.name, tmp_path)
    assert (code, told["error"], left) == (4, "not a regular file", [])


@pytest.mark.parametrize(
    "pins",
    ["[]", "{", '{"a": 1}', '{"a": {}}', '{"a": {"sha256": 5}}', '{"a": {"sha256": "zz"}}', "[" * 100_000, "\x00"],
)
def test_a_malformed_pins_file_is_an_integrity_error(pins, tmp_path, fetch, cache):
    cache.mkdir()
    (cache / "pins.json").write_text(pins)
    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(3)}}, tmp_path / f"{NAME}.pth")
    code, told, left = fetch(NAME, tmp_path)
    assert (code, told["where"].endswith("pins.json") or "pins" in told["error"], left) == (4, True, ["pins.json"])
    assert (cache / "pins.json").read_text() == pins


class _Odd(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        length = self.path.strip("/").partition("/")[0].replace("_", " ")
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(b"x" * 100)


@pytest.mark.parametrize("length", ["abc", "-5", "5,_5", "1e3", "9" * 30, "0x10"])
def test_an_odd_content_length_is_a_network_error(length, fetch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code, told, left = fetch(NAME, f"http://127.0.0.1:{server.server_port}/{length}")
        server.shutdown()
    assert (code, left) == (5, [])
    assert "announces a file of" in told["error"]


@pytest.mark.parametrize(
    "mirror", ["file:///etc", "ftp://127.0.0.1/x", "http://", "http://127.0.0.1/ü", "http://a b", "x://\x1b"]
)
def test_an_invalid_mirror_address_is_refused_before_any_request(mirror, fetch):
    code, told, _ = fetch(NAME, mirror)
    assert (code, told["where"]) == (2, "--mirror")
