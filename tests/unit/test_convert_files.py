"""Weight files are read without running anything of them; damaged and hostile ones end in exit code 4."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from idol_core.build import build_model
from idol_core.errors import Integrity, InvalidInput, Missing
from idol_core.weights import convert_file, open_weights, ours_to_published, save_weights
from tests.unit.tiny import SWIN, tiny_config

CONFIG = tiny_config(backbone=SWIN)


class Call:
    """Pickles as a call of anything, as an attacker would write it."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(marker: Path) -> list[object]:
    command = f"touch {marker}"
    return [
        Call(os.system, command),
        Call(subprocess.check_call, ["touch", str(marker)]),
        Call(builtins.eval, f"open({str(marker)!r}, 'w')"),
        Call(builtins.exec, f"import os; os.system({command!r})"),
        np.array([Call(os.system, command)], dtype=object),
        OrderedDict(weight=Call(open, str(marker), "w")),
    ]


def write_pkl(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))


def write_old_pth(path: Path, content: object) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_pth(path: Path, content: object) -> None:
    torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "write"), [("a.pkl", write_pkl), ("a.pth", write_pth), ("b.pt", write_old_pth), ("c.pth", write_pkl)]
)
@pytest.mark.parametrize("attack", range(6))
def test_a_hostile_file_runs_nothing(name: str, write, attack: int, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / name
    write(path, {"model": {"weight": attacks(marker)[attack]}})
    with pytest.raises(Integrity) as caught:
        open_weights(path)
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.where
    assert name == "c.pth" or "it asks for" in caught.value.what  # torch gives up earlier on a bare pickle
    assert "weights_only" not in caught.value.what  # torch's advice is to run the file all the same
    assert not marker.exists()


def test_the_same_attack_would_work_on_a_plain_unpickler(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pickle.load(io.BytesIO(pickle.dumps(attacks(marker)[0])))
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_detectron2_pickles_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    arrays = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "n": np.array(7),
        "f": np.ones((2, 2)).T,
        "e": np.zeros(0),
    }
    content = {"model": OrderedDict(arrays), "__author__": "somebody", "matching_heuristics": True}
    (tmp_path / "r50.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    state = open_weights(tmp_path / "r50.pkl").state
    assert state.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(state[name].numpy(), array)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One good file of each format, with the same weights."""
    state = build_model(CONFIG).state_dict()
    paths = {kind: tmp_path / f"good.{kind}" for kind in ("safetensors", "pth", "pt", "pkl")}
    save_weights(paths["safetensors"], state, {"recipe": "{}"})
    torch.save({"model": state, "iteration": 3, "scheduler": {"last_lr": np.float64(0.1)}}, paths["pth"])
    torch.save(state, paths["pt"], _use_new_zipfile_serialization=False)
    write_pkl(paths["pkl"], {"model": {name: tensor.numpy() for name, tensor in state.items()}})
    return paths


def test_all_formats_hold_the_same(files: dict[str, Path]) -> None:
    first = open_weights(files["safetensors"])
    assert first.metadata == {"recipe": "{}"}
    for path in files.values():
        state = open_weights(path).state
        assert state.keys() == first.state.keys()
        assert all(torch.equal(tensor, first.state[name]) for name, tensor in state.items())


@pytest.mark.parametrize("kind", ["safetensors", "pth", "pt", "pkl"])
def test_a_damaged_file_is_an_integrity_error(kind: str, files: dict[str, Path]) -> None:
    path = files[kind]
    good = path.read_bytes()
    for bad in (good[: len(good) // 2], good[:10], b"", b"<!DOCTYPE html><html>quota exceeded</html>", bytes(5000)):
        path.write_bytes(bad)
        with pytest.raises(Integrity) as caught:
            open_weights(path)
        assert caught.value.exit_code == 4


def test_a_flipped_bit_in_a_zip_is_noticed(files: dict[str, Path]) -> None:
    content = bytearray(files["pth"].read_bytes())
    content[len(content) // 2] ^= 1
    files["pth"].write_bytes(content)
    with pytest.raises(Integrity, match="checksum"):
        open_weights(files["pth"])


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"w": "text"}}, {"model": {3: torch.zeros(1)}}])
def test_no_weights_in_it(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(Integrity):
        open_weights(tmp_path / "a.pth")


def test_missing_file_and_unknown_ending(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        open_weights(tmp_path / "a.pth")
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(InvalidInput):
        open_weights(tmp_path / "a.onnx")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        save_weights(tmp_path / ("x" * 300 + ".safetensors"), {"w": torch.zeros(3)}, {})
    assert list(tmp_path.iterdir()) == []


def test_convert_there_and_back(files: dict[str, Path], tmp_path: Path) -> None:
    count = len(open_weights(files["safetensors"]).state)
    report = convert_file(files["safetensors"], "vnext", tmp_path / "theirs.pth")
    assert (len(report.mapped), report.missing, report.unexpected) == (count, (), ())
    assert report.config.num_classes == CONFIG.num_classes
    assert report.config.backbone.window == SWIN.window
    theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)["model"]
    assert "detr.detr.backbone.0.backbone.layers.0.blocks.1.attn.relative_position_index" in theirs
    first, second = (theirs[f"detr.detr.{part}bbox_embed.0.layers.2.bias"] for part in ("", "transformer.decoder."))
    assert first.data_ptr() == second.data_ptr()

    report = convert_file(tmp_path / "theirs.pth", "idolctl", tmp_path / "ours.safetensors")
    assert (len(report.mapped), report.missing, report.unexpected) == (count, (), ())
    back, original = (open_weights(path).state for path in (tmp_path / "ours.safetensors", files["safetensors"]))
    assert back.keys() == original.keys()
    assert all(torch.equal(tensor, original[name]) for name, tensor in back.items())


def test_converting_our_own_keeps_the_recipe(files: dict[str, Path], tmp_path: Path) -> None:
    convert_file(files["safetensors"], "idolctl", tmp_path / "copy.safetensors")
    assert open_weights(tmp_path / "copy.safetensors").metadata == {"recipe": "{}"}


def test_missing_tensors_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    state = ours_to_published(build_model(CONFIG).state_dict(), CONFIG)
    del state["detr.controller.layers.1.bias"]
    torch.save(state | {"detr.extra": torch.zeros(2)}, tmp_path / "a.pth")
    report = convert_file(tmp_path / "a.pth", "idolctl", tmp_path / "b.safetensors")
    assert report.missing == ("mask_head.controller.layers.1.bias",)
    assert report.unexpected == ("detr.extra",)
    assert not (tmp_path / "b.safetensors").exists()


def test_copies_and_tables_must_agree(tmp_path: Path) -> None:
    state = ours_to_published(build_model(CONFIG).state_dict(), CONFIG)
    for key in (
        "detr.detr.bbox_embed.1.layers.0.weight",
        "detr.detr.backbone.0.backbone.layers.1.blocks.0.attn.relative_position_index",
    ):
        torch.save(state | {key: state[key] + 1}, tmp_path / "a.pth")
        with pytest.raises(Integrity, match=r"copies|bias table"):
            convert_file(tmp_path / "a.pth", "idolctl", tmp_path / "b.safetensors")


def test_only_the_right_ending_and_only_whole_models(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"writes \.pth files"):
        convert_file(files["pth"], "vnext", tmp_path / "a.safetensors")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "backbone.pth")
    with pytest.raises(InvalidInput, match="not an IDOL model"):
        convert_file(tmp_path / "backbone.pth", "idolctl", tmp_path / "a.safetensors")
