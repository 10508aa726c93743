"""Packages of the wheel: `recipes/` lies at the top of a checkout and inside idolctl once installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["idolctl*", "idol_core*"]), "idolctl.recipes"],
    package_dir={"idolctl.recipes": "recipes"},
    package_data={
        "idolctl.recipes": ["*.yaml", "*/*.yaml"],
        "idolctl.report": ["templates/*"],
        "idol_core.ops": ["*.c"],
    },
)
