"""The page of a stress test: one self-contained HTML file with pictures, and the JSON beside it."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from monitor.errors import BadInput
from monitor.robustness.wording import budget_of, feature_sentences, fragile_features

Json = Mapping[str, Any]
_BLUE, _SKY, _GREY, _VERMILION = "#0072B2", "#56B4E9", "#999999", "#D55E00"
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}p.sub{color:#555;margin-top:0}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
.scroll{overflow-x:auto}td:first-child{white-space:nowrap}.flag{border-left:4px solid #D55E00;padding:.2rem .8rem}
"""


def write_page(folder: Path, document: Json) -> Path:
    """Write `index.html` and `report.json` into `folder`; returns the page's path."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        page = folder / "index.html"
        page.write_text(_page(document), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"expected a folder that can be written for --report, got {folder}: {error.strerror}") from error
    return page


def headline(document: Json) -> str:
    """What the level that alerts and gates read does to the model."""
    gate = document["headline"]["level"]
    at = next(level for level in document["levels"] if level["level"] == gate)
    if document["task"] == "regression":
        return f"At {gate} the mean absolute error grows {at['clean']:.3g} → {at['attacked']:.3g}"
    if at["robust_auc"] is not None and document["clean_auc"] is not None:
        return f"At {gate} the AUC falls {document['clean_auc']:.2f} → {at['robust_auc']:.2f}"
    return f"At {gate} {at['attacked']:.1%} of decisions are still right, of {at['clean']:.1%}"


def _page(document: Json) -> str:
    safe = html.escape(f"{document['model']} {document['version']}")
    figures = (_band(document), _features(document), _noise(document))
    pictures = "".join(one.to_html(full_html=False, include_plotlyjs=False) for one in figures if one is not None)
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>Stress test of {safe}</title>
<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>
<h1>{html.escape(headline(document))}</h1>
<p class="sub">{safe}: {html.escape(document["plan"])} campaign on {document["n_rows"]:,} {html.escape(document["on"])}
rows of {document["starts"][:10]} to {document["ends"][:10]}. {html.escape(document["note"])}</p>
{_flags(document["audit"])}
<h2>Levels</h2>{_levels(document)}
<p class="sub">Certified ≤ true ≤ attacked. No attack moves the best constant predictor.</p>
{pictures}
<h2>What breaks it</h2>{_breaks(document)}
{_slices(document.get("fragile_slices") or ())}
</body></html>"""


def _flags(flags: Sequence[Json]) -> str:
    if not flags:
        return "<p>The attack's self-audit raised no flag.</p>"
    return "".join(f'<p class="flag">{html.escape(flag["sentence"])}</p>' for flag in flags)


def _levels(document: Json) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in ("level", "an attacker may move", "clean", "attacked [95 %]", "certified", "robust AUC",
                     "worst recall", "best constant")
    )  # fmt: skip
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(level))}</tr>" for level in document["levels"])
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _cells(level: Json) -> list[str]:
    low, high = level["interval"]
    beyond = " (beyond reality)" if level["beyond_reality"] else ""
    figures = [level[name] for name in ("certified", "robust_auc", "worst_recall", "constant")]
    return [
        f"{level['level']}{beyond}",
        html.escape(budget_of(level, most=8) or "nothing"),
        f"{level['clean']:.3f}",
        f"{level['attacked']:.3f} [{low:.3f}, {high:.3f}]",
        *("" if value is None else f"{value:.3f}" for value in figures),
    ]


def _band(document: Json) -> go.Figure:
    levels = document["levels"]
    ticks = ["clean", *(level["level"] for level in levels)]
    attacked = [document["clean"], *(level["attacked"] for level in levels)]
    figure = go.Figure()
    if all(level["certified"] is not None for level in levels):
        certified = [document["clean"], *(level["certified"] for level in levels)]
        figure.add_scatter(x=ticks, y=certified, name="certified", line={"color": _SKY, "dash": "dash"})
        figure.add_scatter(
            x=ticks, y=attacked, fill="tonexty", fillcolor="rgba(86,180,233,0.25)", line={"width": 0},
            hoverinfo="skip", showlegend=False, mode="lines",
        )  # fmt: skip
    figure.add_scatter(
        x=ticks, y=attacked, name="attacked", mode="lines+markers", line={"color": _BLUE},
        text=["unchanged", *(budget_of(level, most=8) for level in levels)], hovertemplate="%{y:.3f}<br>%{text}",
        error_y={
            "type": "data", "symmetric": False, "color": _GREY,
            "array": [0, *(level["interval"][1] - level["attacked"] for level in levels)],
            "arrayminus": [0, *(level["attacked"] - level["interval"][0] for level in levels)],
        },
    )  # fmt: skip
    figure.add_hline(levels[0]["constant"], line={"color": _GREY, "dash": "dot"}, annotation_text="best constant")
    return _dressed(figure, f"{document['metric'].capitalize()} by level of attack, with 95 % intervals")


def _features(document: Json) -> go.Figure | None:
    found = fragile_features(document, most=10)[::-1]
    if not found:
        return None
    names = [one.feature for one in found]
    figure = go.Figure()
    figure.add_bar(x=[one.moved for one in found], y=names, orientation="h", name="moved", marker_color=_SKY)
    repaired = [one.repaired for one in found]
    figure.add_bar(x=repaired, y=names, orientation="h", name="repairs alone", marker_color=_VERMILION)
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_yaxes(automargin=True)
    return _dressed(figure, "Features that the attack leans on, as shares of the broken rows")


def _noise(document: Json) -> go.Figure | None:
    cells = document["noise"]
    if not cells:
        return None
    figure_of = "auc" if all(cell["auc"] is not None for cell in cells) else "quality"
    families = list(dict.fromkeys(cell["family"] for cell in cells))
    severities = sorted({cell["severity"] for cell in cells})
    known = {(cell["family"], cell["severity"]): cell[figure_of] for cell in cells}
    grid = [[known.get((family, severity)) for severity in severities] for family in families]
    figure = go.Figure(
        go.Heatmap(
            z=grid, x=[f"severity {severity}" for severity in severities],
            y=[family.replace("_", " ") for family in families], colorscale="Blues",
            reversescale=document["task"] != "regression", texttemplate="%{z:.3f}", showscale=False, xgap=2, ygap=2,
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", automargin=True)
    what = "AUC" if figure_of == "auc" else str(document["metric"])
    return _dressed(figure, f"{what} under noise and faults", height=120 + 26 * len(families))


def _slices(slices: Sequence[Json]) -> str:
    if not slices:
        return ""
    told = [f"{one['slice']}: {one['flip_rate']:.0%} of {one['rows']:,} rows flip" for one in slices]
    return f"<h2>Where it breaks most easily</h2>{_listed(told)}"


def _breaks(document: Json) -> str:
    told = [f"{one[0].upper()}{one[1:]}." for one in feature_sentences(document, most=10)]
    return _listed(told) or "<p>No feature repairs a row by itself.</p>"


def _listed(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(one)}</li>' for one in sentences)}</ul>" if sentences else ""


def _dressed(figure: go.Figure, title: str, *, height: int = 360) -> go.Figure:
    figure.update_layout(
        title=title, template="plotly_white", height=height, margin={"l": 50, "r": 20, "t": 50, "b": 40}
    )
    return figure
