"""Backbones that installed packages offer through the entry point group `idolctl.backbones`."""

from __future__ import annotations

from importlib.metadata import entry_points

from torch import nn

from idol_core.errors import InvalidInput

GROUP = "idolctl.backbones"


def plugin_backbone(name: str) -> nn.Module:
    """Build a backbone by calling the entry point `name`, which takes no arguments.

    It returns a module that maps [B, 3, H, W] images to feature maps of stride 8, 16 and 32 and lists their channels in
    `channels`. Raises InvalidInput if no installed package offers the name, or for something else than that.
    """
    known = entry_points(group=GROUP)
    if name not in known.names:
        offered = f"one of: {', '.join(sorted(known.names))}" if known.names else "install the package that offers it"
        raise InvalidInput(
            f"no installed package offers the backbone '{name}'", where="model.backbone.name", fix=offered
        )
    made = known[name].load()()
    if not isinstance(made, nn.Module) or len(getattr(made, "channels", ())) != 3:
        what = f"the entry point '{name}' gives no module with three numbers in `channels`"
        raise InvalidInput(what, where="model.backbone.name", fix=f"mend it: group {GROUP} of {known[name].value}")
    return made
