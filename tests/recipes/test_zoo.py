"""The zoo against the published page: every row, copied here by hand a second time."""

from __future__ import annotations

import dataclasses

import pytest

from idol_core.system.hub import HubPlace
from idolctl.zoo.entries import Scores, load_zoo

# name, backbone, steps, Drive id (- where never published)
PRETRAINED = """
r50-step12   r50   1,2 1ip-pxavMcyWOxfBcl_4cUIBKXRTA4wrO
r101-step12  r101  1,2 1Gm162LthxorsS6pMX_XoVTn5iDAAMWbU
swinl-step12 swinl 1,2 1o-q4WIcMn_D5p1tSubJBWlPAnJLQ5Cbb
r50-step1    r50   1   -
r101-step1   r101  1   -
swinl-step1  swinl 1   -
"""
# data set, backbone, AP, AP50, AP75, AR1, AR10, Drive id
FINETUNED = """
ytvis19-r50   49.3 74.0 52.8 47.6 58.7 1FFbrfbK1oN4zTO5q_cw3zws2Z2Ppuzv7
ytvis19-r50-b 50.2 75.1 53.6 48.4 59.3 1BAZX99coA23RPrK8He3hDx59j11N7bUa
ytvis19-r101  50.1 73.1 56.1 47.0 57.9 1T8S3_tZRcMJ1c5ioe3MGUNwKg9UP5ROW
ytvis19-swinl 64.3 87.5 71.0 55.6 69.1 1Otlq8eqb_xg0eRF5dQHyxKvuEceOgwBk
ytvis21-r50   47.7 71.5 53.3 41.1 55.5 1GqE7HEaJZCqUogsNi52vp_9NVEsiJwxL
ytvis21-r101  48.5 71.4 53.9 41.4 55.9 1hYu32qR95QiZLKz40tsXrM_vsC9dcLLe
ytvis21-swinl 60.8 84.9 67.1 47.5 65.3 17CSYz31VvaD-3RjLo3x5JjD-wL3zcDSq
ovis-r50      29.5 50.1 29.4 14.9 37.1 1CalS2qLNm1MRlNdWkKhAKvS4CyM7vHTv
ovis-swinl    41.4 64.1 44.0 17.6 48.4 1XXr5bx3CEwyurQvO4B8XMn2t6awYodGw
"""
IMAGENET = {"r50-imagenet": "r50", "r101-imagenet": "r101", "swinl-imagenet22k": "swinl"}
ZOO = {entry.name: entry for entry in load_zoo().weights}


def test_the_zoo_has_every_published_checkpoint():
    names = [line.split()[0] for line in (PRETRAINED + FINETUNED).split("\n") if line]
    assert sorted(ZOO) == sorted([*names, *IMAGENET])
    folder = load_zoo().find("oracle_split")
    assert folder.source == "drive:1veFOmJzKIr3tgGC8DI-hkBjUg1ivl5tc"
    assert ZOO["ytvis19-r50"].log == "drive:16jqwbEzSkY-qcVZYYJeZ2vj8-Mffm30T"


def _on_drive(entry):
    return tuple(s.removeprefix("drive:") for s in entry.sources if s.startswith("drive:"))


def test_every_published_checkpoint_has_a_second_source_at_a_fixed_commit():
    for entry in ZOO.values():
        if entry.kind != "imagenet" and not entry.trained_by:
            (place,) = [HubPlace.parse(s) for s in entry.sources if s.startswith("hf:")]
            assert place.repository == "QHL067/VNext_ECCV"
            assert len(place.revision) == 40
    step1 = ZOO["r50-step1"]
    assert (step1.hub.size, step1.hub.sha256[:16]) == (172339775, "b2bbcf1d96256712")
    assert "step 1" in step1.probable


@pytest.mark.parametrize("row", PRETRAINED.strip().split("\n"))
def test_pretrained_checkpoints_have_their_published_sources(row):
    name, backbone, steps, drive = row.split()
    entry = ZOO[name]
    assert (entry.backbone, entry.steps, entry.dataset, entry.scores) == (backbone, steps, None, None)
    assert _on_drive(entry) == (() if drive == "-" else (drive,))
    trained = f"idolctl run ytvis19 --backbone {backbone} --steps 1"
    assert entry.trained_by == (trained if drive == "-" and name != "r50-step1" else None)


@pytest.mark.parametrize("row", FINETUNED.strip().split("\n"))
def test_finetuned_checkpoints_have_their_published_scores(row):
    name, *scores, drive = row.split()
    entry = ZOO[name]
    assert [entry.dataset, entry.backbone] == name.split("-")[:2]
    assert entry.scores == Scores(*map(float, scores))
    assert [f.name for f in dataclasses.fields(Scores)] == ["AP", "AP50", "AP75", "AR1", "AR10"]
    assert _on_drive(entry) == (drive,)


def test_step_1_starts_from_imagenet_backbones():
    for name, backbone in IMAGENET.items():
        assert (ZOO[name].kind, ZOO[name].backbone) == ("imagenet", backbone)
        assert all(source.startswith("https://") for source in ZOO[name].sources)
