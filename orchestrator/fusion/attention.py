"""Attention in lanes: lanes become part of the batch, and the fused kernel is called once, forward and backward.

`scaled_dot_product_attention` has no batching rule on the CPU in torch 2.13: `vmap` would call it once per lane, and
its gradient too. Attention has no parameters, so lanes need no rule of their own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Options = Mapping[str, Any]  # attn_mask, dropout_p, is_causal, scale, enable_gqa, as torch names them
_HEADS = inspect.signature(F.multi_head_attention_forward)


class _Folded(torch.autograd.Function):
    """Attention whose rule under `vmap` is attention over a larger batch; autograd sees only that call."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: Options) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, **options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept: the gradient is that of the folded call, one level below."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        """query (lanes x ... x heads x length x d) -> the same, through one call over all leading axes but heads."""

        def stacked(x: Tensor, dim: int | None) -> Tensor:
            return x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)

        query, key, value = (stacked(x, dim) for x, dim in zip(inputs[:3], in_dims[:3], strict=True))
        mask, options = inputs[3:]
        if mask is not None and (in_dims[3] is not None or mask.ndim > 2):
            mask = stacked(mask, in_dims[3])
            mask = mask.view(mask.shape[0], *[1] * (query.ndim - mask.ndim), *mask.shape[1:])
            mask = mask.expand(*query.shape[:-1], key.shape[-2]).flatten(0, -4)
        folded = (x.flatten(0, -4) for x in (query, key, value))
        out = F.scaled_dot_product_attention(*folded, attn_mask=mask, **options)
        return out.view(*query.shape[:-1], value.shape[-1]), 0


def _grouped(query: Tensor, key: Tensor, value: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Keys and values with as many heads as the queries have."""
    if not options.get("enable_gqa", False):
        return key, value
    repeats = query.shape[-3] // key.shape[-3]
    return key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)


def folded_attention(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    """Attention of one lane without dropout; query (... x heads x length x d)."""
    key, value = _grouped(query, key, value, options)
    rest = {name: options[name] for name in ("is_causal", "scale") if name in options}
    return _Folded.apply(query, key, value, options.get("attn_mask"), rest)  # pyright: ignore[reportReturnType]


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, options: Options, drop: Callable[[Tensor], Tensor] = lambda w: w
) -> Tensor:
    """softmax(q k' / sqrt(d) + mask) v, written out: differentiable any number of times; `drop` thins the weights."""
    key, value = _grouped(query, key, value, options)
    scale, mask = options.get("scale"), options.get("attn_mask")
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if options.get("is_causal", False):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = torch.where(mask, scores, -math.inf) if mask.dtype == torch.bool else scores + mask
    return drop(scores.softmax(-1)) @ value


def usual_heads(*args: Any, **kwargs: Any) -> SimpleNamespace | None:
    """The arguments of `multi_head_attention_forward` where `heads` can serve, else None."""
    bound = _HEADS.bind(*args, **kwargs)
    bound.apply_defaults()
    given = SimpleNamespace(**bound.arguments)
    odd = (given.bias_k, given.bias_v, given.static_k, given.static_v)
    if given.need_weights or given.use_separate_proj_weight or given.add_zero_attn or any(x is not None for x in odd):
        return None
    return given


def heads(given: SimpleNamespace) -> tuple[Tensor, None]:
    """`nn.MultiheadAttention` without weights in its answer; query (length x batch x d) or (length x d)."""
    weights = given.in_proj_weight.chunk(3)
    biases = (None, None, None) if given.in_proj_bias is None else given.in_proj_bias.chunk(3)

    def split(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.linear(x, weight, bias).unflatten(-1, (given.num_heads, -1))  # length x ... x heads x d
        return x.movedim(0, -2)

    inputs = (given.query, given.key, given.value)
    query, key, value = (split(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))
    out = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=_merged(given, query),
        dropout_p=given.dropout_p if given.training else 0.0,
        is_causal=given.is_causal and given.attn_mask is None,
    )
    return F.linear(out.movedim(-2, 0).flatten(-2), given.out_proj_weight, given.out_proj_bias), None


def _merged(given: SimpleNamespace, query: Tensor) -> Tensor | None:
    """One additive mask (... x heads x length x length) from the attention mask and the padding mask, or None."""
    merged: Tensor | None = None
    for mask, padding in ((given.attn_mask, False), (given.key_padding_mask, True)):
        if mask is None:
            continue
        if mask.dtype == torch.bool:
            mask = torch.where(mask, -math.inf, 0.0).to(query.dtype)
        if padding:
            mask = mask.unsqueeze(-2).unsqueeze(-2)
        elif mask.ndim == 3:
            mask = mask.unflatten(0, (-1, given.num_heads)) if query.ndim == 4 else mask
        merged = mask if merged is None else merged + mask
    return merged
