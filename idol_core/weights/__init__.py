"""Weights files, ours and published ones: read, write, convert names, initialise a model from them."""

from idol_core.weights.convert import Conversion, convert_file
from idol_core.weights.files import Weights, open_weights, save_weights
from idol_core.weights.published import ours_to_published, published_to_ours
from idol_core.weights.start_from import Classes, Transfer, load_backbone, load_weights, start_from, transfer

__all__ = [
    "Classes",
    "Conversion",
    "Transfer",
    "Weights",
    "convert_file",
    "load_backbone",
    "load_weights",
    "open_weights",
    "ours_to_published",
    "published_to_ours",
    "save_weights",
    "start_from",
    "transfer",
]
