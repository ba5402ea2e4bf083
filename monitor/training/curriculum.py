"""How to train: what a batch is made of, how its rows are attacked, and how long it goes on."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from monitor.errors import BadInput
from monitor.robustness.threat_model import SIGMA_LEVELS


class InnerAttack(StrEnum):
    """What attacks rows inside a batch.

    N-FGSM: one step from a noisy start, clipped to what is possible and not to the budget (de Jorge et al. 2022,
    https://arxiv.org/abs/2202.01181). PGD: several steps within the budget (Madry et al. 2018,
    https://arxiv.org/abs/1706.06083). TRADES: the same on the divergence from the clean outputs, which the loss then
    lowers beside the clean loss (Zhang et al. 2019, https://arxiv.org/abs/1901.08573).
    """

    N_FGSM = "n_fgsm"
    PGD = "pgd"
    TRADES = "trades"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. `noise` and `attacked` are shares of every batch, the rest stays clean.

    Attacks go up to `level`; `varied` draws ε for every row, as the level times u^`power` with u uniform from 0 to 1.
    `ramped` lets noise and attacks grow over the first half. `inner_steps` are those of PGD and TRADES, `beta` weighs
    TRADES' divergence. `validation_level` is that of the held-out attack that early stopping reads where rows are
    attacked. The rows of `prepared` batches are disturbed and attacked at once, which costs less; the weights that they
    are attacked with are then so many steps old at most.

    `balanced` gives every class the same weight without losing the calibration; `label_smoothing` moves targets towards
    even ones; `feature_dropout` is the chance of a cell to be missing in a training row.

    Steps are bounded so that small tables learn enough and large ones end in time: epochs follow from them. `patience`
    counts epochs without a better validation after the ramp, which is the first half.
    """

    name: str
    noise: float = 0.0
    attacked: float = 0.0
    attack: InnerAttack = InnerAttack.N_FGSM
    level: str = "S4"
    varied: bool = True
    power: float = 1.0
    ramped: bool = True
    inner_steps: int = 1
    prepared: int = 1
    beta: float = 6.0
    validation_level: str = "S3"
    balanced: bool = False
    label_smoothing: float = 0.0
    feature_dropout: float = 0.0
    epochs: int = 20
    min_steps: int = 400
    max_steps: int = 2_000
    batch_size: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    ema: float = 0.99
    patience: int = 6
    validation_share: float = 0.15

    def __post_init__(self) -> None:
        if min(self.noise, self.attacked) < 0 or self.noise + self.attacked > 1:
            raise BadInput(
                f"expected shares of noise and attack that add up to at most 1, got {self.noise}, {self.attacked}"
            )
        if not (0 <= self.label_smoothing < 1 and 0 <= self.feature_dropout < 1):
            raise BadInput(
                "expected label_smoothing and feature_dropout from 0 to below 1, got "
                f"{self.label_smoothing}, {self.feature_dropout}"
            )
        if unknown := {self.level, self.validation_level} - set(SIGMA_LEVELS):
            raise BadInput(f"expected levels among {', '.join(SIGMA_LEVELS)}, got {', '.join(sorted(unknown))}")
        if min(self.inner_steps, self.prepared) < 1 or self.beta < 0:
            raise BadInput(
                "expected one inner step and one prepared batch or more, and beta ≥ 0, got "
                f"{self.inner_steps}, {self.prepared} and {self.beta}"
            )

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


RECIPES = {
    "standard": Recipe(name="standard"),
    "noise": Recipe(name="noise", noise=0.5, prepared=4),
    "hardened": Recipe(name="hardened", noise=0.3, attacked=0.3, prepared=4),
    "hardened_light": Recipe(name="hardened_light", noise=0.25, attacked=0.25, prepared=4),
    "n_fgsm": Recipe(
        name="n_fgsm", attacked=1.0, level="S2", varied=False, ramped=False, validation_level="S2",
    ),
    "trades": Recipe(
        name="trades", attacked=1.0, attack=InnerAttack.TRADES, level="S2", varied=False, ramped=False, inner_steps=7,
        validation_level="S2",
    ),
    "pgd": Recipe(
        name="pgd", attacked=1.0, attack=InnerAttack.PGD, level="S2", varied=False, ramped=False, inner_steps=10,
        validation_level="S2",
    ),
}  # fmt: skip


def recipe_named(recipe: Recipe | str) -> Recipe:
    """A recipe by its name, or the recipe itself."""
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise BadInput(f"expected a recipe among {', '.join(RECIPES)}, got {recipe!r}")
    return RECIPES[recipe]
