"""TRAM: sharpness-aware minimisation whose radius is how far the network's predictions have moved.

Sherborne, Saphra, Dasigi, Peng (2024), arXiv:2310.03646.

A step of SAM and its kin at theta, with the gradient g of the batch's loss L, goes up and then down:

    eps = d T^2 g / |T g|       g~ = grad L(theta + eps)       the base optimizer steps from theta with g~

    SAM          T^2 = 1                  d = rho = 0.05
    ASAM         T^2 = theta^2            d = rho = 0.5
    Fisher-SAM   T^2 = 1 / (1 + eta s)    d = gamma = 0.1, s the mean over the batch of (grad log p(y_i | x_i))^2
    TRAM-x       T^2 = theta^2            d = KL(p(. | x + z, theta) | p(. | x, theta)), z ~ N(0, sigma^2)
    TRAM-(t-1)   T^2 = theta^2            d = KL(p(. | x, theta_(t-1)) | p(. | x, theta)), 0 in the first step
    TRAM-0       T^2 = theta^2            d = KL(p(. | x, theta_0) | p(. | x, theta))
    TRAM-Fisher  as Fisher-SAM, with x + z in s

KL is the mean over the batch, without a gradient; so |eps / theta| = d under TRAM and ASAM. `scale` is a factor of d.
Trust regions instead add 0.1 times a KL to the loss: TRPO that to theta_(t-1), MESA to the average of theta with decay
0.999, R3F both KLs between x and x + z. Measured are the accuracy on other domains than the one trained on, and there
`sharpness`, 100 (L(theta + e) - L) / (1 + L) for e = 0.001 (|theta| + 1) sign(grad L), Keskar's to first order, and
`cka`, the linear CKA of the hidden layer with that before fine-tuning.
Deviations from the paper: Gaussian classes in 20 dimensions, whose domains are rotations, and a perceptron pre-trained
on all of them in place of ViT-B, GPT-2 and XLM-R, for which d ends so small (below 0.002) that TRAM-x and TRAM-(t-1)
end where the base optimizer does; the paper's equations, where the released code leaves g out of eps and divides KL
by the size of the batch twice; Keskar's box is not searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad
from torch.nn.functional import cross_entropy, one_hot

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Around, Data, Optimizer, Probed, Program, adam, as_task, sgd
from ...orchestrator.fusion.optim import spread
from ...orchestrator.task import Choice, Float, Scalar
from ..blocks.estimators import difference, mean, ratio
from ..blocks.figures import cells_figure
from ..blocks.transfer import cka, hidden, logits, pretrained

RADIUS = {"sam": 0.05, "asam": 0.5, "fisher_sam": 0.1, "tram_fisher": 0.1}  # for the others the distance
PENALTIES, DISTANCES = ("trpo", "mesa", "r3f"), ("tram_x", "tram_previous", "tram_start")
METHODS = ("plain", *PENALTIES, *RADIUS, *DISTANCES)
NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")
ETA, WEIGHT, DECAY, BOX, TINY = 0.1, 0.1, 0.999, 1e-3, 1e-12
TASK_DEFAULTS = {"method": "tram_x", "scale": 1.0, "sigma": 0.1, "width": 48, "examples": 150, "pretraining": 400}
TRAINING = {"base": "adam", "lr": 3e-3, "weight_decay": 0.0, "batch_size": 32, "steps": 300}
DEFAULTS: dict[str, Scalar] = {**TASK_DEFAULTS, **TRAINING}
Params = Mapping[str, Any]
Batch = tuple[Tensor]  # rows of the examples
Tree = dict[str, Tensor]


def kl(a: Tensor, b: Tensor) -> Tensor:
    """KL(softmax a | softmax b) of logits (... x batch x classes): the mean over the batch, in nats."""
    return (a.softmax(-1) * (a.log_softmax(-1) - b.log_softmax(-1))).sum(-1).mean(-1)


def predicted(model: Any, batch: Batch, p: Params, noisy: bool = False) -> Tensor:
    """Logits at x, or at x + z."""
    return logits(model.tensors, inputs(model, batch, p, noisy))


def inputs(model: Any, batch: Batch, p: Params, noisy: bool) -> Tensor:
    """x, or x + z."""
    x = model.tensors["x"][batch[0]]
    return x + p["sigma"] * torch.randn_like(x) if noisy else x


def loss(model: Any, batch: Batch, p: Params) -> Tensor:
    """The mean cross-entropy of the batch."""
    return cross_entropy(predicted(model, batch, p), model.tensors["y"][batch[0]])


def penalised(model: Any, batch: Batch, p: Params, *anchor: Tensor) -> Tensor:
    """The loss and 0.1 times the KL from the logits `anchor`, or without them those between x and x + z (R3F)."""
    f, g = predicted(model, batch, p), anchor[0] if anchor else predicted(model, batch, p, noisy=True)
    return loss(model, batch, p) + WEIGHT * (kl(g, f) if anchor else kl(g, f) + kl(f, g))


def squares(model: Any, batch: Batch, p: Params) -> Tree:
    """s, of which each example's gradient is an outer product a layer."""
    w, x = model.tensors, inputs(model, batch, p, noisy=p["method"] == "tram_fisher")
    h, found = hidden(w, x), Tree()
    late = logits(w, x).softmax(1) - one_hot(w["y"][batch[0]], w["2.bias"].shape[0])
    for layer, into, out in (("0", x, (late @ w["2.weight"]) * (1 - h.square())), ("2", h, late)):
        found[f"{layer}.weight"] = out.square().T @ into.square() / len(x)
        found[f"{layer}.bias"] = out.square().mean(0)
    return found


def ascent(around: Around, method: str, anchor: Tree) -> tuple[Tree, Tensor]:
    """eps and d."""
    theta, d = around.tensors, torch.full_like(around.loss, RADIUS.get(method, 1.0))
    if "fisher" in method:
        t2 = {name: 1 / (1 + ETA * s) for name, s in around.value(squares, theta).items()}
    else:
        t2 = {name: torch.ones_like(x) if method == "sam" else x.square() for name, x in theta.items()}
    if method in DISTANCES:
        noisy = method == "tram_x"
        far = around.value(partial(predicted, noisy=noisy), theta if noisy else anchor)
        d = kl(far, around.value(predicted, theta)).clamp(min=0)
    up = {name: t2[name] * g for name, g in around.grads.items()}
    d = around.settings["scale"] * d
    rate = d / (around.inner(up, around.grads).sqrt() + TINY)
    return {name: spread(rate, x) * x for name, x in up.items()}, d


def probe(around: Around, method: str) -> Probed:
    """The gradient that a method steps with, and what it is anchored to; theta itself in the first step."""
    first, theta = around.memory["t"] == 0, around.tensors
    anchor = {k: torch.where(spread(first, x), x, around.memory["anchor"][k]) for k, x in theta.items()}
    if method in PENALTIES:
        near = () if method == "r3f" else (around.value(predicted, anchor),)
        return Probed({"anchor": anchor, "gradient": around.gradient(theta, penalised, *near)})
    eps, d = ascent(around, method, anchor)
    relative = {name: x / torch.where(theta[name] == 0, 1.0, theta[name]) for name, x in eps.items()}
    inner, g = around.inner, around.grads
    cosine = inner(eps, g) / (inner(eps, eps) * inner(g, g)).sqrt().clamp(min=1e-30)
    found = {"distance": d, "radius_error": (inner(relative, relative).sqrt() - d).abs(), "climb": cosine}
    g = around.gradient({name: x + eps[name] for name, x in theta.items()})
    return Probed({"anchor": anchor, "gradient": g}, found)


def optimizer(p: Params) -> Optimizer:
    """The base optimizer with the gradient of the method."""
    usual = partial(adam, betas=(0.9, 0.99)) if p["base"] == "adam" else partial(sgd, momentum=0.9)
    method, base = str(p["method"]), usual("lr", weight_decay="weight_decay")

    def rule(x: Tensor, g: Tensor, memory: Tree, c: Tree) -> Tree:
        anchor, before = memory.pop("anchor"), x.clone()
        after = base.rule(x, g, memory, c)
        kept = {"mesa": lambda: anchor.lerp_(x, 1 - DECAY), "tram_start": lambda: anchor}
        return {**after, "anchor": kept.get(method, lambda: before)()}

    settings, slots = {**base.settings, "scale": "scale"}, (*base.slots, "anchor")
    whole = Optimizer(settings, slots, base.coefficients, rule, probe=lambda around: probe(around, method))
    return base if method == "plain" else whole


def measures(model: Any, data: Any, p: Params) -> Tree:
    """On the domain trained on, and on the others."""
    w, theta = model.tensors, {name: model.tensors[name] for name in NAMES}
    right = (logits(w, w["test_x"]).argmax(-1) == w["test_y"]).double().mean(1)
    x, y = w["test_x"][1:].flatten(0, 1), w["test_y"][1:].flatten()
    low, slope = cross_entropy(logits(w, x), y), grad(lambda w: cross_entropy(logits(w, x), y))(theta)
    high = cross_entropy(logits({k: v + BOX * (v.abs() + 1) * slope[k].sign() for k, v in theta.items()}, x), y)
    sharpness, similar = 100 * (high - low) / (1 + low), cka(hidden(w, x), hidden(w, x, "start"))
    return {"accuracy": right[0], "elsewhere": right[1:].mean(), "sharpness": sharpness, "cka": similar}


SWEEP: dict[str, Any] = {"metric": "elsewhere", "direction": "maximize", "grid": {"method": METHODS}, "seeds": 10}
REAL = "The gains are those of models with real pre-training; at this size the distance d is too small to matter."
PLAIN, EARLIER = ("tram_x", "plain"), ("tram_previous", "plain")
OVER = {other: difference("elsewhere", method=("tram_x", other)) for other in METHODS if other != "tram_x"}
CLAIMS = (
    Claim("TRAM-x: | |eps / theta| - d |", SWEEP, mean("radius_error", method="tram_x"), "below", 1e-5),
    Claim("TRAM-x: cos(eps, g)", SWEEP, mean("climb", method="tram_x"), "above", 0.0),
    Claim("accuracy elsewhere: TRAM-x - Adam", SWEEP, OVER["plain"], "above", -0.01),
    Claim("accuracy elsewhere: TRAM-(t-1) - Adam", SWEEP, difference("elsewhere", method=EARLIER), "above", -0.01),
    Claim("accuracy elsewhere: TRAM-x - SAM", SWEEP, OVER["sam"], "above", 0.0, REAL),
    Claim("accuracy elsewhere: TRAM-x - ASAM", SWEEP, OVER["asam"], "above", 0.0, REAL),
    Claim("accuracy elsewhere: TRAM-x - Fisher-SAM", SWEEP, OVER["fisher_sam"], "above", 0.0, REAL),
    Claim("accuracy elsewhere: TRAM-x - R3F", SWEEP, OVER["r3f"], "above", 0.0, REAL),
    Claim("sharpness elsewhere: TRAM-x / Adam", SWEEP, ratio("sharpness", method=PLAIN), "below", 1.0, REAL),
    Claim("CKA with the pre-trained: TRAM-x - Adam", SWEEP, difference("cka", method=PLAIN), "above", 0.0, REAL),
)


def figure(frames: Frames) -> Any:
    """Accuracy, sharpness and similarity of each method."""
    return cells_figure(frames, by="method", metrics=("elsewhere", "sharpness", "cka"))


TITLE = "TRAM: Bridging Trust Regions and Sharpness Aware Minimization"
PAPER = Paper(TITLE, ("Sherborne", "Saphra", "Dasigi", "Peng"), 2024, "2310.03646")
PROGRAM = Program(
    *(pretrained, loss, optimizer, lambda p: Data((torch.arange(int(p["examples"])),), batch=int(p["batch_size"]))),
    shapes=("method", "base", "width", "examples", "pretraining", "batch_size"),
    final=measures,
    defaults=DEFAULTS,
)
TASK = as_task(
    PROGRAM,
    name="tram",
    summary="Does a radius by the distance of predictions carry over to other domains?",
    metrics=("accuracy", "elsewhere", "sharpness", "cka", "distance", "radius_error", "climb"),
    space={"method": Choice(METHODS), "scale": Float(0.1, 100.0, log=True), "sigma": Float(0.01, 1.0, log=True)},
    smallest={"width": 8, "examples": 32, "pretraining": 5, "steps": 8},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"fixed.width": 1024, "fixed.steps": 50_000, "seeds": 20},
    figure=figure,
)
