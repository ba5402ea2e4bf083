"""What people say about drift: `holdfast baseline …`, `holdfast alert …`, `holdfast model set`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import models
from monitor.cli.models import open_door
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput, NotFound
from monitor.windows import Window, moment_of, parse_moment, parse_width, span_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from monitor.db.alerts import Alert
    from monitor.db.registry import Model, ModelSettings
    from monitor.drift import FeatureOverride

baseline = typer.Typer(help="What counts as normal.", no_args_is_help=True)
alert = typer.Typer(help="What fired.", no_args_is_help=True)

ModelArgument = Annotated[str, typer.Argument(help="The model's name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; others will ask. It is kept in the audit trail.")]


@baseline.command("accept")
def accept_baseline(
    model: ModelArgument,
    reason: ReasonOption = "",
    since: Annotated[str | None, typer.Option("--since", help="First day or moment (UTC).", show_default=False)] = None,
    until: Annotated[str | None, typer.Option("--until", help="Last day, or moment.", show_default=False)] = None,
    last: Annotated[int | None, typer.Option("--last", help="The newest so many windows.", show_default=False)] = None,
    version: Annotated[str | None, typer.Option("--version", help="Default: the champion.", show_default=False)] = None,
    home: HomeOption = None,
) -> None:
    """“This is the new normal”: the windows of the open drift incident, else as many as the reference has."""
    from monitor.acts import baselines
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import champion, model_named, version_named

    span = _span(since, until)
    with open_door(home) as door, door.transaction() as session:
        row = model_named(session, model)
        chosen = version_named(session, row, version) if version else champion(session, row)
        accepted = baselines.accept_baseline(
            session, row, chosen, span=span, last=last, reason=reason, by=COMMAND_LINE, now=database_now(session)
        )
        when = f"{accepted.starts:%Y-%m-%d %H:%M} to {accepted.ends:%Y-%m-%d %H:%M} UTC"
        print(f"{model} {chosen.name}: {accepted.windows} windows, {when}, {accepted.rows:,} rows are the baseline now")


def _span(since: str | None, until: str | None) -> Window | None:
    if since is None and until is None:
        return None
    if since is None or until is None:
        raise BadInput("expected --since and --until together, or --last N")
    return span_of(parse_moment(since), parse_moment(until))


@baseline.command("list")
def list_baselines(model: ModelArgument, home: HomeOption = None) -> None:
    """Every baseline of the model, the newest first; the active ones are marked."""
    from monitor.db.read_baseline import baselines
    from monitor.db.registry import model_named

    with open_door(home) as door, door.transaction() as session:
        found = baselines(session, model_named(session, model))
    if not found:
        say(f"{model} has no baseline yet: it is learning what is normal")
    for one in found:
        mark = "active" if one.active else ""
        print(
            f"#{one.id:<5} {one.version:<8} {one.starts:%Y-%m-%d %H:%M} to {one.ends:%Y-%m-%d %H:%M} UTC  "
            f"{one.windows:>4} windows  {one.rows:>9,} rows  {mark}"
        )


@alert.command("list")
def list_alerts(
    model: Annotated[str | None, typer.Argument(help="One model's alone.", show_default=False)] = None,
    home: HomeOption = None,
) -> None:
    """What fired, the open ones first."""
    from monitor.db.read_alerts import alert_list
    from monitor.db.registry import model_named

    with open_door(home) as door, door.transaction() as session:
        found = alert_list(session, model=model_named(session, model).name if model else None)
    print(found.headline)
    for line in found.lines:
        asleep = f"  snoozed until {line.snoozed.until:%-d %b %H:%M} UTC by {line.snoozed.by}" if line.snoozed else ""
        ended = f"  {line.resolution}" if line.resolution else ""
        print(f"#{line.id:<4} {line.severity.upper():<7}{line.state:<13}{line.title}{asleep}{ended}")


@alert.command()
def snooze(
    number: Annotated[int | None, typer.Argument(help="The alert's number.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option("--model", help="With --feature.", show_default=False)] = None,
    feature: Annotated[
        str | None, typer.Option("--feature", help="Instead of an alert: drift of this feature.", show_default=False)
    ] = None,
    how_long: Annotated[str | None, typer.Option("--for", help="4h, 2d, 1w.", show_default=False)] = None,
    until: Annotated[str | None, typer.Option("--until", help="Or a moment (UTC).", show_default=False)] = None,
    reason: ReasonOption = "",
    home: HomeOption = None,
) -> None:
    """Say nothing about an alert, or about drift of one feature, for a while; then once, if it still fires."""
    from monitor.acts import snoozes
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    _require_one(number, model, feature)
    with open_door(home) as door, door.transaction() as session:
        now = database_now(session)
        end = _end(how_long, until, now)
        if number is not None:
            snoozes.snooze_alert(session, _alert(session, number), until=end, reason=reason, by=COMMAND_LINE, now=now)
        else:
            snoozes.snooze_feature(
                session, model_named(session, model or ""), feature or "", until=end, reason=reason, by=COMMAND_LINE,
                now=now,
            )  # fmt: skip
    print(f"{_about(number, model, feature)} is snoozed until {end:%Y-%m-%d %H:%M} UTC")


@alert.command()
def wake(
    number: Annotated[int | None, typer.Argument(help="The alert's number.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option("--model", help="With --feature.", show_default=False)] = None,
    feature: Annotated[str | None, typer.Option("--feature", help="Instead of an alert.", show_default=False)] = None,
    home: HomeOption = None,
) -> None:
    """End a snooze before its time."""
    from monitor.acts import snoozes
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    _require_one(number, model, feature)
    with open_door(home) as door, door.transaction() as session:
        now = database_now(session)
        if number is not None:
            snoozes.wake_alert(session, _alert(session, number), by=COMMAND_LINE, now=now)
        else:
            snoozes.wake_feature(session, model_named(session, model or ""), feature or "", by=COMMAND_LINE, now=now)
    print(f"{_about(number, model, feature)} speaks again")


def _require_one(number: int | None, model: str | None, feature: str | None) -> None:
    if (number is None) == (feature is None) or (feature is None) != (model is None):
        raise BadInput("expected either the number of an alert (holdfast alert list), or --model and --feature")


def _about(number: int | None, model: str | None, feature: str | None) -> str:
    return f"alert {number}" if number is not None else f"drift of {feature} of {model}"


def _end(how_long: str | None, until: str | None, now: datetime) -> datetime:
    if (how_long is None) == (until is None):
        raise BadInput("expected how long: either --for 2d, or --until 2026-12-01T08:00")
    if how_long is not None:
        return now + parse_width(how_long)
    return moment_of(parse_moment(until or ""))


def _alert(session: "Session", number: int) -> "Alert":
    from monitor.db.alerts import Alert

    found = session.get(Alert, number)
    if found is None:
        raise NotFound(f"there is no alert {number}: see holdfast alert list")
    return found


def parse_nights(text: str) -> tuple[int | None, int]:
    """The hour and the days between two nights.

    >>> parse_nights("2/7"), parse_nights("off")
    ((2, 7), (None, 1))
    """
    hour, _, days = text.strip().partition("/")
    if hour == "off" and not days:
        return None, 1
    if not hour.isdecimal() or (days and not days.isdecimal()):
        raise BadInput(f"expected an hour such as 2, an hour and days such as 2/7, or off, got {text!r}")
    return int(hour), int(days or 1)


def nights_in_words(settings: "ModelSettings", *, asked: bool) -> list[str]:
    """When the long stress tests run, where that was asked or is not the default."""
    hour, days = settings.nightly_hour, settings.nightly_every_days
    if not asked and (hour, days) == (type(settings).nightly_hour, type(settings).nightly_every_days):
        return []
    if hour is None:
        return ["no long stress tests at night"]
    return [f"long stress tests {'every night' if days == 1 else f'every {days} days'} from {hour}:00 UTC"]


@models.app.command("set")
def set_detection(
    model: ModelArgument,
    sensitivity: Annotated[
        str | None, typer.Option("--sensitivity", help="sensitive, balanced or quiet.", show_default=False)
    ] = None,
    incidents: Annotated[
        float | None, typer.Option("--incidents", help="False incidents that are affordable …", show_default=False)
    ] = None,
    per_days: Annotated[float | None, typer.Option("--per-days", help="… in so many days.", show_default=False)] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--feature", help="amount:tolerance=.1,weight=2; weight=0 mutes it; amount:default takes it back. Repeat.",
            show_default=False,
        ),
    ] = None,
    nights: Annotated[
        str | None,
        typer.Option(
            "--nights", help="Hour (UTC) of the long stress tests, 2 by default; 2/7: every seven days; off.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Say what the drift detector is asked for, and when long stress tests run; without options, show it.

    It holds from the next window, or night, on.
    """
    from monitor.acts.detection import configure_detection
    from monitor.acts.stress import configure_nights
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    asked = dict(parse_override(text) for text in features or ())
    hour, every_days = parse_nights(nights) if nights is not None else (None, 1)
    with open_door(home) as door, door.transaction() as session:
        settings = configure_detection(
            session, model_named(session, model), sensitivity=sensitivity, incidents=incidents, per_days=per_days,
            features=asked, by=COMMAND_LINE, now=database_now(session),
        )  # fmt: skip
        if nights is not None:
            settings = configure_nights(
                session, model_named(session, model), hour=hour, every_days=every_days, by=COMMAND_LINE,
                now=database_now(session),
            )  # fmt: skip
        replayed = _replayed(session, model_named(session, model))
    for sentence in (*detection_in_words(settings), *nights_in_words(settings, asked=nights is not None), *replayed):
        print(f"{model}: {sentence}")


def _replayed(session: "Session", model: "Model") -> tuple[str, ...]:
    """What the settings would have said of the champion's reference; nothing before it has one."""
    from monitor.db.registry import ModelSettings, Version, reference_for
    from monitor.db.segments import drift_streams
    from monitor.drift import Reference, shadow_replay
    from monitor.jobs.check_drift import resumed

    champion = session.get(Version, model.champion_id) if model.champion_id else None
    row = reference_for(session, champion) if champion else None
    reference = Reference.from_document(row.document) if row else None
    if reference is None or not reference.is_sufficient:
        return ()
    settings, share = ModelSettings.of(model), drift_streams(session, model)
    fresh = resumed(reference, None, {}, settings, share=share, overrides=settings.overrides)
    return (shadow_replay(fresh).sentence,)


def parse_override(text: str) -> "tuple[str, FeatureOverride | None]":
    """A feature and what is declared of it; None takes it back.

    >>> parse_override("amount:tolerance=.1,weight=0")
    ('amount', FeatureOverride(tolerance=0.1, weight=0.0))
    >>> parse_override("amount:default")
    ('amount', None)
    """
    from monitor.drift import FeatureOverride

    name, colon, told = text.rpartition(":")
    if not colon or not name:
        raise BadInput(f"expected FEATURE:tolerance=.1,weight=0 or FEATURE:default, got {text!r}")
    if told.strip() == "default":
        return name, None
    values: dict[str, float] = {}
    for part in told.split(","):
        key, equals, value = part.partition("=")
        try:
            values[key.strip()] = float(value)
        except ValueError as error:
            raise BadInput(f"expected a number as in {name}:weight=0, got {part.strip()!r}") from error
        if not equals or key.strip() not in ("tolerance", "weight"):
            raise BadInput(f"expected tolerance=… or weight=… of {name}, got {part.strip()!r}")
    return name, FeatureOverride(**values)


def detection_in_words(settings: "ModelSettings") -> list[str]:
    """The budget, the sensitivity and each override in a sentence."""
    said = [
        f"at most {settings.incidents:g} false incident{'' if settings.incidents == 1 else 's'} in "
        f"{settings.per_days:g} days, sensitivity {settings.sensitivity}"
    ]
    return said + [f"{name}: {override_in_words(one)}" for name, one in sorted(settings.overrides.items())]


def override_in_words(override: dict[str, Any]) -> str:
    """What an override says.

    >>> override_in_words({"tolerance": 0.1, "weight": 0})
    'muted: shown, never alarms, a change within 0.1σ is tolerated'
    """
    tolerance, weight = override["tolerance"], override["weight"]
    parts = ["muted: shown, never alarms"] if weight == 0 else [f"weight {weight:g}"] if weight != 1 else []
    parts += [f"a change within {tolerance:g}σ is tolerated"] if tolerance is not None else []
    return ", ".join(parts)
