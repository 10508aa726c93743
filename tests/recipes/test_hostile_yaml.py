"""Configuration files that are made to do harm, or broken in odd ways: bounded, and told with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from idol_core.errors import InvalidInput
from idolctl.config.detectron2_yaml import read_config_file
from idolctl.config.library import load_recipe
from idolctl.config.load_yaml import Mapping, parse_value, read_yaml
from idolctl.config.resolve import resolve
from idolctl.errors import Mistakes


def _read(tmp_path: Path, text: str | bytes) -> Mapping:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def _tree(mapping: Mapping) -> dict:
    return {e.key: _tree(e.value) if isinstance(e.value, Mapping) else e.value for e in mapping}


LAUGHS = "a: [" + ", ".join(f"&b{i} [{', '.join([f'*b{i - 1}' if i else '1'] * 9)}]" for i in range(9)) + "]"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (LAUGHS, 1, "values, counting those that aliases repeat"),
        ("a: 1\nb: &x [*x]", 2, "has no anchor"),
        ("a: 1\nb: *x", 2, "has no anchor"),
        ("a: " + "[" * 3000 + "]" * 3000, 1, "levels deep"),
        ("a:\n" + "".join(" " * i + "b:\n" for i in range(1, 100)), 41, "levels deep"),
        ("a: 1\na: 2", 2, "occurs twice"),
        ("a: !!int b", 1, "'b' is not a valid int"),
        ("a: !!bool b", 1, "'b' is not a valid bool"),
        (f"a: {'9' * 5000}", 1, "is not a valid int"),
        ('a: 1\nb: "\\ud800"', 2, "surrogate"),
        ("a: 1\n---\nb: 2", 2, "second YAML document"),
        ("a: 1\n[b]: 2", 2, "a key must be text"),
        ("a: 1\n<<: 2", 2, "must refer to a mapping"),
        ("a: 1\nb: [", 2, "not YAML"),
        ("a: \x1b", 1, "not YAML"),
    ],
)
def test_yaml_that_no_recipe_needs_is_refused_with_its_line(text, line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=said) as caught:
        _read(tmp_path, text)
    where = caught.value.where.partition(":")
    assert where[0] == "recipe.yaml"
    assert where[2] in (str(line), "")


def test_files_that_are_no_text_or_too_large_are_refused(tmp_path):
    for content in (b"\xff\xfea\0", b"a: " + b"x" * (1 << 18), b""):
        with pytest.raises(InvalidInput):
            _read(tmp_path, content)


def test_aliases_merges_and_a_byte_order_mark_still_work(tmp_path):
    text = "\ufeffa: &x {b: 1, c: [2, {d: 3}]}\ne: *x\nf: {<<: *x, b: 5}\n1: ~\ntrue: 0x1F\ng: !unknown 1.5\nh: -.inf"
    assert _tree(_read(tmp_path, text)) == {
        "a": {"b": 1, "c": [2, {"d": 3}]}, "e": {"b": 1, "c": [2, {"d": 3}]}, "f": {"c": [2, {"d": 3}], "b": 5},
        "1": None, "true": 31, "g": "1.5", "h": float("-inf"),
    }  # fmt: skip
    assert parse_value("{a: [1, 2e-4]}") == {"a": [1, 2e-4]}
    assert parse_value("[") == "["
    assert parse_value("*a") == "*a"


def test_a_list_of_lists_where_a_number_belongs_is_told_by_its_key(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(f"extends: toy\nsolver: {{lr: {'[' * 30}1{']' * 30}}}\n")
    recipe = load_recipe(str(path))
    with pytest.raises(Mistakes, match=r"solver\.lr"):
        resolve(recipe, steps=recipe.steps)


def test_a_chain_of_recipes_has_an_end(tmp_path):
    for number in range(60):
        (tmp_path / f"r{number}.yaml").write_text(f"extends: r{number + 1}.yaml\n")
    recipe = load_recipe(str(tmp_path / "r0.yaml"))
    assert any("the chain is too long" in m.what for document in recipe.documents for m in document.mistakes)


def test_a_base_that_is_named_often_is_read_once(tmp_path):
    for number in range(6):
        names = ", ".join([f"d{number + 1}.yaml"] * 10)
        (tmp_path / f"d{number}.yaml").write_text(f"_BASE_: [{names}]\nSOLVER: {{MAX_ITER: {number + 10}}}\n")
    (tmp_path / "d6.yaml").write_text("SOLVER: {MAX_ITER: 1, BASE_LR: 0.5}\n")
    found = read_config_file(tmp_path / "d0.yaml")
    assert (found.config["SOLVER.MAX_ITER"], found.config["SOLVER.BASE_LR"], found.mistakes) == (10, 0.5, [])
    (tmp_path / "d0.yaml").write_text(f"_BASE_: [{', '.join(['d6.yaml'] * 200)}]\n")
    with pytest.raises(InvalidInput, match="more than 100 files"):
        read_config_file(tmp_path / "d0.yaml")


def test_of_two_bases_with_one_base_the_last_naming_counts(tmp_path):
    (tmp_path / "a.yaml").write_text("SOLVER: {MAX_ITER: 1}\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\nSOLVER: {MAX_ITER: 2}\n")
    (tmp_path / "c.yaml").write_text("_BASE_: a.yaml\n")
    (tmp_path / "d.yaml").write_text("_BASE_: [b.yaml, c.yaml]\n")
    assert read_config_file(tmp_path / "d.yaml").config["SOLVER.MAX_ITER"] == 1


def test_names_of_bases_that_no_file_can_have_are_mistakes(tmp_path):
    for name in ("x" * 5000, "~nobody-of-this-name/x", "a\\0b"):
        (tmp_path / "a.yaml").write_text(f'_BASE_: "{name}"\n')
        assert "does not exist" in read_config_file(tmp_path / "a.yaml").mistakes[0].what
