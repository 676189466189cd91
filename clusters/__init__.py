"""Where sweeps run. From Python: `submit` and `attach`, loaded on first use, so that importing costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .handle import Handle, attach, submit

__all__ = ["Handle", "attach", "submit"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"swathe.clusters has no {name!r}; it has {', '.join(__all__)}")
    from . import handle

    return getattr(handle, name)
