"""How much a campaign does: `tick` every few windows in a second, `nightly` in minutes, or a plan of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.errors import BadInput
from monitor.robustness.gradient import Search
from monitor.robustness.noise import FAMILIES

ATTACKS = ("gradient", "one step", "swaps", "random", "evolution", "transfer")
ATTACKERS = ("both", "positives")
TICK_FAMILIES = ("gaussian", "student_t", "offset", "gain", "missing", "unit_x10", "stale", "category_swap")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run on how many rows.

    `attackers` says whose rows are pushed: those of both labels, or only the positives, as fraudsters alone adapt.
    `attacks` are those that may run beside the first (gradient, or random for a model without gradients, which always
    runs), `search` the steps and restarts of the gradient attack; `most_swaps` how many
    changes of categories and counts are tried on all rows of a class (all, when None). `queries` a row are the random
    search of a model without gradients. `survivor_queries` and `evolve_queries` a row go to random and to
    evolutionary search on rows that nothing else broke. `certified_rows` are certified (all, when None),
    with `certify_effort` times the usual halving of boxes.
    `audit_queries` a row check the gradients by chance at the widest level, and `probes` whether they can be believed.
    """

    name: str = "own"
    rows: int = 512
    levels: tuple[str, ...] = ("S1", "S2", "S3")
    attackers: str = "both"
    search: Search = field(default_factory=Search)
    attacks: tuple[str, ...] = ATTACKS
    most_swaps: int | None = None
    queries: int = 40
    survivor_queries: int = 0
    evolve_queries: int = 0
    probes: bool = True
    minimum: bool = False
    certified_rows: int | None = None
    certify_effort: float = 1.0
    smoothing_samples: int = 0
    audit_queries: int = 8
    families: tuple[str, ...] = TICK_FAMILIES
    severities: tuple[int, ...] = (2, 4)

    def __post_init__(self) -> None:
        if self.attackers not in ATTACKERS:
            raise BadInput(f"expected attackers {' or '.join(ATTACKERS)}, got {self.attackers!r}")
        unknown = [name for name in self.attacks if name not in ATTACKS]
        if unknown or self.rows < 2 or not self.levels:
            raise BadInput(
                f"expected attacks among {', '.join(ATTACKS)}, 2 rows or more and a level, got "
                f"{', '.join(self.attacks)}, {self.rows} and {', '.join(self.levels) or 'no level'}"
            )


PLANS: Mapping[str, Plan] = {
    "tick": Plan(name="tick", most_swaps=24, certified_rows=128, certify_effort=0.1),
    "nightly": Plan(
        name="nightly",
        rows=4_096,
        levels=("S1", "S2", "S3", "S4", "S5"),
        search=Search(steps=100, restarts=4),
        queries=5_000,
        survivor_queries=5_000,
        evolve_queries=10_000,
        minimum=True,
        smoothing_samples=1_000,
        audit_queries=200,
        families=tuple(FAMILIES),
        severities=(1, 2, 3, 4, 5),
    ),
}


def plan_named(plan: str | Plan) -> Plan:
    """A plan by its name, or the plan itself."""
    if isinstance(plan, Plan):
        return plan
    if plan not in PLANS:
        raise BadInput(f"expected a plan among {', '.join(PLANS)}, or a Plan, got {plan!r}")
    return PLANS[plan]
