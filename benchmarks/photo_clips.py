"""Clips composited from cut-outs of photographs over photographs, as a YouTube-VIS set: what benchmarks/photos.py uses.

Cut-outs move, turn, grow, cross others of their class, leave and return; in a third of the clips a strip of another
photograph, which has no label, hides them for a while. Masks are exact: the pixels in which a cut-out is on top. No
cut-out and no background of the training part is in the validation part. The same seed gives the same pixels.
"""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import default_rng
from PIL import Image, ImageEnhance, ImageOps
from pycocotools import mask as coco_mask

from idol_core.data.toy.motion import HEIGHT, LARGEST, SMALLEST, WIDTH, cross, leave_and_return, wander
from idol_core.errors import Missing

STAMPS = "usr/share/tuxpaint/stamps"
CLASSES = {  # class -> folders of tuxpaint-stamps-default
    "mammal": ("animals/mammals", "animals/marsupials"),
    "bird": ("animals/birds",),
    "food": ("food",),
    "flower": ("plants/flowers",),
    "vehicle": ("vehicles", "military/vehicles"),
    "tool": ("household", "hobbies/music"),
}
# Drawings, parts of things, and mirrored copies, which would be in both parts
DRAWN = ("cartoon", "toys", "plastic")
LEFT_OUT = (
    "echidna",
    "hedgehog",
    "pizza",
    "spoke256",
    "sedan_police",
    "wheel_tractor",
    "glass",
    "highlighter",
    "mirror",
)
SMALLEST_CUTOUT = 50  # longest side in pixels
GROUNDS = {  # photographs without objects of these classes, by folder
    "usr/share/backgrounds": (
        "Bridge_by_Sander_Klootwijk.jpg",
        "Dragonfly_by_Bolly.jpg",
        "aitzgorri_by_Aitzol_Berasategi.jpg",
        "analogpattern_by_Peter_Nerlich.jpg",
        "greentock_by_Peter_Nerlich.jpg",
        "life_by_Aitzol_Berasategi.jpg",
        "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        "sunset_by_Aitzol_Berasategi.jpg",
    ),
    "usr/share/backgrounds/mate": (
        "abstract/Elephants.jpg",
        *(f"nature/{name}.jpg" for name in ("Aqua", "Blinds", "Dune", "GreenMeadow", "RainDrops", "Storm", "Wood")),
    ),
    "skimage/data": ("brick.png", "grass.png", "gravel.png", "hubble_deep_field.jpg"),
}
CUTOUT, BACKGROUND = 112, 400  # longest sides of packed pictures, in pixels
CLIPS = {"train": 200, "val": 40}
FRAMES = {"train": 8, "val": 10}
HELD_OUT = 0.3  # share of the cut-outs of a class, and of the backgrounds, that only validation uses
FEWEST_PIXELS = 12  # an object with fewer visible pixels counts as absent
HOW = """get Debian's packages with photographs, and scikit-image's for four more:
    apt-get download tuxpaint-stamps-default mate-backgrounds lomiri-wallpapers-16.04
    for f in *.deb; do dpkg-deb -x $f {0}; done
    pip download --no-deps scikit-image && unzip scikit_image-*.whl 'skimage/data/*' -d {0}"""


class Material(NamedTuple):
    """Packed pictures: those of a cut-out have an alpha channel and no margin."""

    cutouts: dict[str, list[Path]]  # by class
    backgrounds: list[Path]


def find_material(folder: Path, packed: Path) -> Material:
    """Material of `folder`, which holds packed pictures, or unpacked Debian packages, which are packed to `packed`.

    Raises Missing, saying how to get it, if it has neither.
    """
    if (folder / "cutouts").is_dir():
        packed = folder
    elif not (packed / "cutouts").is_dir():
        if not (folder / STAMPS).is_dir():
            raise Missing("the pictures are not here", where=str(folder), fix=HOW.format(folder))
        pack(folder, packed)
    cutouts = {name: sorted((packed / "cutouts" / name).glob("*.webp")) for name in CLASSES}
    return Material(cutouts, sorted((packed / "backgrounds").glob("*.jpg")))


def pack(folder: Path, packed: Path) -> None:
    """Reduce the photographs among the stamps, and the backgrounds, to the size that is needed."""
    aside = packed.with_name(packed.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    for name, places in CLASSES.items():
        (aside / "cutouts" / name).mkdir(parents=True)
        for path in sorted(path for place in places for path in (folder / STAMPS / place).rglob("*.png")):
            drawn = not set(DRAWN).isdisjoint(path.parts) or any(word in path.stem for word in LEFT_OUT)
            picture = Image.open(path).convert("RGBA")
            if drawn or max(picture.size) < SMALLEST_CUTOUT:
                continue
            picture = picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 127)).getbbox())
            picture.thumbnail((CUTOUT, CUTOUT), Image.Resampling.LANCZOS)
            picture.save(aside / "cutouts" / name / f"{path.stem}.webp", quality=90)
    (aside / "backgrounds").mkdir()
    for place, names in GROUNDS.items():
        for path in (folder / place / name for name in names):
            if path.is_file():
                picture = Image.open(path).convert("RGB")
                picture.thumbnail((BACKGROUND, BACKGROUND), Image.Resampling.LANCZOS)
                picture.save(aside / "backgrounds" / f"{path.stem}.jpg", quality=88)
    aside.rename(packed)


def parts_of(material: Material, seed: int) -> dict[str, Material]:
    """Divide cut-outs and backgrounds at random between `train` and `val`."""
    rng = default_rng([seed, 2])

    def divided(paths: list[Path]) -> dict[str, list[Path]]:
        order = [paths[i] for i in rng.permutation(len(paths))]
        held = max(2, round(HELD_OUT * len(order)))
        return {"train": sorted(order[held:]), "val": sorted(order[:held])}

    cutouts = {name: divided(paths) for name, paths in material.cutouts.items()}
    backgrounds = divided(material.backgrounds)
    return {part: Material({name: paths[part] for name, paths in cutouts.items()}, backgrounds[part]) for part in CLIPS}


def make_clips(material: Material, root: Path, *, seed: int, jobs: int = 1) -> Path:
    """Write JPEGImages/ and instances.json to `root/train` and `root/val`; a finished folder is kept."""
    if (root / "val/instances.json").is_file():
        return root
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)]
    with ProcessPoolExecutor(jobs) as pool:
        for number, (part, pictures) in enumerate(parts_of(material, seed).items()):
            draw = partial(write_clip, pictures, root / part / "JPEGImages", FRAMES[part], [seed, number])
            videos, annotations = [], []
            for video, tracks in pool.map(draw, range(1, CLIPS[part] + 1), chunksize=4):
                videos.append(video)
                annotations += tracks
            for i, track in enumerate(annotations, 1):
                track["id"] = i
            content = {"videos": videos, "annotations": annotations, "categories": categories}
            (root / part / "instances.json").write_text(json.dumps(content))
    return root


def write_clip(material: Material, folder: Path, length: int, seed: list[int], number: int) -> tuple[dict, list[dict]]:
    """Render a clip to JPEG files; returns its entries under `videos` and `annotations`."""
    frames, tracks = make_clip(material, length, [*seed, number])
    names = [f"{number:04d}/{t:05d}.jpg" for t in range(length)]
    (folder / f"{number:04d}").mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(folder / name, quality=92, subsampling=0)
    video = {"id": number, "file_names": names, "height": HEIGHT, "width": WIDTH, "length": length}
    ids = {name: i for i, name in enumerate(CLASSES, 1)}
    annotations = [
        {"video_id": number, "category_id": ids[name], "iscrowd": 0, **lists_of(masks)}
        for name, masks in tracks
        if (masks.sum((1, 2)) >= FEWEST_PIXELS).any()
    ]
    return video, annotations


def lists_of(masks: np.ndarray) -> dict[str, list]:
    """The lists of a YouTube-VIS annotation for visible masks [T, H, W]; None in frames where it is not seen."""
    rles = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    seen = [rle if mask.sum() >= FEWEST_PIXELS else None for rle, mask in zip(rles, masks, strict=True)]
    return {
        "segmentations": [r and {"size": list(r["size"]), "counts": r["counts"].decode()} for r in seen],
        "bboxes": [r and coco_mask.toBbox(r).tolist() for r in seen],
        "areas": [r and int(coco_mask.area(r)) for r in seen],
    }


class Actor(NamedTuple):
    """A picture with an alpha channel and its pose in every frame."""

    name: str  # class; "": a strip without label
    picture: Image.Image
    places: np.ndarray  # [T, 2] centre (x, y) in pixels
    scales: np.ndarray  # [T] pixels of the frame to a pixel of the picture
    angles: np.ndarray  # [T] in radians


Tracks = list[tuple[str, np.ndarray]]  # class and visible masks [T, H, W]


def make_clip(material: Material, length: int, seed: list[int]) -> tuple[list[np.ndarray], Tracks]:
    """Render frames [H, W, 3] and a track per cut-out, also of those that are never seen."""
    rng = default_rng(seed)
    actors = cast(rng, material, length)
    views = camera(rng, Image.open(rng.choice(material.backgrounds)), length)
    frames, layers = [], []
    for t, view in enumerate(views):
        alphas = []
        for actor in actors:
            drawn = placed(actor, t)
            view.paste(drawn, mask=drawn.getchannel("A"))
            alphas.append(np.asarray(drawn.getchannel("A")) > 127)
        visible = [alpha & ~np.any(alphas[i + 1 :], axis=0) for i, alpha in enumerate(alphas)]
        noise = rng.normal(0, 2.5, (HEIGHT, WIDTH, 3))
        frames.append(np.clip(np.asarray(view) + noise, 0, 255).astype(np.uint8))
        layers.append(visible)
    masks = np.stack([np.stack(layer) for layer in layers], axis=1)
    return frames, [(actor.name, mask) for actor, mask in zip(actors, masks, strict=True) if actor.name]


def cast(rng: np.random.Generator, material: Material, length: int) -> list[Actor]:
    """Draw two or three cut-outs, two of one class which cross in most clips, and perhaps a strip, back to front."""
    names = [str(name) for name in rng.choice(list(material.cutouts), rng.integers(2, 4))]
    paths = [leave_and_return(rng, length) if rng.random() < 0.4 else wander(rng, length) for _ in names]
    if rng.random() < 0.75:
        names[1] = names[0]
        paths[:2] = cross(rng, length)
    actors: list[Actor] = []
    used: set[Path] = set()
    for name, path in zip(names, paths, strict=True):
        files = [file for file in material.cutouts[name] if file not in used]
        file = files[rng.integers(len(files))]
        used.add(file)
        picture = Image.open(file).convert("RGBA")
        picture = ImageOps.mirror(picture) if rng.random() < 0.5 else picture
        picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.8, 1.2))
        times = np.linspace(-0.5, 0.5, length)
        size = 2 * rng.uniform(SMALLEST, LARGEST) * np.exp(rng.uniform(-0.4, 0.4) * times)
        angles = rng.uniform(-0.3, 0.3) + rng.uniform(-0.8, 0.8) * times
        actors.append(Actor(name, picture, path, size / (picture.width * picture.height) ** 0.5, angles))
    actors = [actors[i] for i in rng.permutation(len(actors))]
    if rng.random() < 1 / 3:
        actors.append(strip(rng, material, length))
    return actors


def strip(rng: np.random.Generator, material: Material, length: int) -> Actor:
    """A post in front of everything, of a background's texture: it moves slowly and hides what passes behind it."""
    texture = ImageOps.fit(Image.open(rng.choice(material.backgrounds)), (int(rng.integers(22, 40)), 2 * HEIGHT))
    x = rng.uniform(0.25, 0.75) * WIDTH + rng.uniform(-2.5, 2.5) * np.arange(length)
    places = np.stack([x, np.full(length, HEIGHT / 2)], axis=1)
    return Actor("", texture.convert("RGBA"), places, np.ones(length), np.full(length, rng.uniform(-0.2, 0.2)))


def camera(rng: np.random.Generator, ground: Image.Image, length: int) -> list[Image.Image]:
    """Views of a photograph that pan and zoom slowly."""
    widest = min(ground.width / WIDTH, ground.height / HEIGHT)
    zooms = widest * np.clip(rng.uniform(0.5, 0.95) * np.exp(rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, length)), 0, 1)
    ends = rng.uniform(0, 1, (2, 2))
    ends[1] = np.clip(ends[0] + rng.uniform(-0.5, 0.5, 2), 0, 1)
    views = []
    for share, zoom in zip(np.linspace(0, 1, length), zooms, strict=True):
        width, height = WIDTH * zoom, HEIGHT * zoom
        left, top = (ends[0] + share * (ends[1] - ends[0])) * (ground.width - width, ground.height - height)
        view = ground.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
        views.append(view.convert("RGB"))
    return views


def placed(actor: Actor, t: int) -> Image.Image:
    """The picture of frame t, alone on a transparent frame."""
    scale, angle = float(actor.scales[t]), float(actor.angles[t])
    size = max(1, round(actor.picture.width * scale)), max(1, round(actor.picture.height * scale))
    picture = actor.picture.resize(size, Image.Resampling.BILINEAR)  # smaller first: turning does not average pixels
    cos, sin = np.cos(angle), np.sin(angle)
    (x, y), (middle, centre) = actor.places[t], (size[0] / 2, size[1] / 2)
    turned = (cos, sin, middle - cos * x - sin * y, -sin, cos, centre + sin * x - cos * y)
    return picture.transform((WIDTH, HEIGHT), Image.Transform.AFFINE, turned, Image.Resampling.BICUBIC)
