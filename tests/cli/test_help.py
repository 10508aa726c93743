"""The front page, the examples of every command's help, and what the shell completes."""

import os
import subprocess
import sys

import pytest

from idolctl.app import COMMANDS, GROUPS

# Completes COMP_WORDS in this process as the installed script does, then says whether torch came along.
COMPLETE = """
import sys
from idolctl.app import main
try:
    main([])
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def completed(words: str, folder: str) -> tuple[list[str], bool]:
    """The completions of a command line in bash, and whether torch was imported for them."""
    typed = {"_IDOLCTL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE],
        env=os.environ | typed,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split(), done.stderr.split()[-1] == "True"


@pytest.mark.parametrize(
    ("words", "among"),
    [
        ("idolctl ", "predict"),
        ("idolctl run t", "toy"),
        ("idolctl run mi", "mine.yaml"),
        ("idolctl run toy --backbone ", "swinl"),
        ("idolctl run toy --init ovis", "ovis-r50"),
        ("idolctl fetch y", "ytvis19-r50"),
        ("idolctl predict clip.mp4 --weights s", "swinl-step12"),
        ("idolctl data check o", "ovis@oracle_val"),
        ("idolctl eval ", "first"),
        ("idolctl status f", "first"),
        ("idolctl logs ", "first"),
        ("idolctl submit toy --st", None),
    ],
)
def test_the_shell_completes_names_without_importing_torch(tmp_path, words, among):
    (tmp_path / "mine.yaml").write_text("extends: toy\n")
    (tmp_path / "runs" / "first" / "3").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "3" / "stage.json").write_text("{}")
    found, torch = completed(words, str(tmp_path))
    assert found == [] if among is None else among in found
    assert all(name.startswith(words.split(" ")[-1]) for name in found)
    assert not torch


def test_a_mistyped_command_completes_to_the_commands(tmp_path):
    assert completed("idolctl rnu ", str(tmp_path)) == (list(COMMANDS), False)


def test_the_front_page_groups_the_commands(idolctl):
    page = idolctl().stdout
    assert [title for title in GROUPS if f"\n{title}:\n" in page] == ["Train", "Look", "Data", "Weights"]
    assert all(f"\n  {name} " in page for name in COMMANDS)


@pytest.mark.parametrize("name", [*(c for c in COMMANDS if c not in ("data", "split")),
                                  "data check", "data add", "split make", "split verify", "split fetch"])  # fmt: skip
def test_every_command_has_examples_of_itself(idolctl, name):
    shown = idolctl(*name.split(), "--help").stdout
    examples = shown.partition("Examples:\n")[2].strip().splitlines()
    assert examples
    assert all(f"idolctl {name}" in line for line in examples)


def test_a_reader_that_goes_away_ends_the_command_without_a_word():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-m", "idolctl", "ls", "zoo"], stdout=write, stderr=subprocess.PIPE)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
