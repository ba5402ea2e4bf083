"""Figures of the Model and Drift views. Each states n, window, method and threshold on hover or in its caption."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard import palette, times
from monitor.db.read_drift import Histogram
from monitor.db.read_model import ModelHistory

QUIET = {"displayModeBar": False, "responsive": True}
_MARK = {"page": palette.VERMILION, "ticket": palette.ORANGE, "info": palette.GREY, "deploy": palette.GREEN}


def framed(figure: go.Figure, height: int, *, below: int = 44) -> go.Figure:
    """The look that all figures share: no frame, the legend `below` pixels under the axis, room for labels."""
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 24, "b": 8},
        legend={"orientation": "h", "yanchor": "top", "y": -below / (height - below - 60), "x": 0},
        hoverlabel={"align": "left"},
        dragmode=False,
    )


def timeline(history: ModelHistory) -> go.Figure:
    """Windows coloured by verdict; above them, where labels came, the metric with its interval and the limit."""
    measured = [window for window in history.windows if window.metric]
    rows = 2 if measured else 1
    figure = make_subplots(
        rows=rows, cols=1, shared_xaxes=True, row_heights=[0.8, 0.2][2 - rows :], vertical_spacing=0.04
    )
    if measured:
        _metric_path(figure, _measured(history), history.limit)
    _verdict_ribbon(figure, history, row=rows)
    for mark in history.marks:
        figure.add_vline(times.on_axis(mark.at), line={"color": _MARK[mark.kind], "width": 1, "dash": "dot"})
    figure.update_yaxes(visible=False, fixedrange=True, row=rows, col=1)
    return framed(figure, 400 if measured else 190, below=58)


def metric_path(frame: pd.DataFrame, limit: float | None) -> go.Figure:
    """The realised metric alone with its interval: columns starts, ends, verdict, name, value, low, high, n."""
    figure = make_subplots(rows=1, cols=1)
    _metric_path(figure, frame, limit)
    return framed(figure, 320)


def _measured(history: ModelHistory) -> pd.DataFrame:
    windows = [window for window in history.windows if window.metric]
    return pd.DataFrame(
        [{"starts": w.starts, "ends": w.ends, "verdict": w.verdict, **vars(w.metric)} for w in windows if w.metric]
    )


def _metric_path(figure: go.Figure, frame: pd.DataFrame, limit: float | None) -> None:
    spans = [times.window(starts, ends) for starts, ends in zip(frame["starts"], frame["ends"], strict=True)]
    frame = frame.assign(window=spans)
    x = times.axis(frame["starts"])
    band = frame.dropna(subset=["low", "high"])
    around = pd.concat([times.axis(band["starts"]), times.axis(band["starts"])[::-1]])
    figure.add_scatter(
        x=around, y=pd.concat([band["high"], band["low"][::-1]]), fill="toself", mode="lines", line={"width": 0},
        fillcolor="rgba(138,138,138,0.22)", hoverinfo="skip", name="95 % interval", row=1, col=1,
    )  # fmt: skip
    name = frame["name"].iloc[0]
    figure.add_scatter(
        x=x, y=frame["value"], mode="lines", line={"color": palette.GREY, "width": 1.5}, hoverinfo="skip",
        showlegend=False, row=1, col=1,
    )  # fmt: skip
    for verdict, part in frame.groupby("verdict", sort=False):
        figure.add_scatter(
            x=times.axis(part["starts"]), y=part["value"], mode="markers", name=palette.words(str(verdict)),
            legendgroup=str(verdict), showlegend=False, customdata=part[["window", "low", "high", "n"]],
            marker={"color": palette.VERDICT_COLOURS.get(str(verdict), palette.GREY), "size": 7,
                    "symbol": palette.VERDICT_SYMBOLS.get(str(verdict), "circle")},
            hovertemplate="%{customdata[0]}<br>" + name + " %{y:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}]"
            "<br>n = %{customdata[3]:,} labelled rows",
            row=1, col=1,
        )  # fmt: skip
    if limit is not None:
        figure.add_hline(
            limit, line={"color": palette.VERMILION, "dash": "dash", "width": 1.5}, row=1, col=1,
            annotation={"text": f"limit {limit:.3f}", "xanchor": "left", "x": 0, "font": {"size": 12}},
            annotation_position="bottom left",
        )  # fmt: skip
    figure.update_yaxes(title=name, fixedrange=True, row=1, col=1)
    figure.update_xaxes(fixedrange=True)


def _verdict_ribbon(figure: go.Figure, history: ModelHistory, *, row: int) -> None:
    frame = pd.DataFrame(
        [
            {"starts": w.starts, "ends": w.ends, "verdict": w.verdict, "rows": w.rows, "version": w.version,
             "window": times.window(w.starts, w.ends), "sentence": _wrapped(w.sentence)}
            for w in history.windows
        ]
    )  # fmt: skip
    for verdict, part in frame.groupby("verdict", sort=False):
        widths = (part["ends"] - part["starts"]).dt.total_seconds() * 1000
        figure.add_bar(
            x=times.axis(part["starts"]), y=[1] * len(part), width=widths * 0.94, offset=0,
            name=palette.words(str(verdict)), legendgroup=str(verdict),
            marker={"color": palette.VERDICT_COLOURS.get(str(verdict), palette.GREY), "line": {"width": 0}},
            customdata=part[["window", "sentence", "rows", "version"]],
            hovertemplate="<b>%{fullData.name}</b><br>%{customdata[0]}<br>%{customdata[1]}"
            "<br>%{customdata[2]:,} rows, %{customdata[3]}<extra></extra>",
            row=row, col=1,
        )  # fmt: skip


def _wrapped(sentence: str, width: int = 60) -> str:
    lines: list[str] = []
    line = ""
    for word in sentence.split():
        if len(line) + len(word) > width:
            lines, line = [*lines, line], ""
        line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])


def drift_heatmap(cells: pd.DataFrame, order: list[str]) -> go.Figure:
    """Features × windows: how far each moved; a dot marks the cells that the detector holds responsible."""
    grid = cells.pivot_table(index="feature", columns="starts", values="magnitude", observed=True).reindex(order)
    hover = cells.assign(text=_cell_text(cells)).pivot_table(
        index="feature", columns="starts", values="text", aggfunc="first", observed=True
    )
    x = times.axis(pd.Series(grid.columns))
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(), x=x, y=order, colorscale=palette.INTENSITY, zmin=0, zmax=0.5, xgap=1, ygap=1,
            text=hover.reindex(index=order, columns=grid.columns), hovertemplate="%{text}<extra></extra>",
            colorbar={"orientation": "h", "thickness": 8, "len": 0.4, "x": 0, "xanchor": "left", "y": 1.01,
                      "yanchor": "bottom", "tickvals": [0, 0.25, 0.5], "ticktext": ["0 σ", ".25 σ", "≥ .5 σ"]},
        )
    )  # fmt: skip
    fired = cells[cells["fired"]]
    figure.add_scatter(
        x=times.axis(fired["starts"]), y=fired["feature"], mode="markers", hoverinfo="skip", showlegend=False,
        marker={"size": 5, "color": "white", "line": {"width": 1, "color": "black"}},
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", automargin=True, fixedrange=True, showgrid=False, type="category")
    figure.update_xaxes(fixedrange=True, showgrid=False)
    return framed(figure, 110 + 24 * max(len(order), 3))


def _cell_text(cells: pd.DataFrame) -> pd.Series:
    sentences = cells["sentence"].where(cells["sentence"] != "", cells["feature"] + ": " + cells["status"])
    days = cells["starts"].map(lambda at: f"{at:%-d %b %Y, %H:%M} UTC")
    return sentences.map(_wrapped) + "<br>" + days + ", n = " + cells["rows"].map("{:,}".format)


def effect_path(path: pd.DataFrame) -> go.Figure:
    """One feature's effect over windows with its 95 % interval and the threshold beyond which it fires."""
    x = times.axis(path["starts"])
    figure = go.Figure()
    figure.add_scatter(
        x=pd.concat([x, x[::-1]]), y=pd.concat([path["high"], path["low"][::-1]]), fill="toself", mode="lines",
        line={"width": 0}, fillcolor="rgba(0,114,178,0.18)", hoverinfo="skip", name="95 % interval",
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=path["effect"], mode="lines+markers", name="effect", line={"color": palette.BLUE, "width": 1.5},
        marker=_fired_marker(path),
        customdata=path[["low", "high", "rows"]],
        hovertemplate="effect %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<br>n = %{customdata[2]:,}",
    )  # fmt: skip
    for sign in (1, -1):
        figure.add_scatter(
            x=x, y=sign * path["threshold"], mode="lines", name="threshold", showlegend=sign > 0, hoverinfo="skip",
            line={"color": palette.VERMILION, "dash": "dash", "width": 1},
        )  # fmt: skip
    figure.update_yaxes(title="effect, σ", fixedrange=True, zeroline=True)
    figure.update_xaxes(fixedrange=True)
    return framed(figure, 320)


def distance_path(path: pd.DataFrame) -> go.Figure:
    """How far a feature of levels moved in each window: the effect would speak of another level from time to time."""
    figure = go.Figure()
    figure.add_scatter(
        x=times.axis(path["starts"]), y=path["magnitude"], mode="lines+markers", name="distance",
        line={"color": palette.BLUE, "width": 1.5}, marker=_fired_marker(path), customdata=path["rows"],
        hovertemplate="distance %{y:.3f} σ<br>n = %{customdata:,}", showlegend=False,
    )  # fmt: skip
    figure.update_yaxes(title="distance, σ", fixedrange=True, rangemode="tozero")
    figure.update_xaxes(fixedrange=True)
    return framed(figure, 320)


def _fired_marker(path: pd.DataFrame) -> dict[str, list[object]]:
    """Squares where the detector held the feature responsible."""
    return {
        "size": [9 if fired else 4 for fired in path["fired"]],
        "symbol": ["square" if fired else "circle" for fired in path["fired"]],
        "color": [palette.VERMILION if fired else palette.BLUE for fired in path["fired"]],
    }


def reference_against_current(histogram: Histogram) -> go.Figure:
    """Shares of rows by the reference's bins."""
    figure = go.Figure()
    for column, label, colour, pattern in (
        ("reference", f"reference, n = {histogram.n_reference:,}", palette.GREY, ""),
        ("current", f"this window, n = {histogram.n_current:,}", palette.BLUE, "/"),
    ):
        figure.add_bar(
            x=histogram.bins["bin"], y=histogram.bins[column], name=label,
            marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": "#FFF"}},
            hovertemplate="%{x}: %{y:.1%}<extra>" + label + "</extra>",
        )  # fmt: skip
    figure.update_yaxes(tickformat=".0%", title="share of rows", fixedrange=True)
    figure.update_xaxes(type="category", fixedrange=True, tickangle=-45, automargin=True)
    return framed(figure.update_layout(barmode="group", bargap=0.2), 320).update_layout(legend={"y": 1.12})
