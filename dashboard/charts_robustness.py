"""Figures of the Robustness and Retraining views."""

import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard import palette, times
from dashboard.charts import framed
from monitor.db.read_campaign import CampaignView, Level

_NARROW = 10  # characters beneath a level, so that six of them stand side by side on a phone


def accuracy_by_level(campaigns: Sequence[CampaignView], feature: str | None = None) -> go.Figure:
    """The band certified–attacked over ε of the first campaign, and robust AUC of each.

    Beneath each level stands how far an attacker may move `feature`, in raw units.
    """
    figure = go.Figure()
    first = campaigns[0]
    ticks = ["clean", *(level.level for level in first.levels)]
    if any(level.certified is not None for level in first.levels):
        _band(figure, first, ticks)
    colours = (palette.BLUE, palette.GREEN)
    for campaign, colour in zip(campaigns, colours, strict=False):
        _attacked(figure, campaign, colour)
        _robust_auc(figure, campaign, colour)
    constant = first.levels[0].constant if first.levels else None
    if constant is not None:
        figure.add_hline(
            constant, line={"color": palette.GREY, "dash": "dot", "width": 1.5},
            annotation_text="best constant predictor", annotation_position="bottom left",
        )  # fmt: skip
    beyond = [level.level for level in first.levels if level.beyond_reality]
    if beyond:
        figure.add_vrect(
            x0=ticks.index(beyond[0]) - 0.5, x1=len(ticks) - 0.5, fillcolor=palette.GREY, opacity=0.12, line_width=0,
            annotation_text="beyond reality", annotation_position="top left",
        )  # fmt: skip
    label = "mean absolute error" if first.is_regression else "share, or AUC"
    figure.update_yaxes(title=label, tickformat="" if first.is_regression else ".0%", fixedrange=True)
    figure.update_xaxes(
        title="level of attack" if feature is None else f"level of attack,<br>and how far {feature} may move",
        type="category", fixedrange=True, tickmode="array", tickvals=ticks, tickangle=0,
        ticktext=["clean", *(_tick_text(level, feature) for level in first.levels)],
    )  # fmt: skip
    return framed(figure, 410, below=64 if feature is None else 104)


def _tick_text(level: Level, feature: str | None) -> str:
    """A level and the size of its budget, on lines of their own so that a phone shows them all."""
    budget = "" if feature is None else level.budgets.get(feature, "stands still")
    return "<br>".join([level.level, *textwrap.wrap(budget, _NARROW, break_long_words=False)])


def _band(figure: go.Figure, campaign: CampaignView, ticks: list[str]) -> None:
    certified = [campaign.clean, *(level.certified for level in campaign.levels)]
    known = [(x, y, a) for x, y, a in zip(ticks, certified, [campaign.clean, *(v.attacked for v in campaign.levels)],
                                          strict=True) if y is not None]  # fmt: skip
    x = [tick for tick, _, _ in known]
    figure.add_scatter(
        x=x, y=[low for _, low, _ in known], mode="lines", line={"color": palette.SKY, "dash": "dash"},
        name=f"{campaign.version}: certified (no attack can go below)",
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=[high for _, _, high in known], fill="tonexty", mode="lines", line={"width": 0},
        fillcolor="rgba(86,180,233,0.25)", hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _attacked(figure: go.Figure, campaign: CampaignView, colour: str) -> None:
    levels = campaign.levels
    figure.add_scatter(
        x=["clean", *(level.level for level in levels)],
        y=[campaign.clean, *(level.attacked for level in levels)],
        error_y={
            "type": "data", "symmetric": False, "thickness": 1.2,
            "array": [0, *(level.high - level.attacked for level in levels)],
            "arrayminus": [0, *(level.attacked - level.low for level in levels)],
        },
        mode="lines+markers", marker={"symbol": "square", "size": 8}, line={"color": colour},
        name=f"{campaign.version}: {'error' if campaign.is_regression else 'accuracy'} under attack",
        customdata=[["unchanged"], *([_budget(level.budget)] for level in levels)],
        hovertemplate="%{y:.1%}<br>%{customdata[0]}<br>n = " + f"{campaign.rows:,}",
    )  # fmt: skip


def _robust_auc(figure: go.Figure, campaign: CampaignView, colour: str) -> None:
    levels = [level for level in campaign.levels if level.robust_auc is not None]
    if not levels:
        return
    figure.add_scatter(
        x=["clean", *(level.level for level in levels)],
        y=[campaign.clean_auc, *(level.robust_auc for level in levels)],
        mode="lines+markers", marker={"symbol": "circle-open", "size": 9}, line={"color": colour, "dash": "dot"},
        name=f"{campaign.version}: robust AUC", hovertemplate="robust AUC %{y:.3f}",
    )  # fmt: skip


def fragile_features(campaign: CampaignView) -> go.Figure:
    """How often the attack moved each feature, and how many of the broken rows it repairs by itself."""
    found = campaign.features[::-1]
    names = [one.feature for one in found]
    figure = go.Figure()
    for label, shares, colour in (
        ("moved", [one.moved for one in found], palette.SKY),
        ("repairs alone when put back", [one.repaired for one in found], palette.VERMILION),
    ):
        figure.add_bar(
            x=shares, y=names, orientation="h", name=label, marker={"color": colour},
            hovertemplate="%{y}: %{x:.0%} of the broken rows<extra>" + label + "</extra>",
        )  # fmt: skip
    figure.update_xaxes(
        tickformat=".0%", range=[0, 1.03], dtick=0.25, fixedrange=True, title="share of the broken rows"
    )  # fmt: skip
    figure.update_yaxes(automargin=True, fixedrange=True, type="category")
    return framed(figure.update_layout(barmode="group", bargap=0.25), 130 + 44 * len(names), below=56)


def _budget(budget: tuple[str, ...]) -> str:
    return "<br>".join([*budget[:6], f"and {len(budget) - 6} more"] if len(budget) > 6 else budget)


NOISE_FIGURES = {
    "AUC": "auc",
    "Accuracy": "quality",
    "Flip rate": "flip_rate",
    "Calibration error": "calibration_error",
}


def noise_figures(campaign: CampaignView) -> list[str]:
    """The figures that every cell of the grid has; the error takes the place of the accuracy for values."""
    known = [name for name, column in NOISE_FIGURES.items() if campaign.noise[column].notna().all()]
    return [name for name in known if not (campaign.is_regression and name == "Flip rate")]


def noise_grid(campaign: CampaignView, figure_name: str) -> go.Figure:
    """One figure under each family of noise by severity, the worst family on top; the colour is the loss."""
    noise, column = campaign.noise, NOISE_FIGURES[figure_name]
    grows = column in ("flip_rate", "calibration_error") or (column == "quality" and campaign.is_regression)
    grid = noise.pivot_table(index="family", columns="severity", values=column)
    worst = grid.max(axis=1) if grows else grid.min(axis=1)
    grid = grid.loc[worst.sort_values(ascending=not grows).index]
    clean = {"auc": campaign.clean_auc or 0.0, "quality": campaign.clean}.get(column, 0.0)
    loss = ((grid - clean) if grows else (clean - grid)).clip(lower=0)
    strengths = noise.assign(text=noise["strength"].map("{:.3g}".format) + " " + noise["unit"].fillna("")).pivot_table(
        index="family", columns="severity", values="text", aggfunc="first"
    )
    figure = go.Figure(
        go.Heatmap(
            z=loss, x=[f"severity {severity}" for severity in grid.columns], y=[palette.words(f) for f in grid.index],
            text=grid, texttemplate="%{text:.3f}", textfont={"color": "#1F1F1F"}, customdata=strengths.loc[grid.index],
            colorscale=palette.INTENSITY_OPAQUE,
            zmin=0, zmax=max(0.1, float(loss.to_numpy().max())), xgap=2, ygap=2, showscale=False,
            hovertemplate="%{y}, %{x} (%{customdata}): %{text:.3f}, loss %{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", automargin=True, fixedrange=True)
    figure.update_xaxes(fixedrange=True, side="top")
    return framed(figure, 80 + 30 * len(grid)).update_layout(margin={"t": 32})


_SCHEDULED = ("registration", "tick", "candidate")  # joined by a line; the others are points
_SYMBOLS = {"nightly": "diamond", "command": "star"}


def tick_history(ticks: pd.DataFrame, level: str) -> go.Figure:
    """The headline figure of every campaign, the clean one above it, and the last night on the reference as a line."""
    figure = go.Figure()
    colours = (palette.BLUE, palette.GREEN, palette.PURPLE)
    for version, colour in zip(dict.fromkeys(ticks["version"]), colours, strict=False):
        of_version = ticks[ticks["version"] == version]
        scheduled = of_version[of_version["purpose"].isin(_SCHEDULED)]
        for column, dash, symbol in (("clean", "dot", "circle-open"), ("robust", "solid", "square")):
            _points(figure, scheduled, column, f"{version}: {column}", colour, symbol, dash=dash)
        for purpose, symbol in _SYMBOLS.items():
            part = of_version[of_version["purpose"] == purpose]
            if len(part):
                _points(figure, part, "robust", f"{version}: {part['words'].iloc[0]}", colour, symbol)
    nights = ticks[ticks["purpose"] == "nightly_reference"]
    if len(nights):
        figure.add_hline(
            nights["robust"].iloc[-1], line={"color": palette.GREY, "dash": "dash", "width": 1.5},
            annotation_text="last night, on the reference", annotation_position="bottom left",
        )  # fmt: skip
    figure.update_yaxes(title=f"{' and '.join(dict.fromkeys(ticks['figure']))} clean and at {level}", fixedrange=True)
    figure.update_xaxes(fixedrange=True)
    return framed(figure, 300)


def _points(
    figure: go.Figure, part: pd.DataFrame, column: str, name: str, colour: str, symbol: str, *, dash: str = ""
) -> None:
    """Campaigns of one kind; with `dash` joined by a line."""
    figure.add_scatter(
        x=times.axis(part["ends"]), y=part[column], mode="lines+markers" if dash else "markers", name=name,
        line={"color": colour, "dash": dash or "solid", "width": 1.5},
        marker={"symbol": symbol, "size": 9, "color": colour},
        customdata=part[["words", "rows"]],
        hovertemplate="%{y:.3f}, %{customdata[0]}, n = %{customdata[1]:,}",
    )  # fmt: skip


CURVE_NAMES = {"loss": "training rows", "clean": "held out, clean", "robust": "held out, attacked"}


def training_curve(curve: Sequence[Mapping[str, float]]) -> go.Figure:
    """What the training reported after each epoch."""
    frame = pd.DataFrame(list(curve))
    x = frame["epoch"] if "epoch" in frame else frame.index + 1
    figure = go.Figure()
    colours = (palette.BLUE, palette.GREEN, palette.VERMILION, palette.PURPLE)
    names = [name for name in frame.columns if name not in ("epoch", "seconds") and frame[name].notna().any()]
    for name, colour in zip(names, colours, strict=False):
        figure.add_scatter(
            x=x,
            y=frame[name],
            mode="lines+markers",
            name=CURVE_NAMES.get(name, palette.words(name)),
            line={"color": colour},
        )
    figure.update_xaxes(title="epoch", fixedrange=True, range=[0.5, max(10, len(frame)) + 0.5])
    figure.update_yaxes(title="log loss", fixedrange=True, rangemode="tozero")
    return framed(figure, 260, below=64)
