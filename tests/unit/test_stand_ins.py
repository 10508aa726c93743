"""Files that stand in another's place, and weights that would take more than they are: each named for what it is."""

from __future__ import annotations

import io
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
import torch

from idol_core.errors import Integrity
from idol_core.metadata import file_metadata
from idol_core.system.stand_ins import refuse_stand_in
from idol_core.weights import open_weights

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 200000000\n"
PAGE = b"\xef\xbb\xbf\n <!DOCTYPE HTML><html><title>Sign in</title></html>"


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin", "w.pkl"])
def test_an_empty_file_a_pointer_or_a_web_page_is_named_as_such(name, tmp_path):
    path = tmp_path / name
    kinds = (
        (b"", "empty", "download it again"),
        (b"\n", "empty", "download it again"),
        (POINTER, "Git LFS pointer", "git lfs pull"),
        (PAGE, "web page", "download it again"),
    )
    for content, said, fix in kinds:
        path.write_bytes(content)
        for read in (open_weights, file_metadata) if name == "w.safetensors" else (open_weights,):
            with pytest.raises(Integrity, match=said) as caught:
                read(path)
        assert (caught.value.where, fix in caught.value.fix) == (str(path), True)


def test_other_files_pass(tmp_path):
    for content in (b"{}", b"[]", b"version 2", b"\x00\x00", b"<htmx"):
        (tmp_path / "f").write_bytes(content)
        refuse_stand_in(tmp_path / "f")


def _archive(tmp_path, how):
    made = io.BytesIO()
    torch.save({"w": torch.zeros(1 << 16)}, made)
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member), how)
    return path


def test_compressed_members_are_refused(tmp_path):
    assert open_weights(_archive(tmp_path, zipfile.ZIP_STORED)).state["w"].shape == (1 << 16,)
    with pytest.raises(Integrity, match="compressed, which torch never writes"):
        open_weights(_archive(tmp_path, zipfile.ZIP_DEFLATED))


def test_members_that_share_their_bytes_are_refused(tmp_path):
    path = _archive(tmp_path, zipfile.ZIP_STORED)
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    entries, size, start = struct.unpack("<HII", content[end + 10 : end + 20])
    directory = content[start : start + size]
    more = struct.pack("<HHII", 20 * entries, 20 * entries, 20 * size, start)
    path.write_bytes(content[:start] + 20 * directory + content[end : end + 8] + more + content[end + 20 :])
    with pytest.raises(Integrity, match=r"overlap|can't be read"):
        open_weights(path)


def test_a_pickle_that_asks_for_room_is_refused_at_once(tmp_path):
    path = tmp_path / "w.pkl"
    with open(path, "wb") as file:
        pickle.dump({"model": {"w": np.zeros(3, np.float32)}}, file, protocol=2)
    assert open_weights(path).state["w"].tolist() == [0, 0, 0]
    path.write_bytes(b"\x80\x02}r" + struct.pack("<I", 2**31) + b".")  # LONG_BINPUT: 32 GB of places
    started = time.process_time()
    with pytest.raises(Integrity, match="as number 2147483648 after"):
        open_weights(path)
    assert time.process_time() - started < 5
