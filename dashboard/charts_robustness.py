"""Figures of the Robustness and Retraining views."""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard import palette, times
from dashboard.charts import framed
from monitor.db.read_robustness import CampaignView


def accuracy_by_level(campaigns: Sequence[CampaignView]) -> go.Figure:
    """The band certified–attacked over ε of the first campaign, and robust AUC of each."""
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
    figure.update_xaxes(title="level of attack", type="category", fixedrange=True)
    return framed(figure, 380, below=64)


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


def _budget(budget: tuple[str, ...]) -> str:
    return "<br>".join([*budget[:6], f"and {len(budget) - 6} more"] if len(budget) > 6 else budget)


def noise_grid(campaign: CampaignView) -> go.Figure:
    """Quality under each family of noise by severity: AUC where there is one, else accuracy or error."""
    noise = campaign.noise
    by_auc = noise["auc"].notna().all()
    column = "auc" if by_auc else "quality"
    clean = campaign.clean_auc if by_auc and campaign.clean_auc is not None else campaign.clean
    grid = noise.pivot_table(index="family", columns="severity", values=column)
    grid = grid.loc[grid.min(axis=1).sort_values(ascending=not campaign.is_regression).index]
    loss = (grid - clean if campaign.is_regression else clean - grid).clip(lower=0)
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


def tick_history(ticks: pd.DataFrame, level: str) -> go.Figure:
    """The headline figure of every campaign, and the clean one above it."""
    figure = go.Figure()
    colours = (palette.BLUE, palette.GREEN, palette.PURPLE)
    for version, colour in zip(dict.fromkeys(ticks["version"]), colours, strict=False):
        part = ticks[ticks["version"] == version]
        for column, dash, symbol in (("clean", "dot", "circle-open"), ("robust", "solid", "square")):
            figure.add_scatter(
                x=times.axis(part["starts"]), y=part[column], mode="lines+markers", name=f"{version}: {column}",
                line={"color": colour, "dash": dash, "width": 1.5}, marker={"symbol": symbol, "size": 7},
                customdata=part[["purpose", "rows"]],
                hovertemplate="%{y:.3f}, %{customdata[0]}, n = %{customdata[1]:,}",
            )  # fmt: skip
    figure.update_yaxes(title=f"AUC clean and at {level}", fixedrange=True)
    figure.update_xaxes(fixedrange=True)
    return framed(figure, 300)


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
