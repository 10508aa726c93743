"""Weights over real HTTP on loopback: what comes through, what resumes, what is refused, and what two processes do."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save

from idol_core.errors import IdolError, Integrity, NetworkError
from idol_core.system import download as downloading
from idol_core.system.cache import weights_path
from idol_core.system.download import download
from idol_core.system.files import sha256_of
from idol_core.system.partial_files import private_part
from idolctl.app import main
from idolctl.zoo.entries import load_zoo
from tests.cli.conftest import CHECKOUT, blocks
from tests.processes import Started

NAME = "swinl-imagenet22k"  # an entry without a published hash whose content is not looked into
PAGE = b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>"


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `faults` maps a path to what goes wrong with its next requests, one after another."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.ranges = True
        self.given_up = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Range"]))
        faults = self.server.faults.get(self.path, [])
        fault = faults.pop(0) if faults else ""
        body = self.server.files.get(self.path)
        if body is None or fault.isdigit():
            self.send_error(int(fault or 404))
            return
        start = int(re.match(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[1]) if self.server.ranges else 0
        if start and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Type", "text/html" if fault == "html" else "application/octet-stream")
        self.send_header("Content-Length", str(10**15 if fault == "huge" else len(body) - start))
        self.end_headers()
        content = body[start:]
        with contextlib.suppress(ConnectionError):
            if fault == "cut":
                content = content[: len(content) // 2]
            if fault == "slow":
                self.wfile.write(content[:1000])
                self.wfile.flush()
                self.server.given_up.wait(60)
                return
            self.wfile.write(content)
        if fault in ("cut", "huge"):
            self.close_connection = True


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.given_up.set()
        running.shutdown()


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "made.pth"
    torch.save({"model": {"patch_embed.proj.weight": torch.arange(300_000.0)}}, path)
    return path.read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDOLCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IDOLCTL_MIRROR", raising=False)
    monkeypatch.setattr(downloading, "PAUSE", 0.01)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers proxies
    for name in ("https_proxy", "HTTPS_PROXY"):  # the zoo's own sources are out of reach, with or without a network
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def fetch(server, capsys):
    """`idolctl fetch NAME --mirror SERVER` in this process: exit code, stdout, errors."""

    def run(*args, name=NAME, mirror=True):
        code = main(["fetch", name, *(["--mirror", server.url] if mirror else []), "--timeout", "60", *map(str, args)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def left_over(cache):
    return [p.name for p in (cache / "weights").glob("*") if not p.name.endswith(".lock")]


def test_a_file_is_fetched_once_pinned_and_converted(server, weights, cache, fetch):
    server.files[f"/{NAME}.pth"] = weights
    code, out, err = fetch()
    assert code == 0, err
    assert "trusted on first use" in err
    assert f"{NAME}.safetensors" in out
    assert "Next: idolctl run ytvis19 --backbone swinl --steps 1,2,3" in out
    assert sorted(left_over(cache)) == [f"{NAME}.pth", f"{NAME}.safetensors"]
    assert (cache / "weights" / f"{NAME}.pth").read_bytes() == weights
    kept = load_file(weights_path(NAME))
    assert torch.equal(kept["patch_embed.proj.weight"], torch.arange(300_000.0))
    assert json.loads((cache / "pins.json").read_text())[NAME]["sha256"] == sha256_of(cache / "weights" / f"{NAME}.pth")
    requests = len(server.seen)
    assert fetch()[0] == 0
    assert len(server.seen) == requests
    assert fetch("--verify", mirror=False)[0] == 0


def test_a_cut_connection_resumes_where_it_was_cut(server, weights, cache, fetch):
    server.files[f"/{NAME}.pth"] = weights
    server.faults[f"/{NAME}.pth"] = ["cut", "503", "cut"]
    assert fetch()[0] == 0
    assert (cache / "weights" / f"{NAME}.pth").read_bytes() == weights
    asked = [int(r.removeprefix("bytes=").removesuffix("-")) for _, r in server.seen if r]
    assert len(asked) == 3
    assert asked[0] == asked[1] == len(weights) // 2 < asked[2]


def test_a_server_without_ranges_sends_it_all_again(server, weights, tmp_path, cache):
    server.ranges = False
    server.files["/f"] = weights
    server.faults["/f"] = ["cut"]
    download(f"{server.url}/f", tmp_path / "part", timeout=60, progress=lambda *_: None)
    assert (tmp_path / "part").read_bytes() == weights


def test_a_partial_file_longer_than_the_file_is_discarded(server, weights, tmp_path, cache):
    server.files["/f"] = weights
    (tmp_path / "part").write_bytes(weights + b"more")
    download(f"{server.url}/f", tmp_path / "part", timeout=60, progress=lambda *_: None)
    assert (tmp_path / "part").read_bytes() == weights


def test_the_partial_file_of_a_dead_process_is_taken_over_that_of_a_living_one_is_not(tmp_path):
    final = tmp_path / "a-b.pth"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = private_part(final, "here")
    left = Path(str(mine).replace(f"-{os.getpid()}.part", f"-{dead.pid}.part"))
    left.write_bytes(b"half")
    assert private_part(final, "elsewhere") != mine
    assert left.exists()
    assert private_part(final, "here").read_bytes() == b"half"
    assert not left.exists()
    living = Path(str(mine).replace(f"-{os.getpid()}.part", f"-{os.getppid()}.part"))
    mine.replace(living)
    assert not private_part(final, "here").exists()
    assert living.exists()


def test_a_slow_server_is_given_up_and_the_partial_file_is_kept(server, weights, tmp_path, cache):
    server.files["/f"] = weights
    server.faults["/f"] = ["slow", "slow"]
    with pytest.raises(NetworkError, match="failed 2 times"):
        download(f"{server.url}/f", tmp_path / "part", timeout=2, progress=lambda *_: None, retries=1)
    assert (tmp_path / "part").stat().st_size == 2000
    download(f"{server.url}/f", tmp_path / "part", timeout=60, progress=lambda *_: None)
    assert (tmp_path / "part").read_bytes() == weights


def test_a_truncated_body_is_never_taken_for_the_file(server, weights, cache, fetch, monkeypatch):
    server.files[f"/{NAME}.pth"] = weights
    server.faults[f"/{NAME}.pth"] = ["cut"] * 50
    monkeypatch.setitem(downloading.download.__kwdefaults__, "retries", 2)
    code, _, err = fetch()
    assert code == 5
    assert "closed after" in err
    assert not (cache / "weights" / f"{NAME}.pth").exists()


def test_404_then_the_next_mirror(server, weights, cache, tmp_path, fetch):
    code, _, err = fetch("--offline")
    assert (code, blocks(err)[0]["where"]) == (3, str(cache))
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / f"{NAME}.pth").write_bytes(weights)
    assert fetch("--mirror", folder)[0] == 0
    assert [path for path, _ in server.seen] == [f"/{NAME}.pth", f"/{NAME}.safetensors"]


def test_mirror_from_the_environment_and_offline(weights, cache, tmp_path, fetch, monkeypatch):
    folder = tmp_path / "mirror"
    (folder / "oracle_split").mkdir(parents=True)
    (folder / f"{NAME}.pth").write_bytes(weights)
    for side in ("train", "val"):
        (folder / "oracle_split" / f"ovis_sub_{side}.json").write_text("{}")
    monkeypatch.setenv("IDOLCTL_MIRROR", str(folder))
    assert fetch("--offline", mirror=False)[0] == 0
    assert fetch("--offline", mirror=False, name="oracle_split")[0] == 0
    assert (cache / "oracle_split" / "ovis_sub_val.json").read_text() == "{}"
    assert fetch("--verify", mirror=False, name="oracle_split")[0] == 0
    (cache / "oracle_split" / "ovis_sub_val.json").write_text('{"other": 1}')
    assert fetch("--verify", mirror=False, name="oracle_split")[0] == 4


def test_a_mirror_folder_that_lacks_the_file_or_is_not_there(cache, tmp_path, fetch):
    code, _, err = fetch("--mirror", tmp_path / "nowhere", mirror=False)
    assert (code, blocks(err)[0]["where"]) == (2, "--mirror")
    (tmp_path / "mirror").mkdir()
    code, _, err = fetch("--mirror", tmp_path / "mirror", "--offline", mirror=False)
    assert code == 3
    assert f"{tmp_path}/mirror has no {NAME}.pth" in err


def test_a_folder_over_http(server, cache, fetch):
    for name in ("ovis_sub_train.json", "ovis_sub_val.json"):
        server.files[f"/oracle_split/{name}"] = b'{"videos": []}'
    assert fetch(name="oracle_split")[0] == 0
    assert len(list((cache / "oracle_split").iterdir())) == 2


@pytest.mark.parametrize("fault", ["html", ""])
def test_a_web_page_is_not_taken_for_the_file(server, cache, fetch, fault):
    server.files[f"/{NAME}.pth"] = server.files[f"/{NAME}.safetensors"] = PAGE
    server.faults[f"/{NAME}.pth"] = [fault]
    code, _, err = fetch()
    assert code == 5
    assert "web page" in err or "quota" in err
    assert not [name for name in left_over(cache) if not name.startswith(".")]


def test_another_hash_than_pinned_is_refused_and_nothing_kept(server, weights, cache, fetch):
    server.files[f"/{NAME}.pth"] = weights
    assert fetch()[0] == 0
    shutil.rmtree(cache / "weights")
    server.files[f"/{NAME}.pth"] = weights[:-1] + b"x"
    code, _, err = fetch()
    assert code == 4
    assert "is pinned" in blocks(err)[-1]["error"]
    assert left_over(cache) == []
    server.files[f"/{NAME}.pth"] = weights
    assert fetch()[0] == 0
    for ending in (".safetensors", ".pth"):
        (cache / "weights" / f"{NAME}{ending}").write_bytes(b"rotten")
        code, _, err = fetch("--verify", mirror=False)
        assert (code, f"{NAME}{ending} has sha256" in blocks(err)[0]["error"]) == (4, True)


def test_a_publishers_hash_is_checked_the_first_time(server, weights, cache, fetch):
    server.files["/r50-imagenet.pth"] = weights
    code, _, err = fetch(name="r50-imagenet")
    assert (code, left_over(cache)) == (4, [])
    assert "0676ba61" in err


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.system, (f"touch {self.target}",))


def test_safetensors_of_a_mirror_are_opened_too(server, weights, cache, fetch):
    server.files[f"/{NAME}.safetensors"] = save({"patch_embed.proj.weight": torch.arange(300_000.0)})
    assert fetch()[0] == 0
    assert left_over(cache) == [f"{NAME}.safetensors"]
    assert fetch("--verify", mirror=False)[0] == 0
    shutil.rmtree(cache)
    server.files[f"/{NAME}.safetensors"] = b"no tensors at all"
    code, _, err = fetch()
    assert (code, left_over(cache)) == (4, [])
    assert blocks(err)[-1]["where"] == f"{server.url}/{NAME}.safetensors"


@pytest.mark.parametrize("dump", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_malicious_pickle_runs_nothing(server, cache, fetch, tmp_path, dump):
    dump({"model": Hostile(tmp_path / "pwned")}, tmp_path / "evil.pth")
    server.files[f"/{NAME}.pth"] = (tmp_path / "evil.pth").read_bytes()
    code, _, err = fetch()
    assert code == 4, err
    assert "not loaded" in blocks(err)[-1]["error"]
    assert not (tmp_path / "pwned").exists()
    assert left_over(cache) == []


def test_a_damaged_file_is_refused(server, weights, cache, fetch):
    server.files[f"/{NAME}.pth"] = weights[: len(weights) // 2]
    assert fetch()[0] == 4
    assert left_over(cache) == []


def test_too_little_disk_is_reported_before_anything_is_written(server, weights, tmp_path, cache):
    server.files["/f"] = weights
    server.faults["/f"] = ["huge"]
    with pytest.raises(IdolError, match="are needed") as caught:
        download(f"{server.url}/f", tmp_path / "part", timeout=60, progress=lambda *_: None)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "part").exists()


def _in_child(prepare, argv, environment):
    """Run the command in a fork after `prepare()`: another user, a file-size limit. Returns exit code and stderr."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.dup2(said.fileno(), 2)
                sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
                os.environ.update(environment)
                prepare()
                code = main(argv)
                sys.stderr.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read()


def test_a_full_disk(server, weights, cache):
    server.files[f"/{NAME}.pth"] = weights

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    code, err = _in_child(limit, ["fetch", NAME, "--mirror", server.url], {})
    assert code == 1, err
    assert "no room to write" in blocks(err)[-1]["error"]
    assert blocks(err)[-1]["where"] == str(cache / "weights")
    assert left_over(cache) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_read_only_cache(server, weights):
    server.files[f"/{NAME}.pth"] = weights
    home = Path(tempfile.mkdtemp())
    try:
        home.chmod(0o755)

        def become_nobody():
            os.chdir(home)
            os.setgid(65534)
            os.setuid(65534)

        argv = ["fetch", NAME, "--mirror", server.url]
        code, err = _in_child(become_nobody, argv, {"IDOLCTL_CACHE": str(home / "cache")})
        assert code == 1, err
        assert "no access" in blocks(err)[-1]["error"]
        assert "Traceback" not in err
        (home / "cache" / "weights").mkdir(parents=True)
        (home / "cache" / "weights" / f"{NAME}.safetensors").write_bytes(b"")
        assert _in_child(become_nobody, argv, {"IDOLCTL_CACHE": str(home / "cache")})[0] == 0  # it is there
    finally:
        shutil.rmtree(home)


def test_two_processes_fetch_once(server, weights, cache):
    (cache / "weights").mkdir(parents=True)
    server.files[f"/{NAME}.pth"] = weights
    command = ["fetch", NAME, "--mirror", server.url]
    with FileLock(cache / "weights" / f".{NAME}.lock"):
        racing = [Started(command, CHECKOUT, os.environ) for _ in range(2)]
        while not all("another process is fetching it" in process.stderr_so_far() for process in racing):
            assert all(process.poll() is None for process in racing), [process.communicate() for process in racing]
            time.sleep(0.01)
    said = [process.communicate(timeout=120)[0] for process in racing]
    assert [process.returncode for process in racing] == [0, 0]
    assert len(server.seen) == 1
    assert sum("there already" in text for text in said) == 1


def test_never_published_unknown_and_listed(cache, fetch, capsys):
    code, _, err = fetch(name="r101-step1", mirror=False)
    assert (code, blocks(err)[0]["fix"]) == (3, "idolctl run ytvis19 --backbone r101 --steps 1")
    code, _, err = fetch(name="r50-step123", mirror=False)
    assert (code, blocks(err)[0]["fix"]) == (2, "did you mean 'r50-step12'?")
    assert main(["fetch", "--all", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "ovis-swinl  from drive:1XXr5bx3CEwyurQvO4B8XMn2t6awYodGw" in told
    assert "r101-step1 " not in told
    assert main(["fetch", "ovis-swinl", "--dry-run", "--source", "hf"]) == 0
    assert capsys.readouterr().out.startswith("ovis-swinl  from hf:QHL067/VNext_ECCV@")
    assert main(["ls", "zoo", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["zoo"]}
    assert rows["ytvis19-r50-b"]["scores"]["AP"] == 50.2
    assert rows["ytvis19-r50"]["log"] == "drive:16jqwbEzSkY-qcVZYYJeZ2vj8-Mffm30T"
    assert rows["r101-step1"]["trained_by"] == "idolctl run ytvis19 --backbone r101 --steps 1"
    assert rows["swinl-step12"]["hash"] == "unpinned"
    assert main(["ls", "zoo"]) == 0
    told = capsys.readouterr().out
    assert "never published" in told
    assert "r50-step1 is probable, not certain" in told


def test_a_zoo_with_a_mistake_is_refused(tmp_path):
    (tmp_path / "zoo.yaml").write_text("weights: {a: {kind: pretrained, backbone: r50, stepz: 1}}\nfolders: {}\n")
    with pytest.raises(IdolError) as caught:
        load_zoo(tmp_path / "zoo.yaml")
    assert caught.value.exit_code == 2
    assert "stepz" in caught.value.where
    assert len({e.name for e in load_zoo().weights}) == 18


def test_converted_weights_are_checked_against_the_model(server, weights, cache, fetch):
    """An entry that must be a whole IDOL model is not taken from a file that is none."""
    server.files["/ytvis19-r50.pth"] = weights
    code, _, _ = fetch(name="ytvis19-r50")
    assert code == Integrity.exit_code
    assert left_over(cache) == []
