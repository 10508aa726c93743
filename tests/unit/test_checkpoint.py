"""Checkpoints: the last few are kept, a damaged newest one is passed over, nothing half-written stays."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import torch

from idol_core.engine.checkpoint import list_checkpoints, load_newest, save_checkpoint


def _save(folder: Path, iteration: int, keep: int = 2) -> Path:
    return save_checkpoint(folder, iteration, {"model": {"w": torch.full((4096,), float(iteration))}}, keep=keep)


def test_keeps_the_newest(tmp_path):
    for iteration in (10, 20, 30):
        _save(tmp_path, iteration)
    assert [path.stem for path in list_checkpoints(tmp_path)] == ["00000020", "00000030"]
    state = load_newest(tmp_path, warn=lambda text: None)
    assert state is not None
    assert state["iteration"] == 30
    assert torch.equal(state["model"]["w"], torch.full((4096,), 30.0))


def test_falls_back_from_a_truncated_or_flipped_file(tmp_path):
    heard: list[str] = []
    _save(tmp_path, 10, keep=3)
    flipped, cut = _save(tmp_path, 20, keep=3), _save(tmp_path, 30, keep=3)
    content = bytearray(flipped.read_bytes())
    spot = content.find(torch.full((4,), 20.0).numpy().tobytes())
    content[spot + 5] ^= 0xFF
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:1000])
    state = load_newest(tmp_path, warn=heard.append)
    assert state is not None
    assert state["iteration"] == 10
    assert len(heard) == 2
    assert "00000030.pt" in heard[0]


def test_no_checkpoint(tmp_path):
    assert load_newest(tmp_path, warn=lambda text: None) is None


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
