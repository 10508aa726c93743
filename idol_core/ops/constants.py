"""Cache for tensors that depend only on sizes and the like."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch._guards import detect_fake_mode

_used: ContextVar[list[object] | None] = ContextVar("_used", default=None)
_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def kept_alive() -> Iterator[list[object]]:
    """Context manager: a list of all constants that this thread uses within, also those that leave the caches later."""
    used: list[object] = []
    token = _used.set(used)
    try:
        yield used
    finally:
        _used.reset(token)


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
            else:
                with torch.inference_mode(False), torch.no_grad():
                    kept[key] = make(*args, **kwargs)
                if len(kept) > keep:
                    kept.popitem(last=False)
            used = _used.get()
            if used is not None:
                used.append(kept[key])
            return kept[key]

        return get

    return decorate


def exporting() -> bool:
    """Whether torch.export traces the model, for runtimes without torch's operators. (New in torch 2.7.)"""
    return bool(getattr(torch.compiler, "is_exporting", bool)())
