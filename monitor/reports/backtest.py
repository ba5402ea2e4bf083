"""The page of a backtest: one self-contained HTML file with pictures, and the JSON beside it."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from monitor.errors import BadInput

Json = Mapping[str, Any]

# Okabe & Ito: distinguishable with every common colour blindness.
COLOURS = {
    "healthy": "#009E73",
    "harmless_drift": "#56B4E9",
    "pending_labels": "#999999",
    "fragile": "#CC79A7",
    "concept_drift": "#D55E00",
    "harmful_covariate_shift": "#E69F00",
    "pipeline_break": "#000000",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}p.sub{color:#555;margin-top:0}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
.tag{display:inline-block;padding:0 .5rem;border-radius:.6rem;color:#fff;font-size:.85rem;white-space:nowrap}
.scroll{overflow-x:auto}td:first-child{white-space:nowrap}
"""


def write_page(folder: Path, document: Json, *, title: str) -> Path:
    """Write `index.html` and `backtest.json` into `folder`; returns the page's path."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "backtest.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        page = folder / "index.html"
        page.write_text(_page(document, title), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"expected a folder that can be written for --report, got {folder}: {error.strerror}") from error
    return page


def _page(document: Json, title: str) -> str:
    alerts, windows = document["alerts"], document["windows"]
    safe = html.escape(title)
    figures = [figure for figure in (_performance(document), _verdicts(windows)) if figure is not None]
    pictures = "".join(figure.to_html(full_html=False, include_plotlyjs=False) for figure in figures)
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>Backtest of {safe}</title>
<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>
<h1>{html.escape(_headline(document))}</h1>
<p class="sub">{safe}: {document["rows"]:,} rows; reference {document["reference"]["from"][:10]} to
{document["reference"]["to"][:10]} ({document["reference"]["rows"]:,} rows). “p &lt; .05 on any feature” would have
sent {document["conventional_alerts"]} alerts.</p>
{pictures}
<h2>Alerts</h2>{_alerts(alerts)}
<h2>Left out or doubtful</h2>{_columns(document)}
</body></html>"""


def _headline(document: Json) -> str:
    count = len(document["alerts"])
    return f"{count or 'No'} alert{'s' * (count != 1)} in {len(document['windows'])} windows"


def _performance(document: Json) -> go.Figure | None:
    points = [window for window in document["windows"] if window["metric"]]
    if not points:
        return None
    name = points[0]["metric"]["name"]
    values = [window["metric"]["value"] for window in points]
    figure = go.Figure(
        go.Scatter(
            x=[window["start"] for window in points],
            y=values,
            mode="lines+markers",
            line={"color": "#0072B2"},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [w["metric"]["high"] - w["metric"]["value"] for w in points],
                "arrayminus": [w["metric"]["value"] - w["metric"]["low"] for w in points],
                "color": "#999999",
            },
            name=name,
        )
    )
    reference = document["reference"].get("metric")
    if reference:
        figure.add_hrect(y0=reference["low"], y1=reference["high"], fillcolor="#009E73", opacity=0.15, line_width=0)
    return _dressed(figure, f"{name} per window with 95 % intervals; the band is the reference's")


def _verdicts(windows: Sequence[Json]) -> go.Figure:
    figure = go.Figure()
    for verdict in dict.fromkeys(window["verdict"] or "not judged" for window in windows):
        chosen = [window for window in windows if (window["verdict"] or "not judged") == verdict]
        figure.add_bar(
            x=[window["start"] for window in chosen],
            y=[window["rows"] for window in chosen],
            name=verdict.replace("_", " "),
            marker_color=COLOURS.get(verdict, "#999999"),
        )
    figure.update_layout(barmode="stack")
    return _dressed(figure, "Rows per window, by verdict")


def _dressed(figure: go.Figure, title: str) -> go.Figure:
    figure.update_layout(title=title, template="plotly_white", height=340, margin={"l": 50, "r": 20, "t": 50, "b": 40})
    return figure


def _alerts(alerts: Sequence[Json]) -> str:
    if not alerts:
        return "<p>None: nothing passed the budget of false alarms.</p>"
    rows = "".join(
        f"<tr><td>{alert['window'][0][:10]}</td><td>{alert['severity']}</td><td>{_tag(alert['verdict'])}</td>"
        f"<td>{html.escape(', '.join(alert['culprits'][:6]))}</td><td>{html.escape(alert['title'])}</td></tr>"
        for alert in alerts
    )
    head = "<tr><th>since</th><th>severity</th><th>verdict</th><th>culprits</th><th>what</th></tr>"
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _tag(verdict: str) -> str:
    return f'<span class="tag" style="background:{COLOURS.get(verdict, "#555")}">{verdict.replace("_", " ")}</span>'


def _columns(document: Json) -> str:
    lines = [f"{html.escape(name)}: {html.escape(why)}" for name, why in document["ignored"].items()]
    lines += [html.escape(sentence) for sentence in document["leaks"].values()]
    lines += [html.escape(f"{name}: {odd['sentence']}") for name, odd in document["features"].items()]
    lines += [html.escape(note) for note in document["notes"]]
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>" if lines else "<p>Nothing.</p>"
