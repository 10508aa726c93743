"""Checkpoints: the last few are kept, an unusable newest one is passed over, nothing half-written stays."""

import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from idol_core.config import SolverConfig
from idol_core.engine.checkpoint import load_newest, save_checkpoint, set_aside
from idol_core.engine.optim import full_state, make_optimizers
from idol_core.engine.stage_files import list_checkpoints, newest_iteration


def _trained() -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64))
    optimizers = make_optimizers(model, SolverConfig(optimizer="muon"))
    model(torch.ones(2, 64)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    return model, optimizers


MODEL, OPTIMIZERS = _trained()
SCALER = {"scale": 2.0, "_growth_tracker": 0}
LIKE = {"model": MODEL.state_dict(), "optimizers": [full_state(o) for o in OPTIMIZERS], "scaler": SCALER}


def _state(value: float) -> dict:
    """A checkpoint whose first weight says which one it is."""
    model = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
    model["0.weight"].fill_(value)
    return {"model": model, "optimizers": [o.state_dict() for o in OPTIMIZERS], "scaler": SCALER}


def _save(folder: Path, iteration: int, keep: int = 2) -> Path:
    return save_checkpoint(folder, iteration, _state(iteration), keep=keep)


def _load(folder: Path):
    """The iteration of the checkpoint that is taken, those passed over, and what was said of them."""
    heard: list[str] = []
    state, unusable = load_newest(folder, like=LIKE, warn=heard.append)
    if state is not None:
        assert torch.equal(state["model"]["0.weight"], torch.full((64, 64), float(state["iteration"])))
    return state and state["iteration"], [path.name for path in unusable], heard


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for iteration in (10, 20, 30):
        _save(tmp_path, iteration)
    assert [path.stem for path in list_checkpoints(tmp_path)] == ["00000020", "00000030"]
    assert _load(tmp_path) == (30, [], [])


def test_the_newest_has_the_highest_number_and_other_files_are_ignored(tmp_path):
    for name in ("00000009.pt", "100000000.pt", "99999999.pt", "²³.pt", "best.pt", ".00000200.pt.1.part.pt"):
        (tmp_path / name).write_bytes(b"")
    assert newest_iteration(tmp_path) == 100_000_000
    assert [path.name for path in list_checkpoints(tmp_path)] == ["00000009.pt", "99999999.pt", "100000000.pt"]


def test_falls_back_from_a_truncated_or_flipped_file(tmp_path):
    _save(tmp_path, 10, keep=3)
    flipped, cut = _save(tmp_path, 20, keep=3), _save(tmp_path, 30, keep=3)
    content = bytearray(flipped.read_bytes())
    spot = content.find(torch.full((4,), 20.0).numpy().tobytes())
    content[spot + 5] ^= 0xFF
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:1000])
    taken, unusable, heard = _load(tmp_path)
    assert taken == 10
    assert unusable == ["00000030.pt", "00000020.pt"]
    assert "00000030.pt is damaged" in heard[0]
    assert "bad checksum" in heard[1]


def _zip_directory(path: Path) -> None:
    """One byte of an entry's name in the archive's directory."""
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\1\2") + 48] ^= 0xFF
    path.write_bytes(content)


def _zip_method(path: Path) -> None:
    """A way of compression that nobody knows."""
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\1\2") + 10] = 77
    path.write_bytes(content)


def _compressed(path: Path) -> None:
    with zipfile.ZipFile(path) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _content(value: object):
    return lambda path: torch.save(value, path)


def _changed(change):
    """A whole checkpoint in which something is another."""

    def damage(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return damage


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "zip directory": _zip_directory,
    "zip method": _zip_method,
    "compressed": _compressed,
    "folder": _folder,
    "a list": _content([1, 2]),
    "a tensor": _content(torch.zeros(3)),
    "a hostile pickle": _content(os.getcwd),
    "empty dict": _content({}),
    "no iteration": _changed(lambda s: s.pop("iteration")),
    "iteration is text": _changed(lambda s: s.update(iteration="30")),
    "iteration below 0": _changed(lambda s: s.update(iteration=-1)),
    "no model": _changed(lambda s: s.pop("model")),
    "model is a list": _changed(lambda s: s.update(model=[1])),
    "a key too few": _changed(lambda s: s["model"].popitem()),
    "a key too many": _changed(lambda s: s["model"].update(more=torch.zeros(1))),
    "another shape": _changed(lambda s: s["model"].update({"0.bias": torch.zeros(65)})),
    "another type": _changed(lambda s: s["model"].update({"0.bias": torch.zeros(64, dtype=torch.int64)})),
    "no tensor": _changed(lambda s: s["model"].update({"0.bias": "x"})),
    "an optimiser too few": _changed(lambda s: s["optimizers"].pop()),
    "optimisers as text": _changed(lambda s: s.update(optimizers="ab")),
    "other groups": _changed(lambda s: s["optimizers"][0]["param_groups"].pop()),
    "other parameters": _changed(lambda s: s["optimizers"][0]["param_groups"][0].update(params=[7])),
    "a moment too few": _changed(lambda s: s["optimizers"][0]["state"][0].pop("exp_avg")),
    "a moment of another shape": _changed(lambda s: s["optimizers"][1]["state"][0].update(momentum=torch.zeros(2))),
    "state as a list": _changed(lambda s: s["optimizers"][0].update(state=[])),
    "state of a stranger": _changed(lambda s: s["optimizers"][0]["state"].update({99: {}})),
    "scaler lacks a key": _changed(lambda s: s["scaler"].pop("scale")),
    "scaler is none": _changed(lambda s: s.update(scaler=None)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_an_unusable_newest_checkpoint_is_skipped_with_a_warning(tmp_path, damage):
    _save(tmp_path, 10)
    damage(_save(tmp_path, 20))
    taken, unusable, heard = _load(tmp_path)
    assert (taken, unusable) == (10, ["00000020.pt"])
    (warning,) = heard
    assert "00000020.pt is damaged (" in warning
    assert warning.endswith("falling back to the one before")
    assert len(warning) < 600
    assert "\n" not in warning


def test_if_no_checkpoint_is_usable_all_are_set_aside_with_a_warning(tmp_path):
    for iteration in (10, 20):
        _folder(_save(tmp_path, iteration))
    (tmp_path / "00000010.pt.damaged").write_text("of an earlier time")
    taken, unusable, heard = _load(tmp_path)
    assert (taken, len(unusable)) == (None, 2)
    assert heard[1].endswith("starting the stage over")
    set_aside([tmp_path / name for name in unusable])
    assert newest_iteration(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 3
    assert _save(tmp_path, 20).is_file()


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert _load(tmp_path) == (None, [], [])


def test_a_file_size_limit_raises_oserror_and_leaves_the_last_one(tmp_path):
    _save(tmp_path, 10)
    code = (
        "import sys; from pathlib import Path; import torch\n"
        "from idol_core.engine.checkpoint import save_checkpoint\n"
        "try: save_checkpoint(Path(sys.argv[1]), 20, {'model': {'w': torch.zeros(1_000_000)}}, keep=2)\n"
        "except OSError as error: print('OSError', error.errno)\n"
    )
    limit = 200_000
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        check=True,
    )
    assert done.stdout.startswith("OSError 27")
    assert [path.name for path in tmp_path.iterdir()] == ["00000010.pt"]
