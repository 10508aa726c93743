"""ls, show, cp, validate, usage errors: what a user types before anything is trained."""

from __future__ import annotations

import json
import subprocess
import sys

from ruamel.yaml import YAML

from tests.cli.conftest import CHECKOUT, blocks


def test_help_imports_nothing_that_takes_long():
    probe = (
        "import sys\nfrom idolctl.app import main\ncode = main(['--help'])\n"
        "heavy = {'torch', 'pydantic', 'ruamel', 'numpy', 'rich.progress'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "validate" in done.stdout


def test_usage_errors_have_three_lines_and_exit_2(idolctl):
    for args, fix in [
        (["shwo", "toy"], "did you mean 'show'?"),
        (["show"], "idolctl show --help"),
        (["show", "toy", "--sept", "1"], "idolctl show --help"),
        (["show", "toy", "--step", "one"], "idolctl show --help"),
        (["show", "toi"], "did you mean 'toy'?"),
        (["show", "toy", "--backbone", "r5O"], "did you mean 'r50'?"),
    ]:
        done = idolctl(*args)
        assert done.returncode == 2, args
        assert blocks(done.stderr)[0]["fix"] == fix
        assert set(blocks(done.stderr)[0]) == {"error", "where", "fix"}
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_debug_shows_the_traceback(idolctl):
    done = idolctl("show", "toi", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_ls_recipes(idolctl):
    done = idolctl("ls", "recipes")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("ytvis19", "ytvis21", "ovis", "toy", "step 1 with every backbone"))
    rows = {row["name"]: row for row in json.loads(idolctl("ls", "recipes", "--json").stdout)["recipes"]}
    assert rows["toy"]["inferred"] == []
    assert "step 3 with r101, tiny" in rows["ovis"]["inferred"]


def test_show_says_where_each_value_comes_from(idolctl):
    done = idolctl("show", "ovis", "--backbone", "r101", "--step", "3", "--set", "solver.lr=3e-5")
    assert done.returncode == 0, done.stderr
    shown = YAML(typ="safe").load(done.stdout)
    assert shown["solver"]["lr"] == 3e-5
    assert shown["input"]["test_short_side"] == 720
    lines = {line.split(":")[0].strip(): line for line in done.stdout.splitlines()}
    assert lines["lr"].endswith("# --set")
    assert "recipes/ovis.yaml:" in lines["test_short_side"].partition("#")[2]
    assert "idol_core/config.py:" in lines["gamma"].partition("#")[2]
    assert "inferred: OVIS with ResNet-101 was never published" in done.stdout
    as_json = json.loads(idolctl("show", "toy", "--json").stdout)
    assert [s["config"]["step"] for s in as_json["stages"]] == [1, 2, 3]


def test_cp_then_validate_then_break_it(idolctl, tmp_path):
    assert idolctl("cp", "ovis", "mine.yaml").returncode == 0
    assert idolctl("validate", "mine.yaml", "toy").stdout == "mine.yaml: valid\ntoy: valid\n"
    again = idolctl("cp", "ovis", "mine.yaml")
    assert (again.returncode, blocks(again.stderr)[0]["fix"]) == (2, "idolctl cp ovis mine.yaml --force")
    mine = tmp_path / "mine.yaml"
    lines = mine.read_text().splitlines()
    lines[0] = "abuot: mine"
    mine.write_text("\n".join([*lines, "solver: {lr: quick, momentum: .9}", ""]))
    broken = idolctl("validate", "mine.yaml")
    assert broken.returncode == 2
    found = {block["where"]: block["fix"] for block in blocks(broken.stderr)}
    last = len(lines) + 1
    assert found["mine.yaml:1:abuot"] == "did you mean 'about'?"
    assert set(found) == {"mine.yaml:1:abuot", f"mine.yaml:{last}:solver.lr", f"mine.yaml:{last}:solver.momentum"}


def test_a_mistyped_backbone_or_data_set_is_found_where_it_stands(idolctl, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: ytvis19\nbackbones: {r5O: {loss: {mask: 1}}}\n")
    (told,) = blocks(idolctl("validate", "mine.yaml").stderr)
    assert (told["where"], told["fix"]) == ("mine.yaml:2:backbones.r5O", "did you mean 'r50'?")
    mine.write_text("extends: ytvis19\nbackbones: {own: {loss: {mask: 1}}}\ndata: {train: {name: ytvis19_trian}}\n")
    (tmp_path / "own.yaml").write_text("model: {backbone: {blocks: [3, 4, 23, 3], freeze_at: 0}}\n")
    assert idolctl("validate", "mine.yaml").returncode == 0
    wrong = idolctl("plan", "mine.yaml", "--backbone", "own.yaml")
    assert wrong.returncode == 2
    (told,) = blocks(wrong.stderr)
    assert (told["where"], told["fix"]) == ("mine.yaml:3:data.train.name", "did you mean 'ytvis19_train'?")
