"""How much worse a model may become before its owner wants to know."""

from monitor.errors import BadInput
from monitor.performance.measured import Measured

DEFAULT_LOSS = 0.02  # absolute, of accuracy and AUC
DEFAULT_GROWTH = 1.10  # of an error


def limit_of(reference: Measured, *, setting: float | None = None) -> float:
    """The worst value of the metric that is still tolerated.

    Args:
        reference: measured on rows the model was not trained on, later in time.
        setting: the owner's limit, in the metric's own unit; without it reference − .02 where higher is better, and
            reference × 1.10 where lower is better.

    >>> auc = Measured(name="auroc", value=0.91, low=0.89, high=0.93, n=2_000, higher_is_better=True)
    >>> round(limit_of(auc), 3)
    0.89
    """
    if setting is not None:
        worse_than_reference = setting <= reference.value if reference.higher_is_better else setting >= reference.value
        if not worse_than_reference:
            raise BadInput(f"expected a limit on the worse side of the reference ({reference}), got {setting:g}")
        return setting
    return reference.value - DEFAULT_LOSS if reference.higher_is_better else reference.value * DEFAULT_GROWTH


def is_beyond(measured: Measured, limit: float) -> bool:
    """Whether the *whole* interval lies on the worse side of the limit."""
    return measured.high < limit if measured.higher_is_better else measured.low > limit
