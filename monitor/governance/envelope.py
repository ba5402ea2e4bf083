"""What may change at tier 0 without a vote: limits that an approver signed, and whether a change keeps to them."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Self

from monitor.errors import BadInput
from monitor.governance.audit_chain import canonical_json, sha256
from monitor.performance.verdict import HARMFUL, Verdict

LONGEST = timedelta(days=366)  # nobody signs for longer than they can foresee


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Limits of a change that policy may decide on by itself.

    `verdicts` may have raised the proposal; `recipes` may be trained; `features` are those that the model may use
    (None: those of the schema at signing, filled in by the act that signs). The training may read at most `most_rows`
    rows from at most `most_days` days and take `most_seconds` of time. Against the champion on the same rows, the clean
    metric may get worse by at most `clean_loss` and the robust one by `robust_loss`, both in their own unit.
    """

    verdicts: tuple[str, ...] = tuple(sorted(verdict.value for verdict in HARMFUL))
    recipes: tuple[str, ...] = ("hardened", "hardened_light", "noise")
    features: tuple[str, ...] | None = None
    most_rows: int = 1_000_000
    most_days: float = 366.0
    most_seconds: float = 3_600.0
    clean_loss: float = 0.0
    robust_loss: float = 0.0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.verdicts) - {verdict.value for verdict in Verdict})
        if unknown or not self.verdicts or not self.recipes:
            got = ", ".join(unknown) or "none"
            raise BadInput(f"expected verdicts among {', '.join(Verdict)} and at least one recipe, got {got}")
        if Verdict.PIPELINE_BREAK in self.verdicts:
            raise BadInput("a pipeline break never warrants a retraining: leave it out of the envelope")
        if min(self.most_rows, self.most_days, self.most_seconds) <= 0 or min(self.clean_loss, self.robust_loss) < 0:
            raise BadInput("expected limits above 0 for rows, days and seconds, and losses of at least 0")

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The envelope of a stored document; an unknown limit is refused, not ignored."""
        lists = {name: tuple(document[name]) for name in ("verdicts", "recipes", "features") if document.get(name)}
        try:
            return cls(**{**document, **lists})
        except TypeError as error:
            known = ", ".join(cls.__dataclass_fields__)
            raise BadInput(f"expected limits among {known}, got {', '.join(sorted(document))}") from error

    @property
    def sha256(self) -> str:
        """Of the canonical JSON: what was signed."""
        return sha256(canonical_json(self.to_document()))


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a proposal would change, as far as it is known: the last four only once a candidate was trained."""

    verdict: str
    recipe: str
    features: Collection[str]
    rows: int
    days: float
    seconds: float | None = None
    clean_loss: float | None = None
    robust_loss: float | None = None
    is_trained: bool = False


def outside(envelope: Envelope, change: Change) -> tuple[str, ...]:
    """Every limit that the change does not keep to, as a sentence; none: policy may decide.

    What a trained candidate should have shown and did not is outside too.

    >>> change = Change(verdict="concept_drift", recipe="hardened", features=["age"], rows=900, days=30)
    >>> outside(Envelope(features=("age",)), change)
    ()
    >>> outside(Envelope(features=("age",), most_rows=500), change)
    ('900 rows are more than the 500 allowed',)
    """
    new = sorted(set(change.features) ^ set(envelope.features or change.features))
    found = [
        (change.verdict not in envelope.verdicts, f"the verdict {change.verdict.replace('_', ' ')} is not covered"),
        (change.recipe not in envelope.recipes, f"the recipe {change.recipe} is not covered"),
        (bool(new), f"the features are others than those signed for: {', '.join(new)}"),
        (change.rows > envelope.most_rows, f"{change.rows:,} rows are more than the {envelope.most_rows:,} allowed"),
        (change.days > envelope.most_days, f"{change.days:g} days are more than the {envelope.most_days:g} allowed"),
    ]
    if change.is_trained:
        found += [
            _beyond("the training's time in seconds", change.seconds, envelope.most_seconds),
            _beyond("the loss of the clean metric", change.clean_loss, envelope.clean_loss),
            _beyond("the loss of the robust metric", change.robust_loss, envelope.robust_loss),
        ]
    return tuple(sentence for is_outside, sentence in found if is_outside)


def _beyond(what: str, value: float | None, limit: float) -> tuple[bool, str]:
    if value is None:
        return True, f"{what} was not measured"
    return value > limit, f"{what} is {value:.4g}, more than the {limit:g} allowed"
