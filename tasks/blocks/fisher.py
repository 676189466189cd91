"""The damped empirical Fisher matrix F = lam I + G'G / m of few gradients, the rows of G (m x d), without the matrix.

Gradients are trees. "..." is nothing, or lanes in front of everything.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from ...orchestrator.fusion.optim import Tree, spread


def factor(gram: Tensor, lam: Tensor) -> Tensor:
    """C of m lam I + G G' (... x m x m, double), for lam of shape (...)."""
    m = gram.shape[-1]
    damped = gram.double() + (m * lam.double())[..., None, None] * torch.eye(m, dtype=torch.float64, device=gram.device)
    return torch.linalg.cholesky_ex(damped)[0]


def product(window: Tree, gram: Tensor, x: Tree, lam: Tensor) -> dict[str, Tensor]:
    """F^-1 x for G as a tree of (... x m x shape), its G G' (... x m x m) and lam (...)."""
    y = torch.cholesky_solve(along(window, x, lam.ndim).double().unsqueeze(-1), factor(gram, lam)).squeeze(-1)
    back = {name: (spread(y.to(g.dtype), g) * g).sum(lam.ndim) for name, g in window.items()}
    return {name: (each - back[name]) / spread(lam.to(each.dtype), each) for name, each in x.items()}


def along(window: Tree, x: Tree, lanes: int) -> Tensor:
    """G x (... x m)."""
    parts = ((g * x[name].unsqueeze(lanes)).unsqueeze(-1).flatten(lanes + 1).sum(-1) for name, g in window.items())
    return reduce(torch.add, parts)


def replaced(window: Tree, gram: Tensor, g: Tree, t: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """G and G G' with g in place of row t mod m, t of shape (...)."""
    m = gram.shape[-1]
    here = torch.arange(m, device=t.device) == (t % m).unsqueeze(-1)
    after = {name: torch.where(spread(here, old), g[name].unsqueeze(t.ndim), old) for name, old in window.items()}
    row = along(after, g, t.ndim)
    gram = torch.where(here.unsqueeze(-1), row.unsqueeze(-2), gram)
    return after, torch.where(here.unsqueeze(-2), row.unsqueeze(-1), gram)
