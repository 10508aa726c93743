"""The built wheel alone: recipes are inside idolctl, nothing lands beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

from setuptools import find_packages

from tests.cli.conftest import CHECKOUT


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_installed_wheel_finds_its_recipes(tmp_path):
    source = tmp_path / "source"
    for name in ("idolctl", "idol_core", "recipes"):
        shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source / name)
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"idolctl", "idol_core"}
    for recipe in (CHECKOUT / "recipes").rglob("*.yaml"):
        assert f"idolctl/recipes/{recipe.relative_to(CHECKOUT / 'recipes')}" in names
    for template in (CHECKOUT / "idolctl" / "report" / "templates").iterdir():
        assert f"idolctl/report/templates/{template.name}" in names
    for package in find_packages(str(CHECKOUT), include=["idolctl*", "idol_core*"]):
        assert f"{package.replace('.', '/')}/__init__.py" in names

    home = tmp_path / "venv"
    venv.create(home)
    python = home / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    purelib = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    idolctl = home / "bin" / "idolctl"
    assert "ytvis21" in _run(idolctl, "ls", "recipes", cwd=empty)
    shown = _run(idolctl, "show", "ytvis19", "--backbone", "swinl", "--step", "2", cwd=empty)
    assert "iterations: 148000" in shown
    assert str(purelib / "idolctl" / "recipes") in shown
    assert not (purelib / "recipes").exists()
