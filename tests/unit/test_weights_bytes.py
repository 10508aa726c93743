"""One content of a weights file, one sequence of bytes."""

from __future__ import annotations

import json

import safetensors
import torch

from idol_core.weights import open_weights, save_weights

STATE = {
    "b": torch.arange(6.0).reshape(2, 3),
    "a": torch.tensor([1, 2]),
    "c": torch.zeros(0),
    "d": torch.ones(3).half(),
    "e": torch.tensor(2.5).bfloat16(),
}
METADATA = {f"key {i}": f'värde {i} \n\t" \\ \x7f \u2028 \U0001f600' for i in range(30)} | {
    "recipe": json.dumps({"a": 1})
}


def test_the_same_tensors_and_metadata_are_the_same_bytes(tmp_path):
    made = []
    for turn in range(5):
        keys = list(METADATA) if turn % 2 else list(reversed(METADATA))
        save_weights(tmp_path / f"{turn}.safetensors", STATE, {key: METADATA[key] for key in keys})
        made.append((tmp_path / f"{turn}.safetensors").read_bytes())
    assert len(set(made)) == 1


def test_what_is_written_is_read_by_the_library(tmp_path):
    for metadata in (METADATA, {}):
        save_weights(tmp_path / "w.safetensors", STATE, metadata)
        state, read = open_weights(tmp_path / "w.safetensors")
        assert read == metadata
        assert state.keys() == STATE.keys()
        assert all(torch.equal(state[name], STATE[name]) and state[name].dtype == STATE[name].dtype for name in STATE)
    with safetensors.safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(STATE)
    content = (tmp_path / "w.safetensors").read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0


def test_weights_that_were_read_do_not_follow_the_file(tmp_path):
    file = tmp_path / "w.safetensors"
    save_weights(file, STATE, {})
    state, _ = open_weights(file)
    file.write_bytes(bytes(file.stat().st_size))
    assert all(torch.equal(state[name], tensor) for name, tensor in STATE.items())
