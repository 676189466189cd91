"""AdamP and SGDP: momentum without its radial part keeps scale-invariant weights small and their steps large.

Heo, Chun, Oh, Han, Yun, Kim, Uh, Ha (2021), arXiv:2006.08217.

A weight w that normalisation follows has f(c w) = f(w), so its gradient is tangent (g.w = 0) and the step that counts
is that of u = w / |w|, about |step| / |w|. With steps w <- w - eta p, p = beta p + g,

    |w_T|^2 = |w_0|^2 + eta^2 sum_t |p_t|^2 + 2 eta^2 sum_t sum_(k<t) beta^(t-k) |p_k|^2

so for steady |p| the last term makes the norm grow 1 + 2 beta / (1 - beta) times as fast, 19 times at 0.9. Both methods
take the radial part out of p. For the rows w_r, g_r, p_r (output channels; else the whole tensor) of length d

    if max_r |cos(g_r, w_r)| < delta / sqrt(d):   p_r <- p_r - u_r (u_r.p_r),  weight decay times `wd_ratio`
    SGDP:   p = momentum m <- mu m + g            w <- (1 - lr wd / (1 - mu)) w - lr p
    AdamP:  p = m / (sqrt(v / (1 - b2^t)) + eps)  w <- (1 - lr wd) w - lr / (1 - b1^t) p

Deviations from the paper: a perceptron with BatchNorm on 8x8 digits for 400 steps in place of ResNets on ImageNet and
twelve other benchmarks; no Nesterov momentum; effective steps |u_(t+1) - u_t| are those of whole hidden matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Data, Optimizer, Program, adam, as_task, cosine, sgd
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Choice, Float, Lattice, Scalar
from ..blocks.datasets import digits
from ..blocks.estimators import difference, ratio
from ..blocks.figures import curves_figure
from ..blocks.losses import classification_loss, classification_metrics

OPTIMIZERS = ("sgd", "sgdp", "adam", "adamw", "adamp")
MOMENTUM, BETAS, EPSILON = 0.9, (0.9, 0.999), 1e-8
DEFAULTS: dict[str, Scalar] = {
    "optimizer": "adamp",
    "lr": 2.0**-10,
    "weight_decay": 0.0,
    "delta": 0.1,
    "wd_ratio": 0.1,
    "width": 128,
    "batch_size": 64,
    "steps": 400,
}
SETTINGS = {name: name for name in ("lr", "weight_decay", "delta", "wd_ratio")}  # of the projected methods
Memory = dict[str, Tensor]
Params = Mapping[str, Scalar]


def project(w: Tensor, g: Tensor, p: Tensor, delta: Tensor, lanes: int) -> tuple[Tensor, Tensor]:
    """p without its radial part where the gradient g says that w is scale-invariant, and whether it does.

    Tensors of one shape with `lanes` (0 or 1) lane axes in front, delta a factor of them; vectors never are projected.
    """
    if w.ndim - lanes < 2:
        return p, torch.zeros_like(delta, dtype=torch.bool)
    projected, decided = p, torch.zeros_like(delta, dtype=torch.bool)
    for rows in (w.shape[: lanes + 1], (*w.shape[:lanes], 1)):
        w_r, g_r, p_r = (each.reshape(*rows, -1) for each in (w, g, p))
        cos = ((g_r * w_r).sum(-1) / (g_r.norm(dim=-1) * w_r.norm(dim=-1)).clamp(min=EPSILON)).abs()
        qualifies = cos.amax(-1).view_as(delta) < delta / w_r.shape[-1] ** 0.5
        u = w_r / (w_r.norm(dim=-1, keepdim=True) + EPSILON)
        tangent = (p_r - u * (u * p_r).sum(-1, keepdim=True)).view_as(p)
        projected = torch.where(qualifies & ~decided, tangent, projected)
        decided = decided | qualifies
    return projected, decided


def sgdp(**options: Any) -> Optimizer:
    """SGD with momentum whose steps are tangent to scale-invariant weights."""

    def coefficients(h: Mapping[str, Tensor], t: Tensor) -> Memory:
        return {**h, "decay": h["lr"] * h["weight_decay"] / (1 - MOMENTUM)}

    def rule(w: Tensor, g: Tensor, memory: Memory, c: Memory) -> Memory:
        m = memory["m"].mul_(MOMENTUM).add_(g)
        p, tangent = project(w, g, m, c["delta"], c["t"].ndim)
        w.mul_(1 - c["decay"] * torch.where(tangent, c["wd_ratio"], 1.0)).sub_(c["lr"] * p)
        return {"m": m}

    return Optimizer(SETTINGS, ("m",), coefficients, rule, **options)


def adamp(**options: Any) -> Optimizer:
    """AdamW whose steps are tangent to scale-invariant weights."""

    def coefficients(h: Mapping[str, Tensor], t: Tensor) -> Memory:
        b1, b2 = (1 - beta ** t.double() for beta in BETAS)  # a number to a whole power would be single precision
        return {**h, "rate": h["lr"] / b1, "root": b2.sqrt(), "decay": h["lr"] * h["weight_decay"]}

    def rule(w: Tensor, g: Tensor, memory: Memory, c: Memory) -> Memory:
        m, v = memory["m"].lerp_(g, 1 - BETAS[0]), memory["v"].lerp_(g * g, 1 - BETAS[1])
        p, tangent = project(w, g, m / (v.sqrt() / c["root"] + EPSILON), c["delta"], c["t"].ndim)
        w.mul_(1 - c["decay"] * torch.where(tangent, c["wd_ratio"], 1.0)).sub_(c["rate"] * p)
        return {"m": m, "v": v}

    return Optimizer(SETTINGS, ("m", "v"), coefficients, rule, **options)


def optimizer(p: Params) -> Optimizer:
    """The trial's optimizer; the learning rate falls by half a cosine."""
    name, schedule = p["optimizer"], cosine(steps="steps")
    if name == "sgd":
        return sgd("lr", MOMENTUM, weight_decay="weight_decay", schedule=schedule)
    if name in ("adam", "adamw"):
        return adam("lr", BETAS, EPSILON, "weight_decay", decoupled=name == "adamw", schedule=schedule)
    return sgdp(schedule=schedule) if name == "sgdp" else adamp(schedule=schedule)


class Invariant(nn.Linear):
    """A matrix that normalisation follows; keeps its first norm, and how far its direction goes late in training."""

    before: Tensor
    far: Tensor
    seen: Tensor

    def __init__(self, inputs: int, outputs: int, steps: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.begins = 3 * steps // 4
        start = self.weight.detach()
        kept = {"first": start.norm(), "before": start / start.norm(), "far": torch.zeros(()), "seen": torch.zeros(())}
        for name, value in kept.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """W x."""
        if self.training:
            with torch.no_grad():
                u = self.weight / self.weight.norm()
                self.far += torch.where(self.seen > self.begins, (u - self.before).norm(), 0.0)
                self.before.copy_(u)
                self.seen += 1
        return super().forward(x)


def network(p: Params, seeds: Seeds) -> nn.Module:
    """Two hidden layers with BatchNorm, then the classes; only the hidden matrices are scale-invariant."""
    width, steps = int(p["width"]), int(p["steps"])
    first, second = ([Invariant(n, width, steps), nn.BatchNorm1d(width), nn.ReLU()] for n in (64, width))
    return nn.Sequential(*first, *second, nn.Linear(width, 10))


def metrics(model: Any, data: tuple[Tensor, ...], p: Params) -> dict[str, Tensor]:
    """On held-out digits; and means over hidden matrices of |w| / |w_0| and of late effective steps."""
    of, late_steps = model.tensors, int(p["steps"]) - 3 * int(p["steps"]) // 4 - 1
    growth = torch.stack([of[f"{k}.weight"].norm() / of[f"{k}.first"] for k in (0, 3)]).mean()
    late = torch.stack([of["0.far"], of["3.far"]]).mean() / late_steps
    return {**classification_metrics(model, data, p), "norm_growth": growth, "late_step": late}


def sweep(*optimizers: str, weight_decay: float) -> dict[str, Any]:
    """Some of the optimizers at every two octaves of the learning rate, five seeds."""
    goal = {"metric": "val_accuracy", "direction": "maximize", "seeds": 5, "sampler": "grid"}
    space = {"grid": {"optimizer": optimizers}, "search": {"lr": {"log2": [-14, 0], "num": 8}}}
    return {**goal, **space, "fixed": {"weight_decay": weight_decay}}


PLAIN, DECAYED = sweep("sgd", "sgdp", "adam", "adamp", weight_decay=0.0), sweep("adamw", "adamp", weight_decay=1e-2)
ADAM, SGD = {"optimizer": ("adamp", "adam"), "lr": 2.0**-6}, {"optimizer": ("sgdp", "sgd"), "lr": 2.0**-2}
BEST, BEST_W = ({"direction": "maximize", "optimizer": ("adamp", other)} for other in ("adam", "adamw"))
SMALL = "At this size digits are nearly solved by all methods."
CLAIMS = (  # in a pilot with another seed norms grow at all at the learning rates named here
    Claim("hidden norms, AdamP over Adam, lr 2^-6", PLAIN, ratio("norm_growth", **ADAM), "below", 0.8),
    Claim("late effective steps, AdamP over Adam, lr 2^-6", PLAIN, ratio("late_step", **ADAM), "above", 1.0),
    Claim("hidden norms, SGDP over SGD, lr 2^-2", PLAIN, ratio("norm_growth", **SGD), "below", 0.8),
    Claim("late effective steps, SGDP over SGD, lr 2^-2", PLAIN, ratio("late_step", **SGD), "above", 1.0),
    Claim("accuracy at the best lr, AdamP less Adam", PLAIN, difference("val_accuracy", **BEST), "above", -0.01),
    Claim("accuracy, AdamP less AdamW, decay 0.01", DECAYED, difference("val_accuracy", **BEST_W), "above", 0.0, SMALL),
)


def figure(plain: Frames, decayed: Frames) -> Any:
    """Norms, late effective steps and accuracy over the learning rate."""
    return curves_figure(plain, by="optimizer", over="lr", metrics=("norm_growth", "late_step", "val_accuracy"))


TITLE = "AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights"
PAPER = Paper(TITLE, ("Heo", "Chun", "Oh", "Han", "Yun", "Kim", "Uh", "Ha"), 2021, "2006.08217")
PROGRAM = Program(
    *(network, classification_loss, optimizer, lambda p: Data(*digits(), batch=int(p["batch_size"])), metrics),
    shapes=("optimizer", "width", "batch_size"),
    defaults=DEFAULTS,
)
TASK = as_task(
    PROGRAM,
    name="adamp",
    summary="Do steps tangent to scale-invariant weights train better than momentum alone?",
    metrics=("val_loss", "val_accuracy", "norm_growth", "late_step"),
    space={"optimizer": Choice(OPTIMIZERS), "lr": Lattice(-14, 0, 15), "delta": Float(0.01, 1.0, log=True)},
    smallest={"width": 16, "batch_size": 16, "steps": 12, "report_every": 6},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"fixed.width": 1024, "fixed.steps": 20_000, "seeds": 10},
    figure=figure,
)
