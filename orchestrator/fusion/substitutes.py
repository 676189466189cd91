"""What torch functions become while the functions of one lane run.

Under `vmap` most of torch works as it is. What does not is replaced by a form of the same mathematics:

- products: `x @ w` with a shared x would be folded into one matrix product over all lanes, whose rounding depends on
  how many lanes there are; and its gradient would come out transposed, on which an optimizer is slow;
- BatchNorm: torch's kernel works on lanes x channels, and its rounding depends on how many there are;
- cross-entropy over few classes: `log_softmax` is vectorised across examples when classes are not the last axis;
- attention: no batching rule on the CPU, forward or backward (torch 2.13), so lanes are folded into the batch;
- dropout and noise: functions of (seed, step, layer), see `noise`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from . import noise
from .attention import folded_attention, heads, plain_attention, usual_heads
from .errors import ProgramError


class Inside(TorchFunctionMode):
    """Active while one lane runs: makes random functions count, and replaces what is slow or inexact in lanes.

    `seed` and `step` are int64 scalars of the lane; `lanes` says that the lane is one of several under `vmap`, `smooth`
    that the result will be differentiated twice, which fused attention is not made for.
    """

    def __init__(self, seed: Tensor, step: Tensor, *, lanes: bool, smooth: bool = False) -> None:
        super().__init__()
        self._seed, self._step = seed, step
        self._draws = 0
        self._rules = {**RANDOM, **STACKED} if lanes else RANDOM
        self._lanes, self._smooth = lanes, smooth

    def key(self) -> Tensor:
        """The start of the next draw; draws of one step are numbered in the order in which they happen."""
        self._draws += 1
        return noise.key(self._seed, self._step, self._draws)

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._rules:
            return self._rules[func](self, *args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._heads(*args, **kwargs)
        if func in UNCOUNTED:
            raise ProgramError(
                f"{getattr(func, '__name__', func)} draws from torch's global generator, which lanes would share; "
                "use torch.rand, torch.randn, torch.bernoulli or dropout, which depend on seed, step and layer alone"
            )
        return func(*args, **kwargs)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        options = dict(zip(("attn_mask", "dropout_p", "is_causal"), args, strict=False)) | kwargs
        dropped = options.pop("dropout_p", 0.0)
        if dropped or self._smooth:
            return plain_attention(query, key, value, options, lambda weights: _dropout(self, weights, dropped))
        if self._lanes:
            return folded_attention(query, key, value, options)
        return F.scaled_dot_product_attention(query, key, value, **options)

    def _heads(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        if (given := usual_heads(*args, **kwargs)) is not None:
            with self:  # linear and attention inside have substitutes
                return heads(given)
        if kwargs.get("training", True) and args[10] > 0:  # dropout_p
            raise ProgramError(
                "nn.MultiheadAttention drops attention weights in a form that lanes cannot; call it with "
                "need_weights=False, or set its dropout to 0"
            )
        return F.multi_head_attention_forward(*args, **kwargs)


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for a (... x n x d) and b (d x m), as one `bmm` per lane whatever is shared between lanes.

    When b is a transposed matrix the transposed product is taken, so that b's gradient is contiguous.
    """
    rows = a.reshape(-1, a.shape[-1])
    if b.stride(0) == 1:
        out = torch.bmm(b.mT.unsqueeze(0), rows.mT.unsqueeze(0)).squeeze(0).mT
    else:
        out = torch.bmm(rows.unsqueeze(0), b.unsqueeze(0)).squeeze(0)
    return out if a.ndim == 2 else out.reshape(*a.shape[:-1], b.shape[1])


def _linear(_: Inside, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = product(x, weight.mT) if x.ndim > 1 else product(x.unsqueeze(0), weight.mT).squeeze(0)
    return out if bias is None else out + bias


def _matmul(_: Inside, a: Tensor, b: Tensor, **kwargs: Any) -> Tensor:
    return product(a, b) if a.ndim > 1 and b.ndim == 2 and not kwargs else torch.matmul(a, b, **kwargs)


def _reversed_matmul(inside: Inside, b: Tensor, a: Tensor) -> Tensor:
    return _matmul(inside, a, b)


def _cross_entropy(_: Inside, input: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """For logits (N x C) and classes (N). Other forms are left to torch."""
    given = {name for name, value in kwargs.items() if value is not None and value != 0.0}
    plain = not args and given <= {"reduction", "ignore_index"}
    if not plain or input.ndim != 2 or target.is_floating_point():
        return F.cross_entropy(input, target, *args, **kwargs)
    counted = target != kwargs.get("ignore_index", -100)
    logp = torch.log_softmax(input.mT.contiguous(), dim=0)  # C x N
    picked = logp.gather(0, torch.where(counted, target, 0).unsqueeze(0)).squeeze(0)
    losses = torch.where(counted, -picked, 0.0)
    match kwargs.get("reduction", "mean"):
        case "mean":
            return losses.sum() / counted.sum()
        case "sum":
            return losses.sum()
        case _:
            return losses


def _batch_norm(
    _: Inside,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Written out: torch's kernel would normalise lanes x channels at once, and round by how many there are."""
    axes = (0, *range(2, input.ndim))
    wide = (-1, *[1] * (input.ndim - 2))
    if training or running_mean is None or running_var is None:
        mean = input.mean(axes)
        centred = input - mean.view(wide)
        var = centred.square().mean(axes)
        if running_mean is not None and running_var is not None:
            count = input.numel() // input.shape[1]
            running_mean.mul_(1 - momentum).add_(mean.detach() * momentum)
            running_var.mul_(1 - momentum).add_(var.detach() * (momentum * count / (count - 1)))
    else:
        centred, var = input - running_mean.view(wide), running_var
    gain = (var + eps).rsqrt() if weight is None else weight * (var + eps).rsqrt()
    out = centred * gain.view(wide)
    return out if bias is None else out + bias.view(wide)


def _dropout(
    inside: Inside, input: Tensor, p: float | Tensor = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`p` may be a parameter of the lane; `inplace` saves nothing here and is ignored."""
    if not training or (not isinstance(p, Tensor) and p == 0.0):
        return input
    kept = noise.keep(inside.key(), input.shape, 1 - p)
    return torch.where(kept, input / (1 - p), 0.0)


def _channel_dropout(
    inside: Inside, input: Tensor, p: float | Tensor = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Whole channels, for input (N x C x ...)."""
    shape = (*input.shape[:2], *[1] * (input.ndim - 2))
    return input * _dropout(inside, torch.ones(shape, dtype=input.dtype, device=input.device), p, training)


def _like(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def drawn(inside: Inside, input: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        return draw(inside.key(), input.shape, dtype or input.dtype)

    return drawn


def _sized(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def drawn(inside: Inside, *size: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        shape = size[0] if size and isinstance(size[0], Sequence) else size
        return draw(inside.key(), shape, dtype or torch.get_default_dtype())

    return drawn


def _bernoulli(inside: Inside, input: Tensor, **_: Any) -> Tensor:
    return (noise.uniform(inside.key(), input.shape, input.dtype) < input).to(input.dtype)


RANDOM: Mapping[Any, Callable[..., Any]] = {
    F.dropout: _dropout,
    F.dropout1d: _channel_dropout,
    F.dropout2d: _channel_dropout,
    F.dropout3d: _channel_dropout,
    torch.rand: _sized(noise.uniform),
    torch.randn: _sized(noise.normal),
    torch.rand_like: _like(noise.uniform),
    torch.randn_like: _like(noise.normal),
    torch.bernoulli: _bernoulli,
}
STACKED: Mapping[Any, Callable[..., Any]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    torch.mm: _matmul,
    Tensor.matmul: _matmul,
    Tensor.mm: _matmul,
    Tensor.__matmul__: _matmul,
    Tensor.__rmatmul__: _reversed_matmul,
    F.batch_norm: _batch_norm,
    F.cross_entropy: _cross_entropy,
}
UNCOUNTED = frozenset(
    {
        torch.randint,
        torch.randperm,
        torch.normal,
        torch.multinomial,
        torch.poisson,
        torch.randint_like,
        F.alpha_dropout,
        F.feature_alpha_dropout,
        F.rrelu,
        F.gumbel_softmax,
        Tensor.normal_,
        Tensor.uniform_,
        Tensor.bernoulli_,
        Tensor.exponential_,
        Tensor.random_,
        Tensor.multinomial,
        Tensor.bernoulli,
    }
)
