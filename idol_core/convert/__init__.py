"""Weights of others and of ours: names, files, and starting one model from another."""

from idol_core.convert.convert_file import Conversion, convert_file
from idol_core.convert.files import Weights, open_weights, save_weights
from idol_core.convert.published import load_published, ours_to_published, published_to_ours
from idol_core.convert.transfer import Transfer, load_backbone, load_weights, start_from, transfer

__all__ = [
    "Conversion",
    "Transfer",
    "Weights",
    "convert_file",
    "load_backbone",
    "load_published",
    "load_weights",
    "open_weights",
    "ours_to_published",
    "published_to_ours",
    "save_weights",
    "start_from",
    "transfer",
]
