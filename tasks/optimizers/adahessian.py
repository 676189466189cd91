"""AdaHessian: Adam whose second moment is that of the Hessian's diagonal, estimated and averaged over blocks.

Yao, Gholami, Shen, Mustafa, Keutzer, Mahoney (2021), arXiv:2006.00719.

For random signs z, D = z * H z has mean diag(H) and variance sum_(j != i) H_ij^2 in entry i (Hutchinson); H z is the
gradient of z.g, one backward pass more on the same batch. D_s holds the mean of |D| over blocks: the kernel of a
convolution, `block` neighbours of a matrix, in C order (1: none, 0: its rows), nothing of vectors. With the gradient g,

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) D_s^2        every q steps a new D_s
    w <- w - lr ( (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t))^k + eps) + wd w )

Where alpha <= H <= beta and b1 = eps = 0, k = 1, lr = alpha / beta the loss falls by at least alpha |g|^2 / 2 beta^2
while D_s stays within these bounds; on a diagonal H a step of rate 1 ends in the minimum.

Deviations from the paper: a small perceptron on inputs whose scales differ by up to 10^(2 sigma), labelled by a random
network, in place of ResNets, transformers and DLRM; mean |D| as in the authors' code, where the paper writes mean D
(`absolute`); matrices are averaged by rows as well, which the authors' image code leaves alone. Each replicate has a
teacher, scales and a beginning of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...orchestrator.claims import Claim, Estimate, Frames, Paper
from ...orchestrator.fusion import Around, Optimizer, Probed, Program, adagrad, adam, adamw, as_task, sgd
from ...orchestrator.fusion.schedules import Schedule
from ...orchestrator.task import Choice, Float, Lattice, Scalar
from ..blocks.estimators import difference, ratio
from ..blocks.figures import curves_figure
from ..blocks.students import loss, metrics, points, student

OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "adahessian")
DEFAULTS: dict[str, Scalar] = {
    "optimizer": "adahessian",
    "lr": 2.0**-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-4,  # of AdaHessian; Adam's is 1e-8
    "power": 1.0,
    "decay": 0.0,  # lr wd of AdamW and AdaHessian at the first step
    "block": 1,
    "absolute": True,
    "every": 1,
    "samples": 1,
    "sigma": 1.5,
    "width": 64,
    "batch_size": 64,
    "steps": 400,
}
Memory = dict[str, Tensor]
Params = Mapping[str, Scalar]


def averaged(d: Tensor, block: int, lanes: int, *, absolute: bool = True) -> Tensor:
    """D_s of the estimate D of one tensor with `lanes` (0 or 1) lane axes in front."""
    d, axes = d.abs() if absolute else d, d.ndim - lanes
    if axes < 2 or (axes == 2 and block == 1):
        return d
    if axes > 2:
        return d.mean(tuple(range(lanes + 2, d.ndim)), keepdim=True).expand_as(d)
    runs = d if block == 0 else d.reshape(*d.shape[:lanes], -1, block)
    return runs.mean(-1, keepdim=True).expand_as(runs).reshape(d.shape)


def weight_decay(p: Params) -> float:
    """wd, such that lr wd is the parameter `decay` before the learning rate falls."""
    return float(p["decay"]) / float(p["lr"])


def adahessian(p: Params, **options: Any) -> Optimizer:
    """AdaHessian; `block`, `absolute`, `every` and `samples` are shapes, all else may differ from lane to lane."""
    block, samples, absolute = int(p["block"]), int(p["samples"]), bool(p["absolute"])

    def probe(around: Around) -> Probed:
        total = {name: torch.zeros_like(w) for name, w in around.tensors.items()}
        for draw in range(samples):
            z = around.signs(draw)
            hz = around.curvature(z)
            total = {name: d + z[name] * hz[name] / samples for name, d in total.items()}
        lanes = around.loss.ndim
        return Probed({"d": {name: averaged(d, block, lanes, absolute=absolute) for name, d in total.items()}})

    def coefficients(h: Mapping[str, Tensor], t: Tensor) -> Memory:
        one, two = 1 - h["beta1"] ** t, 1 - h["beta2"] ** t
        return {**h, "rate": h["lr"] / one, "root": two.sqrt(), "keep": 1 - h["lr"] * h["weight_decay"]}

    def rule(w: Tensor, g: Tensor, memory: Memory, c: Memory) -> Memory:
        d = memory["d"]
        m, v = memory["m"].lerp_(g, 1 - c["beta1"]), memory["v"].lerp_(d * d, 1 - c["beta2"])
        w.mul_(c["keep"]).sub_(c["rate"] * m / ((v.sqrt() / c["root"]) ** c["power"] + c["eps"]))
        return {"m": m, "v": v, "d": d}

    settings = {name: name for name in ("lr", "beta1", "beta2", "eps", "power")} | {"weight_decay": weight_decay}
    return Optimizer(settings, ("m", "v", "d"), coefficients, rule, probe=probe, every=int(p["every"]), **options)


def optimizer(p: Params) -> Optimizer:
    """The trial's optimizer; the learning rate falls to a tenth for the last quarter."""
    drop = {"warmup": 0.0, "steps": "steps", "floor": 0.1}
    schedule = Schedule(lambda progress, low: torch.where(progress < 0.75, torch.ones_like(low), low), drop)
    match p["optimizer"]:
        case "sgd":
            return sgd("lr", 0.9, schedule=schedule)
        case "adam":
            return adam("lr", ("beta1", "beta2"), schedule=schedule)
        case "adamw":
            return adamw("lr", ("beta1", "beta2"), weight_decay=weight_decay, schedule=schedule)
        case "adagrad":
            return adagrad("lr", schedule=schedule)
        case _:
            return adahessian(p, schedule=schedule)


PROGRAM = Program(
    *(student, loss, optimizer, points, metrics),
    shapes=("optimizer", "block", "absolute", "every", "samples", "width", "batch_size"),
    defaults=DEFAULTS,
)


def tolerance(frames: Frames) -> Estimate:
    """How many more learning rates of AdaHessian than of Adam are within 3 points of the best, seed by seed."""
    from ...analysis.estimates import from_values
    from ...analysis.tuned import select

    def near(name: str) -> Any:
        rows = select(frames.trials, optimizer=name, steps=400)
        table = rows.pivot(index="param.lr", columns="replicate", values="metric.val_accuracy").astype(float)
        return (table >= table.max() - 0.03).sum()

    return from_values((near("adahessian") - near("adam")).to_numpy(dtype=float))


def sweep(**grid: tuple[Scalar, ...]) -> dict[str, Any]:
    """Every two octaves of the learning rate, eight seeds."""
    goal = {"metric": "val_accuracy", "direction": "maximize", "seeds": 8, "sampler": "grid"}
    return {**goal, "grid": grid, "search": {"lr": {"log2": [-10, 2], "num": 7}}}


MAIN = sweep(optimizer=("sgd", "adam", "adagrad", "adahessian"), steps=(400, 800))
DECAYED = sweep(optimizer=("adamw", "adahessian"), decay=(5e-4,))
BLOCKS, RARELY = sweep(block=(1, 0), sigma=(0.0, 1.5)), sweep(every=(1, 5))


def gain(over: str, steps: Any = 400) -> Any:
    """Accuracy of AdaHessian less that of another, each at its best learning rate."""
    return difference("val_accuracy", "maximize", optimizer=("adahessian", over), steps=steps)


RARE = difference("val_accuracy", "maximize", every=(5, 1))
EQUAL, UNEQUAL = ratio("train_loss", block=(0, 1), sigma=0.0, lr=2.0**-4), ratio("train_loss", block=(0, 1), sigma=1.5)
GAIN_W = difference("val_accuracy", "maximize", optimizer=("adahessian", "adamw"))
SMALL = "The paper's gains over Adam and AdamW are those of convolutional networks and transformers, tuned at length."
MIXED = "A row holds inputs whose scales differ a thousandfold; their mean undoes what the diagonal is there for."
CLAIMS = (  # pilots with other seeds chose the range of learning rates, and the one at which blocks are compared
    Claim("accuracy, AdaHessian less Adam", MAIN, gain("adam"), "above", 0.0, SMALL),
    Claim("accuracy, AdaHessian less SGD with momentum", MAIN, gain("sgd"), "above", 0.03),
    Claim("accuracy, AdaHessian less Adagrad", MAIN, gain("adagrad"), "above", 0.0, SMALL),
    Claim(
        "accuracy at equal backward passes, AdaHessian at 400 steps less Adam at 800",
        *(MAIN, gain("adam", (400, 800)), "above", 0.0, SMALL),
    ),
    Claim("learning rates within 3 points of the best, AdaHessian less Adam", MAIN, tolerance, "above", -1.0),
    Claim("accuracy, AdaHessian less AdamW, lr wd = 0.0005", DECAYED, GAIN_W, "above", 0.0, SMALL),
    Claim("training loss, equal scales, lr 1/16: rows averaged over not", BLOCKS, EQUAL, "below", 1.0),
    Claim("training loss, unequal scales, best lr: rows averaged over not", BLOCKS, UNEQUAL, "below", 0.6, MIXED),
    Claim("accuracy, a Hessian every 5 steps less every step", RARELY, RARE, "above", -0.02),
)


def figure(main: Frames, *others: Frames) -> Any:
    """Accuracy and training loss over the learning rate."""
    from ...analysis.tuned import select

    shown = Frames(select(main.trials, steps=400), main.metrics)
    return curves_figure(shown, by="optimizer", over="lr", metrics=("val_accuracy", "train_loss"))


PAPER = Paper(
    "ADAHESSIAN: An Adaptive Second Order Optimizer for Machine Learning",
    ("Yao", "Gholami", "Shen", "Mustafa", "Keutzer", "Mahoney"),
    *(2021, "2006.00719"),
)
TASK = as_task(
    PROGRAM,
    name="adahessian",
    summary="Does Adam with the Hessian's diagonal in place of the squared gradient train better?",
    metrics=("train_loss", "val_accuracy"),
    space={"optimizer": Choice(OPTIMIZERS), "lr": Lattice(-12, 2, 15), "power": Float(0.5, 1.0)},
    smallest={"width": 8, "batch_size": 16, "steps": 12, "report_every": 6},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"fixed.width": 2048, "fixed.batch_size": 256, "grid.steps": [31_200, 62_400], "seeds": 10},
    figure=figure,
)
