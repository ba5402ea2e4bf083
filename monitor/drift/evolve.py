"""A reference carried over to another declaration of the features: renamed ones keep their bins and their counts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.drift.bins import Binning
from monitor.drift.joint import JointSums
from monitor.drift.predictions import PREDICTIONS
from monitor.drift.profile import Profile
from monitor.drift.reference import Reference
from monitor.schema import Schema


@dataclass(frozen=True, kw_only=True)
class CarryOver:
    """What of a binning goes on under another schema: the new binning, and where its features were in the old one.

    A feature goes on when the new schema has it, under its own name or another (`renamed`, new name → old name), it
    still is a number or still a category, and it is not one of those that begin `anew`. What the model said (`score`,
    `prediction`) always goes on. The bins stay.

    >>> import pandas as pd
    >>> old = Binning.fit(pd.DataFrame({"amount": [1.5, 2.5, 3.5], "channel": ["app", "web", "app"]}))
    >>> new = Schema.infer(pd.DataFrame({"eur": [1.5, 2.5], "age": [30, 40]}))
    >>> carried = CarryOver.of(old, new, renamed={"eur": "amount"})
    >>> carried.binning.schema.names, carried.kept
    (('eur',), (0,))
    """

    binning: Binning
    kept: tuple[int, ...]

    @classmethod
    def of(
        cls, binning: Binning, schema: Schema, *, renamed: Mapping[str, str], anew: Collection[str] = ()
    ) -> "CarryOver | None":
        """None when no feature of the schema goes on."""
        named = {renamed.get(name, name): name for name in schema.names if name not in anew}
        named |= {name: name for name in PREDICTIONS}
        kept = []
        for position, before in enumerate(binning.schema.features):
            name = named.get(before.name)
            if name is not None and (name in PREDICTIONS or schema[name].is_categorical == before.is_categorical):
                kept.append(position)
        if all(binning.features[position].name in PREDICTIONS for position in kept):
            return None
        features = tuple(
            replace(
                binning.schema.features[j], name=named[binning.features[j].name], formula=None,
                vector=_vector_of(named[binning.features[j].name], schema),
            )
            for j in kept
        )  # fmt: skip
        bins = tuple(replace(binning.features[j], name=named[binning.features[j].name]) for j in kept)
        return cls(binning=Binning(Schema(features), bins), kept=tuple(kept))

    def profile(self, profile: Profile) -> Profile:
        """The same rows, counted over the new binning."""
        spans = [np.arange(span.start, span.stop) for span in (profile.binning.spans[j] for j in self.kept)]
        return Profile(
            binning=self.binning,
            rows=profile.rows,
            counts=profile.counts[np.concatenate(spans)],
            faults=profile.faults[list(self.kept)],
            moments=profile.moments[list(self.kept)],
            joint=_joint(profile.joint, [at for at, j in enumerate(profile.binning.joint) if j in self.kept]),
        )

    def reference(self, reference: Reference) -> Reference:
        """The same windows, counted over the new binning."""
        return Reference(self.binning, reference.windows, tuple(map(self.profile, reference.profiles)))


def _vector_of(name: str, schema: Schema) -> str | None:
    return None if name in PREDICTIONS else schema[name].vector


def _joint(sums: JointSums, at: Sequence[int]) -> JointSums:
    chosen = np.array(at, np.int64)
    return JointSums(sums.rows, sums.sums[chosen], sums.products[np.ix_(chosen, chosen)])
