"""Doubts about the campaign itself: an attack that cannot find anything proves nothing.

After Carlini et al. 2019, https://arxiv.org/abs/1902.06705, and Athalye et al. 2018, https://arxiv.org/abs/1802.00420.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from monitor.robustness.probes import depends_on_batch
from monitor.robustness.report import Flag
from monitor.robustness.target import Target, Task
from monitor.schema import FloatArray

MANY_FLAT = 0.1
ONE_POINT = 0.01
NO_SKILL = 0.02
WRONG_SLOPES = 0.25
COPIES_WIN = 0.05
FEW_ROWS = 4
BROKEN_RELATION = 0.5


def audit_model(target: Target, rows: FloatArray, outputs: FloatArray, matthews: float | None) -> list[Flag]:
    """Flags that need no attack: train mode, randomness, probabilities in place of logits, a constant predictor."""
    flags = []
    if target.was_training:
        flags.append(
            Flag(
                name="train_mode",
                sentence="The model was in training mode: dropout and batch statistics would have blurred every "
                "number, so a copy in evaluation mode was measured. Call model.eval() where you serve it.",
            )
        )
    if target.samples > 1:
        flags.append(
            Flag(
                name="random_outputs",
                sentence="The same rows gave different outputs twice: the model is random. Attacks and scores average "
                f"over {target.samples} calls here, and are still optimistic: serve it without the randomness.",
            )
        )
    elif depends_on_batch(target, rows, outputs):
        flags.append(
            Flag(
                name="batch_dependent",
                sentence="A row's output depends on the rows that come with it, as with batch statistics: what holds "
                "in a batch does not hold for the single rows that are served.",
            )
        )
    if target.module is not None and not target.differentiable:
        flags.append(
            Flag(
                name="no_gradient",
                sentence="The outputs do not depend on the rows inside the graph (detached, or computed outside "
                "torch): rows were searched at random instead, which finds less.",
            )
        )
    if target.white_box and target.task is not Task.REGRESSION and _look_like_probabilities(outputs):
        flags.append(
            Flag(
                name="probabilities",
                sentence="The outputs look like probabilities where logits are expected: gradients vanish on confident "
                "rows and the decision lies at 0. Return the values before the sigmoid or softmax.",
            )
        )
    if matthews is not None and abs(matthews) < NO_SKILL:
        flags.append(
            Flag(
                name="degenerate",
                sentence=f"The predictions hardly depend on the input (Matthews correlation {matthews:.2f}): a "
                "constant predictor has perfect robustness and no use.",
            )
        )
    return flags


def _look_like_probabilities(outputs: FloatArray) -> bool:
    inside = bool(((outputs >= 0) & (outputs <= 1)).all())
    return inside and (outputs.ndim == 1 or bool(np.allclose(outputs.sum(axis=1), 1, atol=1e-3)))


def audit_gradients(*, zero: float, nan: float, wrong: float) -> list[Flag]:
    """Flags on the share of rows whose gradient was zero or NaN on everything that can move, or a wrong slope."""
    flags = []
    if wrong > WRONG_SLOPES:
        flags.append(
            Flag(
                name="wrong_gradients",
                sentence=f"In {wrong:.0%} of the probes the gradient differs from finite differences by half or more: "
                "part of the model is detached, rounded or has a backward pass of its own, and attacks are misled.",
            )
        )
    if zero > MANY_FLAT:
        flags.append(
            Flag(
                name="zero_gradients",
                sentence=f"{zero:.0%} of the rows have no gradient on any movable feature: the attack is blind there, "
                "and the true robust accuracy may be far lower.",
            )
        )
    if nan > 0:
        flags.append(
            Flag(
                name="nan_gradients",
                sentence=f"{nan:.0%} of the rows have NaN gradients: look for 0/0, log(0) or sqrt(0) in the model.",
            )
        )
    return flags


def audit_curve(raw: list[float], one_step: list[float | None]) -> list[Flag]:
    """Flags on the curve of attacked accuracy by rising level, as the search found it by itself.

    `one_step` is the same after a single gradient step.
    """
    flags = []
    if any(later > earlier + ONE_POINT for earlier, later in pairwise(raw)):
        flags.append(
            Flag(
                name="not_monotone",
                sentence="A wider budget left more rows unbroken: the attack misses what it found before, so the "
                "numbers are optimistic. Use more steps and restarts.",
            )
        )
    if any(one is not None and one < many - ONE_POINT for one, many in zip(one_step, raw, strict=True)):
        flags.append(
            Flag(
                name="one_step_beats_many",
                sentence="A single gradient step broke more rows than many: the loss surface is rough or masked.",
            )
        )
    return flags


def audit_chance(*, missed: int, rows: int) -> list[Flag]:
    """A flag when random search broke rows at the widest level that gradients do not, even from more starts."""
    if missed <= ONE_POINT * rows:
        return []
    sentence = (
        f"Random search broke {missed} of {rows} rows that the gradient attack does not: gradients are masked, and the "
        "attacked accuracy is an optimistic bound."
    )
    return [Flag(name="random_beats_gradient", sentence=sentence)]


def audit_search(*, gained: int, rows: int, steps: int, copies: float) -> list[Flag]:
    """Flags on what more effort found: rows `gained` by twice the steps, and the share that copies won unbounded."""
    flags = []
    if gained >= FEW_ROWS and gained > ONE_POINT * rows:
        flags.append(
            Flag(
                name="not_converged",
                sentence=f"Twice the {steps} steps broke {gained} more of {rows} rows: the search has not converged, "
                "and the attacked figures are optimistic. Use more steps and restarts.",
            )
        )
    if copies > COPIES_WIN:
        flags.append(
            Flag(
                name="stops_short",
                sentence=f"Without a budget, values copied from other rows broke {copies:.0%} more rows than the "
                "gradient did: it does not lead where the model gives way.",
            )
        )
    return flags


def audit_relations(broken: Mapping[str, float]) -> list[Flag]:
    """A flag for each relation that most clean rows break, such as one written the wrong way round."""
    return [
        Flag(
            name="relation_broken",
            sentence=f"The relation {text} does not hold in {share:.0%} of the clean rows: check its sense. Rows may "
            "not break it farther than they did.",
        )
        for text, share in broken.items()
        if share > BROKEN_RELATION
    ]


def audit_noise(unanswered: float) -> list[Flag]:
    """A flag when the model answered NaN to noisy rows; `unanswered` is the largest share of them in a cell."""
    if unanswered == 0:
        return []
    sentence = f"The model answered NaN to up to {unanswered:.0%} of noisy rows: it must impute missing values itself."
    return [Flag(name="nan_under_noise", sentence=sentence)]


def audit_rows(*, infeasible: int, movable: bool) -> list[Flag]:
    """Flags on the rows that came back."""
    flags = []
    if infeasible:
        flags.append(
            Flag(
                name="infeasible",
                sentence=f"{infeasible} adversarial rows broke the threat model and were not counted.",
            )
        )
    if not movable:
        flags.append(
            Flag(
                name="nothing_movable",
                sentence="No feature can move at these levels, so no attack was possible: "
                "declare mutable features in the schema.",
            )
        )
    return flags
