"""Batches that come as counts and a sample: what a producer is told of a model, and what is done with what it sends.

Nothing that a producer computed is believed where it can be looked up: the ledger decides which rows are new, the
sample is validated and chosen again, counts have to agree with each other and with the rows they are of. Whatever does
not is refused as a whole, and the producer sends the rows themselves, which is always right.
"""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from monitor.batch import Batch, BoolArray, Keys, keys_of
from monitor.db.counted import enter_rows, store_sample
from monitor.db.engine import database_now
from monitor.db.profiles import add_profile
from monitor.db.registry import Model, ModelSettings
from monitor.drift.profile import Profile
from monitor.drift.sent_profile import sent_profile, sent_size
from monitor.errors import BadInput, StaleDecision, TooLarge
from monitor.governance.audit_chain import canonical_json, sha256
from monitor.intake.counts_body import CountsBody
from monitor.intake.facts import Facts, facts_of
from monitor.intake.formats import MOST_INFLATED
from monitor.intake.ingest import AHEAD, latest_time, plan_of, register_versions, sampling_plan, usual_of
from monitor.intake.parts import grid_starts
from monitor.intake.plan import FORMAT, IntakePlan
from monitor.intake.privacy import without_unstored
from monitor.intake.receive import Taken, advance, open_model, store_rows, unknown_fields
from monitor.intake.sampling import Usual, keep, least_rates, probabilities, uniforms
from monitor.intake.validate import validate
from monitor.schema import FloatArray
from monitor.windows import floor_to_grid


class StalePlan(StaleDecision):
    """The batch was counted by a plan that holds no more: read it again and count again."""

    problem = "stale-plan"


class RowsWanted(StaleDecision):
    """These rows cannot be taken as counts: send them as they are."""

    problem = "rows-wanted"


def read_plan(session: Session, name: str) -> IntakePlan:
    """How rows of a model are counted and chosen.

    Raises:
        NotFound: no such model.
        StaleDecision: it is retired.
    """
    model = open_model(session, name)
    facts, now = facts_of(session, model)
    plan = intake_plan(model, facts)
    if plan.sampling.rows is None or plan.why_rows:
        return plan
    usual = usual_of(session, model, facts)
    under_way = {floor_to_grid(moment, plan.width) for moment in (now, model.watermark or now)}
    return replace(plan, usual={start: usual(start) for start in sorted(under_way)})


def intake_plan(model: Model, facts: Facts) -> IntakePlan:
    """The same, of what is known already."""
    settings = ModelSettings.of(model)
    names: dict[int | None, str | None] = {version: name for name, version in facts.versions.items()} | {None: None}
    serving, sampling = facts.serving(model), sampling_plan(model, facts)
    decides: list[Any] = [
        FORMAT, model.id, *map(str, facts.stamp), serving, settings.tick.total_seconds(),
        settings.width.total_seconds(), asdict(sampling), settings.hashed,
    ]  # fmt: skip
    return IntakePlan(
        stamp=sha256(canonical_json(decides))[:16],
        schema=facts.schema,
        serving=serving,
        binnings={names[known]: made for known, made in facts.binnings.items() if known in names},
        tick=settings.tick,
        width=settings.width,
        sampling=sampling,
        oldest=model.oldest_kept,
        ahead=AHEAD,
        hashed=tuple(settings.hashed),
        why_rows=_why_rows(settings, facts),
    )


def take_counts(session: Session, name: str, told: CountsBody) -> Taken:
    """Store a batch that a producer counted: all of its rows are new and counted once, or all were known.

    Raises:
        NotFound: no such model.
        StalePlan: it was counted by another plan.
        RowsWanted: the model takes rows alone, or some of these were known already.
        StaleDecision: the model is retired.
        BadInput: counts, sample and rows do not agree.
    """
    model, now = open_model(session, name), database_now(session)
    facts, _ = facts_of(session, model)
    plan = intake_plan(model, facts)
    if told.stamp != plan.stamp:
        raise StalePlan(f"expected counts by the plan {plan.stamp}, got {told.stamp}: read it again and count again")
    if plan.why_rows:
        raise RowsWanted(plan.why_rows)
    _require_in_time(told, model, now)
    profiles = _profiles(told, plan)
    sample = _sample(told, plan, model, now, usual_of(session, model, facts))
    new = _enter(session, model, facts, told, profiles, sample, now)
    advance(session, model, min(told.times.max().item().replace(tzinfo=UTC), now))
    others = store_rows(session, model, told.others, now=now)
    return Taken(
        accepted=int(new.sum()) + others.accepted,
        duplicate=int((~new).sum()) + others.duplicate,
        bad=others.bad,
        ignored=tuple(dict.fromkeys((*unknown_fields(told.sample.rows, plan.schema.fields), *others.ignored))),
    )


def _enter(
    session: Session,
    model: Model,
    facts: Facts,
    told: CountsBody,
    profiles: list[Profile],
    sample: tuple[Batch, FloatArray] | None,
    now: datetime,
) -> BoolArray:
    """Which rows were new, shape (n,): all or none.

    Raises:
        RowsWanted: some were, or a version is one too many.
    """
    named = {part.version for part in told.parts}
    if not named <= set(facts.versions):
        facts, too_many = register_versions(session, model, sorted(named), now)
        if too_many:
            raise RowsWanted(f"expected versions that are known, got {min(too_many)}: {model.name} has too many")
    new = enter_rows(session, model, told.times, told.keys)
    if not new.any():
        return new
    if not new.all():
        raise RowsWanted(f"expected rows that are all new, {int((~new).sum()):,} were known: send these as they are")
    if sample is not None:
        stored = without_unstored(sample[0], ModelSettings.of(model).unstored)
        store_sample(session, model, facts.schema, facts.columns, stored, sample[1])
    for part, profile in zip(told.parts, profiles, strict=True):
        add_profile(
            session,
            model_id=model.id,
            version_id=facts.versions[part.version],
            bucket=part.bucket.astimezone(UTC),
            profile=profile,
        )
    return new


def _why_rows(settings: ModelSettings, facts: Facts) -> str:
    if not facts.binnings:
        return "the model has no reference yet, so that there are no bins to count over"
    if settings.hashed:
        return f"of {', '.join(settings.hashed)} keyed hashes are counted, and the server alone has the key"
    if plan_of(settings).keeps_all:
        return "every row is kept: `holdfast sample MODEL --rate .05` keeps one in twenty"
    return ""


def _require_in_time(told: CountsBody, model: Model, now: datetime) -> None:
    latest, oldest = latest_time(model, now), model.oldest_kept
    if (told.times > _moment(latest)).any() or (oldest is not None and (told.times < _moment(oldest)).any()):
        raise RowsWanted(
            f"expected times up to {latest:%Y-%m-%d %H:%M} that are still kept: send these rows as they are"
        )


def _profiles(told: CountsBody, plan: IntakePlan) -> list[Profile]:
    """What was counted of each part, once it agrees with the part's rows.

    Raises:
        StalePlan: it was counted over other bins.
        TooLarge, BadInput: too much, or what no rows could give.
    """
    if sum(sent_size(plan.binning_of(part.version)) for part in told.parts) > MOST_INFLATED:
        raise TooLarge(f"expected at most {MOST_INFLATED:,} bytes of counts, got more: send fewer rows at once")
    found = []
    for number, (part, start) in enumerate(zip(told.parts, told.starts, strict=True)):
        binning, times = plan.binning_of(part.version), told.times[told.part_of == number]
        if part.binning_id != binning.binning_id:
            raise StalePlan(f"expected counts over the bins {binning.binning_id}, got {part.binning_id}: count again")
        if (grid_starts(times, plan.tick) != start).any():
            raise BadInput(f"expected a bucket on the grid of {plan.tick} and its rows, got {part.bucket} and others")
        found.append(sent_profile(part.counts, binning, len(part.ids)))
    return found


def _sample(
    told: CountsBody, plan: IntakePlan, model: Model, now: datetime, usual: Usual
) -> tuple[Batch, FloatArray] | None:
    """The kept rows, and the weight of each, both as if all rows had come; None where none is kept.

    Raises:
        RowsWanted: one of them cannot be stored, or they are others than those which the sampling chooses.
        BadInput: one is not among the rows that are counted.
    """
    due = _due(told.keys, told.times, plan, usual)
    if not len(told.sample.positions):
        if due:
            raise RowsWanted(f"expected the {due:,} rows that the sampling keeps, got none: send them as they are")
        return None
    latest = latest_time(model, now)
    found = validate(told.sample.rows, plan.schema, oldest=model.oldest_kept, latest=latest, version=plan.serving)
    if found.bad or told.sample.bad:
        raise RowsWanted("expected a sample of good rows, got one that is refused: send these rows as they are")
    rows, keys = found.good, keys_of(found.good.trace_id.to_pylist())
    versions = {
        name: told.parts[place].version
        for name, place in zip(_names(told.keys, told.times), told.part_of.tolist(), strict=True)
    }
    names = zip(_names(keys, rows.event_time), rows.version.to_pylist(), strict=True)
    if any(versions.pop(name, None) != version for name, version in names):
        raise BadInput("expected a sample of the rows that are counted, each once, got another row")
    kept, weight = keep(keys, probabilities(rows, plan.sampling, plan.schema, width=plan.width, usual=usual))
    if not kept.all() or _due(keys, rows.event_time, plan, usual) < due:
        raise RowsWanted("expected the rows that the sampling keeps, got others: send these rows as they are")
    return rows, weight


def _due(keys: Keys, times: NDArray[np.datetime64], plan: IntakePlan, usual: Usual) -> int:
    """How many rows their ids alone choose; others are kept for what they hold."""
    return int((uniforms(keys) < least_rates(times, plan.sampling, width=plan.width, usual=usual)).sum())


def _names(keys: Keys, times: NDArray[np.datetime64]) -> list[tuple[bytes, int]]:
    """Each row as the ledger knows it."""
    data = keys.tobytes()
    return [(data[16 * i : 16 * i + 16], moment) for i, moment in enumerate(times.astype(np.int64).tolist())]


def _moment(time: datetime) -> np.datetime64:
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "us")
