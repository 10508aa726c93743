"""Weights and splits from a Hugging Face hub: a loopback server that redirects to another host, as the hub does."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import urllib.request
import zipfile

import pytest
import torch

from idol_core.build import build_model
from idol_core.config import ModelConfig, ResNetConfig
from idol_core.errors import Integrity, InvalidInput, NetworkError
from idol_core.system import download as downloading
from idol_core.system.cache import weights_path
from idol_core.system.hub import HubCopy, HubPlace, ask_hub, hub_file
from idol_core.weights import ours_to_published
from idolctl.zoo.entries import load_zoo
from idolctl.zoo.metadata import require_fit
from tests.cli.conftest import blocks
from tests.hub import running_hub
from tests.unit.tiny import tiny_config

REPOSITORY = "QHL067/VNext_ECCV"
NAME = f"{REPOSITORY}/IDOL/OVIS_R50_294AP.pth"
BODY = bytes(range(256)) * 400


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(downloading, "PAUSE", 0.01)
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.delenv("IDOLCTL_MIRROR", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name in ("https_proxy", "HTTPS_PROXY"):  # Drive is out of reach
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def bring(hub, part, **how):
    hub.files["a/b/w.bin"] = BODY
    place = HubPlace.parse("hf:a/b@main/w.bin")
    return hub_file(place, part, timeout=20, progress=lambda *_: None, **how)


def tiny_weights():
    config = tiny_config()
    content = io.BytesIO()
    torch.save({"model": ours_to_published(build_model(config).state_dict(), config)}, content)
    return content.getvalue()


def test_a_redirected_file_arrives_and_a_cut_transfer_resumes(hub, tmp_path):
    hub.faults["a/b/w.bin"] = ["503", "cut", "cut"]
    answer = bring(hub, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == BODY
    assert answer.sha256 == hashlib.sha256(BODY).hexdigest()
    asked = [r for host, _, r, _ in hub.seen if host.startswith("localhost")]
    half = len(BODY) // 2
    assert asked == [None, f"bytes={half}-", f"bytes={half + (len(BODY) - half) // 2}-"]


def test_the_token_goes_to_the_hub_only(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    bring(hub, tmp_path / "part")
    assert [(host.partition(":")[0], token) for host, _, _, token in hub.seen] == [
        ("127.0.0.1", "Bearer secret"),
        ("localhost", None),
    ]


@pytest.mark.parametrize(
    ("stated", "known"),
    [
        ((str(len(BODY)), "0" * 64), HubCopy()),  # arrives with another hash than announced
        ((str(len(BODY) - 1), ""), HubCopy()),  # ... another size
        (("", ""), HubCopy(sha256="0" * 64)),  # announces nothing, and is another file than known
        (("nonsense", '"; rm'), HubCopy(size=5)),
    ],
)
def test_another_file_than_stated_is_refused_and_not_kept(hub, tmp_path, stated, known):
    hub.stated["a/b/w.bin"] = stated
    with pytest.raises(Integrity, match="another file"):
        bring(hub, tmp_path / "part", known=known)
    assert not (tmp_path / "part").exists()


def test_a_file_that_is_announced_otherwise_than_known_is_not_even_downloaded(hub, tmp_path):
    with pytest.raises(Integrity, match="another file: bytes"):
        bring(hub, tmp_path / "part", known=HubCopy(size=1))
    assert not any(host.startswith("localhost") for host, *_ in hub.seen)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "http://[::1"])
def test_a_redirect_to_anything_but_http_is_refused(hub, tmp_path, target):
    hub.faults["a/b/w.bin"] = [target]
    with pytest.raises(NetworkError):
        bring(hub, tmp_path / "part")
    assert not (tmp_path / "part").exists()
    hub.faults["a/b/w.bin"] = [target]
    with contextlib.suppress(NetworkError):
        ask_hub(HubPlace.parse("hf:a/b@main/w.bin"), timeout=20)


@pytest.mark.parametrize(
    "text", ["hf:a", "hf:a/../b", "hf:../a/b", "hf:a/b/../c", "hf:a/b//c", "hf:a/b@/x", "hf:a/b?x=1", "hf:a b/c"]
)
def test_a_place_that_could_leave_its_folder_or_address_is_refused(text):
    with pytest.raises(InvalidInput):
        HubPlace.parse(text)


def test_weights_come_from_the_hub_when_drive_does_not_answer(hub, call, monkeypatch):
    entry = load_zoo().find("ovis-r50")
    known = HubCopy()  # the real file's size and hash do not fit a tiny model
    monkeypatch.setitem(entry.__dict__, "hub", known)
    monkeypatch.setattr("idolctl.commands.fetch.load_zoo", lambda: type("Z", (), {"find": lambda _, name: entry})())
    monkeypatch.setitem(downloading.retry.__kwdefaults__, "retries", 0)
    hub.files[NAME] = tiny_weights()
    code, out, err = call("fetch", "ovis-r50")
    assert code == 0, err
    assert weights_path("ovis-r50").suffix == ".safetensors"
    assert f"hf:{REPOSITORY}@" in out
    assert "nobody has compared its files" in err


def test_the_known_hash_of_the_zoo_is_checked_before_the_first_byte(hub, call):
    hub.files[NAME] = b"other bytes"
    code, _, err = call("fetch", "ovis-r50", "--source", "hf")
    assert code == 4
    assert "172791667 is stated" in blocks(err)[-1]["error"]
    assert not any(host.startswith("localhost") for host, *_ in hub.seen)


def test_step_1_is_taken_only_from_a_model_of_step_1():
    entry = load_zoo().find("r50-step1")
    step1 = ModelConfig(backbone=ResNetConfig(), num_classes=80, embedding=False)
    require_fit(entry, step1)
    for wrong, said in (
        (ModelConfig(backbone=ResNetConfig(), num_classes=80, embedding=True), "embedding head is yes"),
        (ModelConfig(backbone=ResNetConfig(), num_classes=91, embedding=False), "classes is 91"),
        (ModelConfig(backbone=ResNetConfig(blocks=(3, 4, 23, 3)), num_classes=80, embedding=False), "ResNet-101"),
    ):
        with pytest.raises(Integrity, match=said):
            require_fit(entry, wrong)


def zipped(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


def test_the_oracle_split_of_youtube_vis_is_unpacked_from_its_zips(hub, call, tmp_path):
    place = f"{REPOSITORY}/IDOL/oracle_split/ytvis"
    document = json.dumps({"videos": [], "annotations": [], "categories": []})
    hub.files[f"{place}_train_mysplit.json.zip"] = zipped({"../../evil.json": document, "__MACOSX/x.json": "no"})
    hub.files[f"{place}_val_mysplit.json.zip"] = zipped({"a.json": document})
    code, out, err = call("split", "fetch", "ytvis19@oracle")
    assert code == 0, err
    assert (tmp_path / "root/ytvis_2019/ytvis_sub_train.json").read_text() == document
    assert sorted(p.name for p in tmp_path.rglob("*.json")).count("evil.json") == 0
    assert "Next: idolctl split verify ytvis19@oracle" in out


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 cut", zipped({"a.json": "{}", "b.json": "{}"}), zipped({"readme": "x"}), b""]
)
def test_a_zip_that_is_none_or_holds_another_number_of_files_is_refused(hub, call, content, tmp_path):
    for side in ("train", "val"):
        hub.files[f"{REPOSITORY}/IDOL/oracle_split/ytvis_{side}_mysplit.json.zip"] = content
    code, _, err = call("split", "fetch", "ytvis19@oracle")
    assert code == 4, err
    assert not list(tmp_path.rglob("*.json"))
    assert not list(tmp_path.rglob("*.zip"))
