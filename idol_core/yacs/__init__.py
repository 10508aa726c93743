"""The original's detectron2 configuration keys: each with its default and what it means here. Imports no torch.

The one table (FIELDS) serves the importer of YAML files, the model behind detectron2's interfaces and the test that
holds the shipped recipes against the published ones.
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
