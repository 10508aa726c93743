"""Fingerprints of stages: settings that came later don't make older runs look changed."""

from __future__ import annotations

import dataclasses

from idol_core.config import DataConfig, DataSource, MixConfig, StageConfig
from idolctl.runs.fingerprint import differences, stage_fingerprint

CONFIG = StageConfig("toy", "tiny", 3)
HASHES = {"start": "a", "train": "b", "val": "c"}
IMAGES = DataSource("toy_images_train")


def mixed(share: float) -> StageConfig:
    return dataclasses.replace(CONFIG, data=DataConfig(mix=MixConfig(share, IMAGES)))


def test_a_run_from_before_a_setting_is_unchanged_until_the_setting_is_used():
    now = stage_fingerprint(CONFIG, **HASHES)
    assert not [name for name in now["settings"] if name.startswith(("data.mix", "data.classes_map"))]
    between = {**now, "settings": {**now["settings"], "data.classes_map": []}}  # some versions recorded it
    assert differences(between, now) == differences(now, between) == []
    used = dataclasses.replace(CONFIG, data=DataConfig(classes_map=("a=b",)))
    assert differences(now, stage_fingerprint(used, **HASHES)) == ['data.classes_map: (none) -> ["a=b"]']


def test_mixed_images_belong_to_the_fingerprint_where_they_are_used():
    assert stage_fingerprint(mixed(0.0), **HASHES, mix="d") == stage_fingerprint(CONFIG, **HASHES)
    one, other = (stage_fingerprint(mixed(0.4), **HASHES, mix=content) for content in "de")
    assert differences(one, other) == ["data.mix.images' annotations changed"]
    assert "data.mix.share: 0.4 -> 0.5" in differences(one, stage_fingerprint(mixed(0.5), **HASHES, mix="d"))
    assert "data.mix.share: (none) -> 0.4" in differences(stage_fingerprint(CONFIG, **HASHES), one)
