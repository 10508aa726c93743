"""Translate the original's detectron2 configuration keys to our settings. Imports no torch.

One table (FIELDS) holds each key's default and meaning. It is used by the importer of YAML files, by
idol_core.detectron2, and by the test that compares the shipped recipes with the published ones.
"""

from idol_core.yacs.fields import FIELDS, FOREIGN_SECTIONS, IDOL_FIELDS
from idol_core.yacs.names import DATA_SETS
from idol_core.yacs.rules import Field, Needs, Sets, Unread
from idol_core.yacs.translate import Problem, Translation, defaults, flatten, parse_text, translate

__all__ = [
    "DATA_SETS",
    "FIELDS",
    "FOREIGN_SECTIONS",
    "IDOL_FIELDS",
    "Field",
    "Needs",
    "Problem",
    "Sets",
    "Translation",
    "Unread",
    "defaults",
    "flatten",
    "parse_text",
    "translate",
]
