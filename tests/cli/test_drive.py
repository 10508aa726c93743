"""Google Drive's answers through gdown, from a proxy on loopback that speaks for its hosts over TLS."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import urllib.parse

import pytest
import torch
from safetensors.torch import load_file

from idol_core.build import build_model
from idol_core.errors import IdolError, NetworkError
from idol_core.system import download as downloading
from idol_core.system.cache import weights_path
from idol_core.weights import ours_to_published
from idolctl.app import main
from idolctl.zoo.drive import drive_file
from idolctl.zoo.entries import load_zoo
from tests.cli.conftest import blocks
from tests.unit.tiny import tiny_config

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the proxy's certificate")
QUOTA = '<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>'
FILE = "1CalS2qLNm1MRlNdWkKhAKvS4CyM7vHTv"  # ovis-r50


class Drive(http.server.ThreadingHTTPServer):
    """Serves `files` by id and `pages` by path; `faults` tells what goes wrong with the next requests of an id."""

    daemon_threads = True

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), Handler)
        self.context = context
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, str] = {}
        self.faults: dict[str, list[str]] = {}
        self.ranges: list[str | None] = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self):
        path, _, query = self.path.partition("?")
        number = urllib.parse.parse_qs(query).get("id", [""])[0]
        faults = self.server.faults.get(number, [])
        fault = faults.pop(0) if faults else ""
        body = self.server.files.get(number)
        if path in self.server.pages or body is None:
            self._page(self.server.pages.get(path, QUOTA))
            return
        self.server.ranges.append(self.headers["Range"])
        start = int(re.match(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[1])
        start = 0 if fault == "whole" else start
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Disposition", 'attachment; filename="model.pth"')
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(10**15 if fault == "huge" else len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : len(body) // 2] if fault == "cut" else body[start:])
        self.close_connection = fault != ""

    def _page(self, text):
        content = f"<html><title>oracle_split</title>{text}</html>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate of Drive's hosts, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "drive.pem"
    names = "subjectAltName=DNS:drive.google.com,DNS:drive.usercontent.google.com,DNS:docs.google.com"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=drive.google.com", "-addext", names, "-keyout", path, "-out", path]
    key = path.with_suffix(".key")
    command[command.index(path)] = key
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(key.read_text() + path.read_text())
    return path


@pytest.fixture
def drive(certificate, tmp_path, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(downloading, "PAUSE", 0.01)
    for name in ("no_proxy", "NO_PROXY", "IDOLCTL_MIRROR", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Drive(context) as running:
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{running.server_port}")
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def fetch(capsys):
    def run(name, *options):
        code = main(["fetch", name, "--timeout", "60", *options])
        return code, capsys.readouterr().err

    return run


def bring(tmp_path, seen=None):
    drive_file(FILE, tmp_path / "part.pth", timeout=60, progress=lambda *told: seen is not None and seen.append(told))


def test_a_published_checkpoint_is_downloaded_and_converted(drive, fetch, tmp_path):
    model = build_model(tiny_config(num_classes=25)).state_dict()
    torch.save({"model": ours_to_published(model, tiny_config(num_classes=25))}, tmp_path / "model.pth")
    drive.files[FILE] = (tmp_path / "model.pth").read_bytes()
    code, err = fetch("ovis-r50")
    assert code == 0, err
    assert "ovis-r50  " in err
    assert "trusted on first use" in err
    kept = load_file(weights_path("ovis-r50"))
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.items())
    assert fetch("ovis-r50", "--verify")[0] == 0
    weights_path("ovis-r50").write_bytes(b"other")
    code, err = fetch("ovis-r50", "--verify")
    assert (code, "ovis-r50.safetensors has" in blocks(err)[0]["error"]) == (4, True)


def test_a_cut_transfer_resumes_where_it_was_cut(drive, tmp_path):
    drive.files[FILE] = body = os.urandom(1 << 21)
    drive.faults[FILE] = ["cut"]
    seen = []
    bring(tmp_path, seen)
    assert (tmp_path / "part.pth").read_bytes() == body
    assert drive.ranges == [None, None, f"bytes={len(body) // 2}-"]  # gdown asks for the name first
    assert seen[-1] == (len(body), len(body))
    assert [p.name for p in tmp_path.iterdir()] == ["part.pth"]


def test_the_partial_file_of_an_earlier_process_is_completed(drive, tmp_path):
    drive.files[FILE] = body = os.urandom(1 << 21)
    drive.faults[FILE] = ["cut"] * 50
    with pytest.raises(NetworkError, match="failed 6 times"):
        bring(tmp_path)
    assert (tmp_path / "part.pth").read_bytes() == body[: len(body) // 2]
    drive.faults[FILE] = []
    bring(tmp_path)
    assert (tmp_path / "part.pth").read_bytes() == body


def test_a_partial_file_longer_than_the_download_is_discarded(drive, tmp_path):
    drive.files[FILE] = b"short"
    (tmp_path / "part.pth").write_bytes(b"much longer")
    bring(tmp_path)
    assert (tmp_path / "part.pth").read_bytes() == b"short"


def test_the_quota_page_is_told(drive, fetch, tmp_path):
    code, err = fetch("ovis-r50")
    told = blocks(err)[0]
    assert code == 5
    assert "quota for this file is used up" in told["error"]
    assert told["where"].startswith(f"drive:{FILE}; https://")
    assert "idolctl fetch ovis-r50 --mirror" in told["fix"]
    assert not list((tmp_path / "cache/weights").glob("ovis*"))


def test_too_little_disk_is_reported_at_the_first_bytes(drive, tmp_path):
    drive.files[FILE] = b"x" * (1 << 20)
    drive.faults[FILE] = ["huge"] * 2
    with pytest.raises(IdolError, match="are needed"):
        bring(tmp_path)


def test_a_folder_on_drive_is_fetched_with_its_subfolder(drive, fetch, tmp_path):
    folder = load_zoo().find("oracle_split")
    ids = {name: f"{place}" * 30 for place, name in enumerate(folder.files)}
    links = "".join(f'<a href="https://drive.google.com/file/d/{i}/view">{name}</a>' for name, i in ids.items())
    drive.pages["/embeddedfolderview"] = links
    drive.files |= {i: json.dumps({"videos": [], "name": name}).encode() for name, i in ids.items()}
    code, err = fetch("oracle_split")
    assert code == 0, err
    for name in folder.files:
        assert json.loads((tmp_path / "cache/oracle_split" / name).read_text())["name"] == name
    shutil.rmtree(tmp_path / "cache")
    drive.pages["/embeddedfolderview"] = links[: links.index("</a>") + 4]
    code, err = fetch("oracle_split")
    assert (code, "lacks ovis_sub_val.json; it holds ovis_sub_train.json" in blocks(err)[0]["error"]) == (4, True)
    assert not (tmp_path / "cache/oracle_split").exists()
