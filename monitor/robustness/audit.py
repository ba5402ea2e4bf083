"""Doubts about the campaign itself: an attack that cannot find anything proves nothing."""

from itertools import pairwise

import numpy as np

from monitor.robustness.report import Flag
from monitor.robustness.target import Target, Task
from monitor.schema import FloatArray

MANY_FLAT = 0.1
ONE_POINT = 0.01
NO_SKILL = 0.02


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
    if not np.array_equal(target.outputs(rows), outputs):
        flags.append(
            Flag(
                name="random_outputs",
                sentence="The same rows gave different outputs twice: the model is random, and robust accuracy is "
                "over-stated unless attacks average over that randomness.",
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


def audit_gradients(*, zero: float, nan: float) -> list[Flag]:
    """Flags on the share of rows whose gradient was zero or NaN on everything that can move."""
    flags = []
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


def audit_curve(raw: list[float], one_step: list[float | None], random: float | None) -> list[Flag]:
    """Flags on the curve of attacked accuracy by rising level, as each attack found it by itself.

    `one_step` is the same after a single gradient step, `random` what random search left at the highest level.
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
    if random is not None and raw and random < raw[-1] - ONE_POINT:
        flags.append(
            Flag(
                name="random_beats_gradient",
                sentence="Random search broke more rows than the gradient attack: gradients are masked, and the "
                "attacked accuracy is an optimistic bound.",
            )
        )
    return flags


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
