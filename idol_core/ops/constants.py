"""Cache for tensors that depend only on sizes and the like."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch._guards import detect_fake_mode

_P = ParamSpec("_P")
_T = TypeVar("_T")


def constant(*, keep: int = 64) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Decorator that caches the `keep` most recently used results of a function with hashable arguments.

    Results are computed outside of inference mode, so that training can use them, too. Under torch.compile nothing is
    cached: the tensors become part of its graph. Each fake tensor mode has its own cache entries.
    """

    def decorate(make: Callable[_P, _T]) -> Callable[_P, _T]:
        kept: OrderedDict[Hashable, _T] = OrderedDict()

        @wraps(make)
        def get(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            if torch.compiler.is_compiling():
                return make(*args, **kwargs)
            key = (detect_fake_mode(), args, tuple(kwargs.items()))
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
            with torch.inference_mode(False), torch.no_grad():
                made = kept[key] = make(*args, **kwargs)
            if len(kept) > keep:
                kept.popitem(last=False)
            return made

        return get

    return decorate
