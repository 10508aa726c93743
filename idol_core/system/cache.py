"""The cache folder of downloaded weights, looked up by name. `idolctl fetch` fills it."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from idol_core.errors import Missing


def cache_folder() -> Path:
    """$IDOLCTL_CACHE, or the platform's cache folder for idolctl. It need not exist."""
    override = os.environ.get("IDOLCTL_CACHE")
    return Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("idolctl"))


def weights_path(name: str) -> Path:
    """The file of the weights `name` in the cache: converted safetensors if there, else the published original.

    Raises Missing (exit 3) with the fetch command if neither is in the cache.
    """
    folder = cache_folder() / "weights"
    for ending in (".safetensors", ".pth", ".pkl"):
        if (path := folder / f"{name}{ending}").is_file():
            return path
    raise Missing(f"the weights {name} are not in the cache", where=str(folder), fix=f"idolctl fetch {name}")


def find_weights(name_or_path: str) -> Path:
    """Find a weights file by its path or by its name in the cache, a zoo name or hf:USER/NAME. Raises Missing."""
    if name_or_path.startswith("hf:"):
        from idol_core.system.hub_cache import cached_hub_weights

        return cached_hub_weights(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if os.sep in name_or_path or path.suffix:
        raise Missing(f"there is no weights file {name_or_path}", where=str(path.resolve()), fix="check the path")
    return weights_path(name_or_path)
