"""Layers over each other, where values come from, and every mistake at once."""

from __future__ import annotations

import itertools

import pytest

from idol_core import constraints
from idol_core.config import ResNetConfig, StageConfig, SwinConfig, stage_from_dict, stage_to_dict
from idol_core.errors import InvalidInput
from idolctl.config.library import backbone_names, load_recipe, recipe_names
from idolctl.config.resolve import resolve
from idolctl.errors import Mistakes


def _one(recipe, step=3, **options):
    return resolve(load_recipe(str(recipe)), steps=[step], **options)[0]


def _mistakes(recipe, *, steps=(1, 2, 3), **options):
    with pytest.raises(Mistakes) as caught:
        resolve(load_recipe(str(recipe)), steps=steps, **options)
    return caught.value.mistakes


@pytest.mark.parametrize(("name", "backbone"), list(itertools.product(recipe_names(), backbone_names())))
def test_every_shipped_recipe_is_valid_with_every_backbone(name, backbone):
    recipe = load_recipe(name)
    for resolved in resolve(recipe, steps=recipe.steps, backbone=backbone):
        assert stage_from_dict(stage_to_dict(resolved.config)) == resolved.config


def test_later_layers_win(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("extends: ytvis19\nsolver: {batch_size: 8, seed: 3}\nsteps: {2: {solver: {seed: 4}}}\n")
    assert _one("ytvis19", step=2, backbone="swinl").config.solver.iterations == 148000
    assert _one("ytvis19", step=2, backbone="r50").config.solver.iterations == 59200
    assert (_one(own, step=2).config.solver.batch_size, _one(own, step=2).config.solver.seed) == (8, 4)
    assert _one(own, step=3).config.solver.seed == 3
    assert _one(own, step=2, assignments=["solver.seed=5"]).config.solver.seed == 5
    changed = ["solver.seed=5", "steps.2.solver.seed=6"]
    assert [_one(own, step=s, assignments=changed).config.solver.seed for s in (2, 3)] == [6, 5]


def test_a_backbone_of_another_kind_replaces_the_settings_of_the_first(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("extends: toy\nmodel: {backbone: {stem_channels: 8}}\n")
    backbone = _one(own).config.model.backbone
    assert isinstance(backbone, ResNetConfig)
    assert (backbone.stem_channels, backbone.bottleneck_channels) == (8, 16)
    assert isinstance(_one("toy", backbone="swinl").config.model.backbone, SwinConfig)


def test_own_data_replaces_a_named_set(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("extends: toy\nsteps: {3: {data: {train: {kind: vis, frames: a, annotations: b.json}}}}\n")
    source = _one(own).config.data.train
    assert (source.name, source.kind, source.frames, source.annotations) == ("", "vis", "a", "b.json")


def test_every_value_knows_its_place(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("# a comment\nextends: ovis\n\nsteps:\n  3:\n    solver:\n      lr: 2e-5\n")
    settings = _one(own, assignments=["tracker.mask_nms=.4"]).settings
    assert str(settings[("solver", "lr")].origin) == f"{own}:7"
    assert settings[("solver", "lr")].value == 2e-5
    assert str(settings[("tracker", "mask_nms")].origin) == "--set"
    place = settings[("tracker", "new_threshold")].origin
    assert place.file.endswith("ovis.yaml")
    assert place.line
    assert settings[("solver", "gamma")].origin.file == "idol_core/config.py"


def test_all_mistakes_at_once_each_with_its_line(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(
        "extends: ytvis19\n"  # 1
        "modle: {heads: 2}\n"
        "solver:\n"  # 3
        "  itertions: 5\n"
        "  lr: fast\n"  # 5
        "steps:\n"
        "  3:\n"  # 7
        "    model: {heads: 7}\n"
        "    solver: {milestones: [90000]}\n"  # 9
        "  4: {}\n"
    )
    found = {m.where: m for m in _mistakes(own)}
    expected = {
        2: "modle",
        4: "solver.itertions",
        5: "solver.lr",
        8: "steps.3.model.heads",
        9: "steps.3.solver.milestones",
        10: "steps.4",
    }
    assert set(found) == {f"{own}:{line}:{key}" for line, key in expected.items()}
    assert found[f"{own}:2:modle"].fix == "did you mean 'model'?"
    assert found[f"{own}:4:solver.itertions"].fix == "did you mean 'iterations'?"
    assert all(m.fix for m in found.values())


@pytest.mark.parametrize(
    ("assignment", "key"),
    [
        ("solver.iterations=1.5", "solver.iterations"),
        ("solver.iterations='9'", "solver.iterations"),
        ("solver.iterations=0", "solver.iterations"),
        ("solver.lr=-1e-4", "solver.lr"),
        ("solver.lr=.inf", "solver.lr"),
        ("solver.lr=.nan", "solver.lr"),
        ("solver.schedule=linear", "solver.schedule"),
        ("solver.milestones=[30,20]", "solver.milestones"),
        ("solver.milestones=[99999]", "solver.milestones"),
        ("solver.micro_batches=3", "solver.micro_batches"),
        ("solver.optimizer=sgd", "solver.optimizer"),
        ("input.color.hue=.6", "input.color.hue"),
        ("input.color.probability=2", "input.color.probability"),
        ("model.hidden_dim=80", "model.hidden_dim"),
        ("model.heads=5", "model.heads"),
        ("model.dropout=1.5", "model.dropout"),
        ("model.embedding=false", "model.embedding"),
        ("model.backbone.kind=vgg", "model.backbone.kind"),
        ("model.backbone.window=7", "model.backbone.window"),
        ("model.backbone.blocks=[1,1,1]", "model.backbone.blocks"),
        ("input.short_sides=[]", "input.short_sides"),
        ("input.short_sides=[0]", "input.short_sides"),
        ("input.max_size=10", "input.max_size"),
        ("input.crop.size=[9,3]", "input.crop.size"),
        ("tracker.score=median", "tracker.score"),
        ("data.train.frames=somewhere", "data.train.frames"),
        ("solver=3", "solver"),
        ("init=3", "init"),
    ],
)
def test_each_invalid_setting_is_reported_by_its_key(assignment, key):
    found = _mistakes("ytvis19", steps=[3], assignments=[assignment])
    assert any(m.where.endswith(f":{key}") for m in found), [(m.what, m.where) for m in found]


def test_muon_and_fp16_do_not_go_together():
    (found,) = _mistakes("toy", steps=[3], assignments=["solver.precision=fp16"])
    assert found.where.endswith(":solver.precision")
    assert found.fix == "--set solver.precision=bf16"
    resolve(load_recipe("toy"), steps=[3], assignments=["solver.precision=fp16", "solver.optimizer=adamw"])


def test_a_typed_but_wrong_setting_does_not_hide_others():
    found = _mistakes("toy", steps=[3], assignments=["solver.seed=x", "solver.lr=-1", "solver", "steps.5.init=a"])
    assert len(found) == 4


def test_a_key_that_was_renamed_is_told_its_new_name(tmp_path):
    (tmp_path / "old.yaml").write_text("extends: toy\nsolver: {batch: 8}\ntracker: {match_score: .4}\n")
    found = _mistakes(tmp_path / "old.yaml")
    assert [m.what for m in found] == [
        "'solver.batch' is called 'batch_size' now",
        "'tracker.match_score' is called 'match_threshold' now",
    ]
    assert found[0].where.endswith("old.yaml:2:solver.batch")
    assert found[0].fix == "write batch_size"


def test_every_number_has_a_range():
    """A number that nobody thought about would reach training unchecked."""
    ranged = {f"{prefix}{n}" for prefix, names, _, _ in constraints._RANGES for n in names.split()}
    known = set()
    for backbone in backbone_names():
        for path, value in _one("toy", backbone=backbone).settings.items():
            numbers = value.value if isinstance(value.value, (list, tuple)) else [value.value]
            if numbers and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
                known.add(".".join(path))
    assert known - ranged == {"step"}
    assert ranged <= known


def test_extends_must_exist_and_not_turn_in_circles(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    assert "a cycle" in _mistakes(tmp_path / "a.yaml")[0].what
    (tmp_path / "c.yaml").write_text("about: x\nextends: yvtis19\n")
    lost = _mistakes(tmp_path / "c.yaml", steps=[1])[0]
    assert lost.where == f"{tmp_path / 'c.yaml'}:2:extends"
    assert lost.fix == "did you mean 'ytvis19'?"


@pytest.mark.parametrize("text", ["solver: {lr: 1\n", "- 1\n", "", "solver:\n  lr: 1\n  lr: 2\n", "a: b: c\n"])
def test_files_that_are_not_a_recipe_are_refused(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_recipe(str(path))
    assert caught.value.where.startswith(str(path))


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(InvalidInput, match="no recipe 'yvtis19'") as caught:
        load_recipe("yvtis19")
    assert caught.value.fix == "did you mean 'ytvis19'?"
    with pytest.raises(InvalidInput, match="no backbone 'r51'"):
        _one("toy", backbone="r51")
    with pytest.raises(InvalidInput, match="no step 7"):
        _one("toy", step=7)


def test_toy_freezes_nothing():
    for backbone in ("tiny", "r50", "r101"):
        stage: StageConfig = _one("toy", backbone=backbone).config
        assert isinstance(stage.model.backbone, ResNetConfig)
        assert stage.model.backbone.freeze_at == 0
        assert stage.init is None
