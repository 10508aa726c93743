"""Short descriptions of the kinds of errors; `docs/errors.md` defines them."""

from __future__ import annotations

TRACKS = {
    "class": "right track, wrong class",
    "mask": "right object and class, but the masks overlap it too little, or in too few frames",
    "switch": "tracks exchange objects",
    "fragment": "one object is cut into several tracks",
    "merge": "several objects lie in one track",
    "both": "wrong class and poor mask",
    "duplicate": "a better-scored track has the object already",
    "background": "there is no object",
    "missed": "an object that no track has",
}
IMAGES = {
    "cls": "right place, wrong class",
    "loc": "right object and class, but the mask overlaps it too little",
    "both": "wrong class and poor mask",
    "dupe": "a better-scored result has the object already",
    "bkg": "there is no object",
    "miss": "an object that no result has",
}
