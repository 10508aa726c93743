"""`idolctl export`: an ONNX file with which `predict`, `eval` and a stand-alone tracker give the weights' tracks."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import sys
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock

from idol_core.backbones.swin import PatchMerging, SwinBlock, SwinStage, whole_windows
from idol_core.build import build_model
from idol_core.config import DataConfig, DataSource, InputConfig, StageConfig, SwinConfig, TrackerConfig
from idol_core.data.transforms import Geometry, resize_for_test, transform_image
from idol_core.errors import IdolError
from idol_core.export.graph import TRACED, select_rows
from idol_core.export.openvino_file import convert_to_openvino, weights_aside
from idol_core.export.proof import compare, expect, raise_if_apart
from idol_core.export.resize import Resize
from idol_core.export.torch_file import write_torch
from idol_core.inference.exported import ExportedRows, open_exported, parse_facts, wrong_rows
from idol_core.inference.prepare import evaluation_copy
from idol_core.inference.pretrained import open_pretrained
from idol_core.inference.runtimes import open_onnxruntime
from idol_core.inference.select import select_queries
from idol_core.inference.streaming import VideoSegmenter
from idol_core.metadata import file_metadata, to_metadata
from idol_core.system.files import write_aside
from idol_core.video.writer import write_video
from idol_core.weights import save_weights
from idolctl.app import main
from idolctl.signals import STOPS
from tests.cli.conftest import CHECKOUT, blocks
from tests.cli.mini import SIZE, make_mini
from tests.conftest import shared_folder
from tests.unit.tiny import tiny_config

MODEL = tiny_config(num_classes=2, encoder_layers=1, decoder_layers=1, levels=3)
TRACKER = TrackerConfig(select_threshold=0.3, batch_frames=2)
DATA = DataConfig(train=DataSource("mini_train"), val=DataSource("mini_val"))
CONFIG = StageConfig(
    "mine", "tiny", 3, model=MODEL, tracker=TRACKER, input=InputConfig(test_short_side=64), data=DATA
)  # fmt: skip


def save_random(path, model=MODEL, seed=0):
    """Random weights that see something in every frame, boxes and classes varied."""
    torch.manual_seed(seed)
    network = build_model(model)
    for head in network.decoder.class_heads:
        torch.nn.init.normal_(head.weight, std=0.5)
        torch.nn.init.constant_(head.bias, -1.0)
    for head in network.decoder.box_heads:
        torch.nn.init.normal_(head.layers[-1].weight, std=0.1)
    config = dataclasses.replace(CONFIG, model=model, step=3 if model.embedding else 1)
    save_weights(path, network.state_dict(), to_metadata(config, ("red", "green")))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with weights, and their export by the command itself."""
    folder = shared_folder(tmp_path_factory, "export")
    with FileLock(folder / ".lock"):  # exporting takes long: one process of the tests does it
        if not (folder / "tiny.onnx").exists():
            weights = save_random(folder / "tiny.safetensors")
            command = ["export", str(weights), "--to", "onnx", "--out", str(folder / "tiny.onnx"), "--size", "64x96"]
            assert main([*command, "--max-detections", "20"]) == 0
            convert_to_openvino(folder / "tiny.onnx", folder / "tiny.xml")  # all that --to openvino does beyond that
            command = ["export", str(weights), "--to", "onnx", "--out", str(folder / "whole.onnx"), "--size", "64x96"]
            assert main([*command, "--frame", "72x100", "--precision", "float16"]) == 0
    return folder


def clip(count=6, height=72, width=100):
    """A red corner at the top left, a green square that moves over a pattern."""
    y, x = np.mgrid[:height, :width]
    frames = np.stack([np.stack((x, y, x + y), -1).astype(np.uint8)] * count)
    for t, frame in enumerate(frames):
        frame[:16, :16] = (220, 20, 20)
        frame[height // 2 : height // 2 + 24, 10 + 6 * t : 34 + 6 * t] = (20, 200, 40)
    return list(frames)


def test_predict_writes_the_same_tracks(made, call, tmp_path):
    write_video(tmp_path / "clip.mp4", iter(clip()), rate=5)
    results = []
    for name in ("tiny.safetensors", "tiny.onnx", "tiny.xml"):
        weights = ("--weights", made / name, "--device", "cpu", "--threshold", "0")
        assert call("predict", "clip.mp4", *weights, "--save", "json", "--out", name)[0] == 0
        results.append(json.loads((tmp_path / name / "results.json").read_text()))
    scores = [[entry.pop("score") for entry in entries] for entries in results]
    assert len(results[0]) > 2
    for theirs, their_scores in zip(results[1:], scores[1:], strict=True):
        assert their_scores == pytest.approx(scores[0], abs=1e-6)
        assert theirs == results[0]


def test_float16_and_frames_resized_in_the_graph_give_the_same_tracks_but_for_rounding(made, call, tmp_path):
    write_video(tmp_path / "clip.mp4", iter(clip()), rate=5)
    write_video(tmp_path / "other.mp4", iter(clip(height=64)), rate=5)
    results = []
    for name in ("tiny.safetensors", "whole.onnx"):
        weights = ("--weights", made / name, "--device", "cpu", "--threshold", "0")
        assert call("predict", "clip.mp4", *weights, "--save", "json", "--out", name)[0] == 0
        results.append(json.loads((tmp_path / name / "results.json").read_text()))
    assert [entry["category_id"] for entry in results[1]] == [entry["category_id"] for entry in results[0]]
    scores = [[entry["score"] for entry in entries] for entries in results]
    assert scores[1] == pytest.approx(scores[0], abs=2e-3)
    assert scores[1] != pytest.approx(scores[0], abs=1e-6)
    kinds = Counter(weight.data_type for weight in onnx.load(made / "whole.onnx").graph.initializer)
    assert kinds[onnx.TensorProto.FLOAT16] > 20
    for options, what, fix in (
        (("other.mp4",), "a frame is 64x100, the exported graph resizes frames of 72x100 only", "--frame 64x100"),
        (("clip.mp4", "--precision", "float32"), "computes in fp16, not in float32", "leave --precision out"),
    ):
        code, _, err = call("predict", *options, "--weights", made / "whole.onnx")
        assert code == 2
        assert what in blocks(err)[0]["error"]
        assert fix in blocks(err)[0]["fix"]


def test_frames_resized_in_the_graph_have_the_very_pixels(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for size, new in (((72, 100), (64, 89)), ((60, 48), (60, 77)), ((30, 900), (20, 15)), ((131, 97), (51, 40))):
        frame = torch.randint(0, 256, (*size, 3), generator=generator, dtype=torch.uint8)
        frame[: size[0] // 2] = (frame[: size[0] // 2] > 127) * 255
        theirs = transform_image(frame.permute(2, 0, 1), Geometry(None, None, new, False))
        resize = Resize(size, new).eval()
        assert torch.equal(resize(frame).permute(2, 0, 1), theirs.float())
    torch.onnx.export(resize, (frame,), tmp_path / "resize.onnx", input_names=["frame"], verbose=False)
    (ours,) = open_onnxruntime(tmp_path / "resize.onnx").run({"frame": frame.numpy()})
    assert np.array_equal(ours, theirs.permute(1, 2, 0).numpy())


def test_both_files_of_an_openvino_model_appear_together_or_neither(tmp_path):
    out = tmp_path / "model.xml"
    for names, fails in (([], True), (["model.bin", "model.xml"], False)):
        with contextlib.suppress(ValueError), write_aside(out) as aside, weights_aside(out, aside):
            for file in (aside, aside.with_suffix(".bin")):
                file.write_text("written")
            if fails:
                raise ValueError
        assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_an_openvino_model_is_opened_with_its_own_weights_only(made, call, tmp_path):
    write_video(tmp_path / "clip.mp4", iter(clip(count=2)), rate=5)
    content = (made / "tiny.xml").read_bytes()
    assert file_metadata(made / "tiny.xml") == file_metadata(made / "tiny.onnx")
    for name, xml, weights, code, what in (
        ("alone", content, None, 3, "weights are missing"),
        ("other", content, bytes((made / "tiny.bin").stat().st_size), 4, "not the weights of the .xml"),
        ("half", content[: len(content) // 2], b"", 4, "can't be read"),
        ("text", b"no model", b"", 4, "can't be read"),
        ("foreign", b"<net><rt_info/></net>", b"", 4, "not written by idolctl export"),
    ):
        (tmp_path / f"{name}.xml").write_bytes(xml)
        if weights is not None:
            (tmp_path / f"{name}.bin").write_bytes(weights)
        found, _, err = call("predict", "clip.mp4", "--weights", f"{name}.xml")
        assert found == code, name
        assert what in blocks(err)[0]["error"]


def test_outputs_that_are_not_what_the_metadata_promises_are_refused(made):
    exported = open_exported(made / "tiny.onnx")
    frame = torch.zeros(3, *SIZE, dtype=torch.uint8)
    rows, model = exported.run(frame), exported.carried.recipe.model
    expected = {"rows": 20, "model": model, "padded": (64, 96)}
    assert wrong_rows(rows, **expected) == ""
    for changed, what in (
        ({"count": rows.count + 20}, "count is not from 0 to"),
        ({"labels": rows.labels + 2}, "labels is not from 0 to 1"),
        ({"queries": rows.queries - MODEL.queries}, "queries is not from 0 to"),
        ({"scores": rows.scores.astype(np.float64)}, "scores is float64 [20], not float32 [20]"),
        ({"mask_logits": rows.mask_logits[:, :, :8]}, "mask_logits is float32 [20, 16, 8], not float32 [20, 16, 24]"),
    ):
        assert what in wrong_rows(rows._replace(**changed), **expected)
    exported.facts = exported.facts._replace(size=None)
    with pytest.raises(IdolError, match=r"the graph does not run: .*dimensions"):
        exported.run(torch.zeros(3, 32, 32, dtype=torch.uint8))
    exported.facts = exported.facts._replace(rows=19)
    with pytest.raises(IdolError, match=r"scores is float32 \[20\], not float32 \[19\]"):
        exported.run(frame)


def test_a_file_that_was_changed_after_its_export_is_used_with_a_warning(made, tmp_path, capsys):
    for name in ("tiny.onnx", "tiny.xml"):
        content = (made / name).read_bytes()
        (tmp_path / "tiny.bin").write_bytes((made / "tiny.bin").read_bytes())
        for other, warnings in ((content, 0), (content.replace(b"green", b"brown"), 1)):
            (tmp_path / name).write_bytes(other)
            open_exported(tmp_path / name)
            assert capsys.readouterr().err.count("was changed after idolctl export compared it") == warnings


def test_embeddings_that_are_not_finite_are_an_error(made, tmp_path):
    model = onnx.load(made / "tiny.onnx")
    (bias,) = [one for one in model.graph.initializer if one.name.endswith("embed_head.layers.2.bias")]
    bias.raw_data = np.full(list(bias.dims), np.nan, np.float32).tobytes()
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(IdolError, match="not finite"):
        open_exported(tmp_path / "nan.onnx").detect([torch.zeros(3, *SIZE, dtype=torch.uint8)])


def test_a_file_of_torch_export_says_what_it_is_and_is_not_opened_by_predict(made, call, tmp_path):
    write_video(tmp_path / "clip.mp4", iter(clip(count=2)), rate=5)
    code, _, err = call("export", made / "tiny.safetensors", "--to", "torch", "--out", "tiny.pt2", "--size", "64x96")
    assert code == 0, err
    with zipfile.ZipFile(tmp_path / "tiny.pt2") as archive:  # the export itself has opened and run it
        extra = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if "/extra/" in name}
    facts, carried = parse_facts(extra, tmp_path / "tiny.pt2")
    assert facts == open_exported(made / "tiny.onnx").facts._replace(opset=None, rows=MODEL.queries)
    assert carried == file_metadata(made / "tiny.onnx")
    code, _, err = call("predict", "clip.mp4", "--weights", "tiny.pt2")
    assert code == 2
    assert "AOTInductor" in blocks(err)[0]["error"]


def test_eval_gives_the_same_scores(made, call, tmp_path):
    make_mini(tmp_path, videos=1)
    sets = ("--frames", "frames", "--annotations", "videos.json", "--val-annotations", "videos.json")
    assert call("data", "add", "mini", *sets)[0] == 0
    scores = []
    for name in ("tiny.safetensors", "tiny.onnx"):
        code, out, err = call("eval", made / name, "--data", "mini", "--json", "--device", "cpu")
        assert code == 0, err
        scores.append({key: value for key, value in json.loads(out).items() if key not in ("name", "results")})
    assert scores[0] == scores[1]
    code, _, err = call("eval", made / "tiny.onnx", "--data", "mini", "--set", "tracker.box_nms=.5")
    assert code == 2
    assert "tracker.box_nms is 0.9 in the exported graph" in blocks(err)[0]["error"]


def test_the_stand_alone_tracker_gives_the_same_identities(made):
    place = CHECKOUT / "examples" / "onnx_tracker.py"
    spec = importlib.util.spec_from_file_location("onnx_tracker", place)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    segmenter = VideoSegmenter.from_pretrained(made / "tiny.safetensors")
    frames = [resize_for_test(frame, segmenter.input).permute(1, 2, 0).numpy() for frame in clip(count=12)]
    expected = Counter()
    for found in segmenter.stream(frames):
        expected.update((found.frame, number) for number in found.track_ids.tolist())
    assert len({number for _, number in expected}) > 2
    for model, given in (("tiny.onnx", frames), ("whole.onnx", clip(count=12))):
        rows = list(example.track_clip(str(made / model), np.stack(given)))
        found = Counter((frame, number) for frame, number, *_ in rows)
        assert found == expected or (model == "whole.onnx" and (found & expected).total() > 0.9 * expected.total())


def test_the_graph_has_standard_operators_only_and_says_what_it_is(made):
    model = onnx.load(made / "tiny.onnx")
    onnx.checker.check_model(model)
    operators = {node.op_type for node in model.graph.node}
    assert "GridSample" not in operators
    assert {node.domain for node in model.graph.node} == {""}
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18)]
    assert [output.name for output in model.graph.output] == list(ExportedRows._fields)
    carried = file_metadata(made / "tiny.onnx")
    assert carried.classes == ("red", "green")
    assert (carried.recipe.model, carried.recipe.tracker) == (MODEL, TRACKER)
    assert (carried.recipe.input.test_short_side, carried.recipe.input.test_max_size) == (64, 96)
    assert open_exported(made / "tiny.onnx").facts.size == (64, 96)


def test_a_file_that_computes_something_else_is_refused(made):
    exported = open_exported(made / "tiny.onnx")
    model, recipe, _ = open_pretrained(made / "tiny.safetensors")
    cpu = torch.device("cpu")
    raise_if_apart(compare(exported, expect(evaluation_copy(model, cpu), recipe, sizes=[(64, 96)])), where="")
    with torch.no_grad():
        model.embed_head.layers[-1].bias[0] += 1e-3
    with pytest.raises(IdolError, match=r"embeddings are 0\.001 apart"):
        raise_if_apart(compare(exported, expect(evaluation_copy(model, cpu), recipe, sizes=[(64, 96)])), where="")


def test_selection_with_fixed_rows_is_the_selection_of_every_frame():
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        centres = torch.rand(4, 4, generator=generator) * 0.3 + 0.3
        boxes = centres[torch.randint(4, (40,), generator=generator)] + 0.02 * torch.rand(40, 4, generator=generator)
        logits = torch.randn(40, 2, generator=generator).round(decimals=1) - seed  # equal scores; in the end, none
        expected = select_queries(logits, boxes, min_score=0.3, box_nms=0.9)
        query, selected = select_rows(logits.sigmoid(), boxes, min_score=0.3, box_nms=0.9, rows=40)
        assert query[: int(selected)].tolist() == expected.tolist()
        assert sorted(query.tolist()) == list(range(40))


def test_the_example_frame_of_dynamic_sizes_has_several_windows_of_swin_in_all_maps_and_equal_sides_nowhere():
    sides = [
        side // stride for side in TRACED for stride in (4, 8, 16, 32)
    ]  # one window would be traced as a fixed one
    windows = [whole_windows(side, SwinConfig().window) // SwinConfig().window for side in sides]
    assert min(windows) > 1
    assert len(set(sides)) == len(set(windows)) == len(sides)


@torch.inference_mode()
def test_one_graph_of_swin_serves_maps_of_all_sizes():
    torch.manual_seed(0)
    blocks = [SwinBlock(dim=8, heads=2, window=3, shift=shift, drop_path=0.0) for shift in (0, 1)]
    stage = SwinStage(blocks, PatchMerging(8), checkpoint=False).eval()
    for parameter in stage.parameters():
        torch.nn.init.normal_(parameter)
    sides = {axis: 2 * torch.export.Dim(name, min=1, max=99) for axis, name in enumerate("hw", start=1)}
    graph = torch.export.export(stage, (torch.zeros(1, 10, 14, 8),), dynamic_shapes=(sides,)).module()
    for size in ((12, 6), (4, 20)):  # without padding to whole windows, and with
        cells = torch.randn(1, *size, 8)
        for ours, theirs in zip(graph(cells), stage(cells), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_frames_that_the_graph_cannot_take_are_refused_and_those_padded_further_are_told(made, capsys):
    exported = open_exported(made / "tiny.onnx")
    with pytest.raises(IdolError, match="does not fit the exported graph's 64x96"):
        exported.detect([torch.zeros(3, 96, 64, dtype=torch.uint8)])
    assert len(exported.detect([torch.zeros(3, *SIZE, dtype=torch.uint8)])[0].scores) > 0
    assert capsys.readouterr().err == ""
    exported.detect([torch.zeros(3, 64, 50, dtype=torch.uint8)] * 2)
    (warning,) = capsys.readouterr().err.splitlines()
    assert "frames of 64x50 are padded to the exported graph's 64x96" in warning
    assert warning.endswith("export with --size 64x64")


@pytest.mark.parametrize(
    ("options", "code", "what", "fix"),
    [
        (["--size", "360x640"], 2, "multiples of 32", "--size 384x640"),
        (["--frame", "0x640"], 2, "can't be resized in the graph", "up to 64 times as large"),
        (["--size", "8224x64"], 2, "longest side that a graph takes is 8192", "--size 480x864"),
        (["--size", "big"], 2, "'big' is no size", "--size 480x864"),
        (["--out", "model.pb"], 2, "end in .onnx", "model.onnx"),
        (["--out", "there.onnx"], 2, "is there already", "--force"),
        (["--out", "folder.onnx", "--force"], 2, "is a folder", "folder.onnx/folder.onnx"),
        (["--to", "openvino", "--out", "there.xml"], 2, "there.bin is there already", "--force"),
    ],
)
def test_options_that_cannot_be_end_in_three_lines(made, call, tmp_path, options, code, what, fix):
    (tmp_path / "there.onnx").touch()
    (tmp_path / "there.bin").touch()
    (tmp_path / "folder.onnx").mkdir()
    found, _, err = call("export", made / "tiny.safetensors", "--to", "onnx", "--out", "x.onnx", *options)
    (block,) = blocks(err)
    assert found == code
    assert what in block["error"]
    assert fix in block["fix"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "there.bin", "there.onnx"]


def test_a_disk_without_room_is_found_before_the_work(made, call, monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**6))
    for form, ending, megabytes in (("onnx", "onnx", 2), ("openvino", "xml", 3), ("torch", "pt2", 2)):
        code, _, err = call("export", made / "tiny.safetensors", "--to", form, "--out", f"new/x.{ending}")
        assert code == 1
        assert blocks(err)[0]["error"] == f"{megabytes} MB are needed, 1 MB are free"
    with pytest.raises(IdolError, match="are needed"):
        convert_to_openvino(made / "tiny.onnx", tmp_path / "tiny.xml")
    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(1),))
    with pytest.raises(IdolError, match="17 MB are needed"):
        write_torch(program, {}, tmp_path / "tiny.pt2")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_stopped_leaves_no_file(call, tmp_path):
    def stop():
        while not list(tmp_path.glob("new/.x.onnx*")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    weights = save_random(tmp_path / "tiny.safetensors")
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = call("export", weights, "--to", "onnx", "--out", "new/x.onnx", "--size", "64x96")
    for number in STOPS:
        signal.signal(number, before)
    assert code == 75
    assert blocks(err)[0]["error"] == "stopped by SIGTERM"
    assert list(tmp_path.iterdir()) == [weights]


def test_weights_that_cannot_be_exported_end_in_three_lines(made, call, tmp_path):
    first = save_random(tmp_path / "first.safetensors", dataclasses.replace(MODEL, embedding=False))
    for weights, options, code, what in (
        ("nothing", (), 2, "neither a weights file nor a zoo name"),
        (first, (), 2, "no embedding head"),
        (made / "tiny.onnx", (), 2, "an exported model already"),
        (made / "tiny.xml", (), 2, "an exported model already"),
    ):
        found, _, err = call("export", weights, "--to", "onnx", "--out", "x.onnx", *options)
        assert found == code
        assert what in blocks(err)[0]["error"]
    assert not (tmp_path / "x.onnx").exists()


def test_a_missing_extra_is_named(made, call, monkeypatch, tmp_path):
    write_video(tmp_path / "clip.mp4", iter(clip(count=2)), rate=5)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for command in (
        ("export", made / "tiny.safetensors", "--to", "onnx", "--out", "x.onnx"),
        ("predict", "clip.mp4", "--weights", made / "tiny.onnx"),
    ):
        code, _, err = call(*command)
        assert code == 3
        assert blocks(err)[0] | {"where": ""} == {
            "error": "onnxruntime is not installed",
            "where": "",
            "fix": "pip install 'idolctl[export]'",
        }


def test_damaged_and_foreign_files_end_in_three_lines(made, call, tmp_path):
    content = (made / "tiny.onnx").read_bytes()
    write_video(tmp_path / "clip.mp4", iter(clip(count=2)), rate=5)
    foreign = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    for name, data in {
        "empty": b"",
        "text": b"these are no weights",
        "start": content[:50],
        "half": content[: len(content) // 2],
        "end": content[:-3],
        "other": foreign.SerializeToString(),
    }.items():
        (tmp_path / f"{name}.onnx").write_bytes(data)
        code, _, err = call("predict", "clip.mp4", "--weights", f"{name}.onnx")
        assert code == 4, name
        assert f"{name}.onnx" in blocks(err)[0]["where"]
