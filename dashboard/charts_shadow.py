"""The figure of a shadow: where the mean loss of the candidate lies against the champion's."""

import plotly.graph_objects as go

from dashboard import charts, palette
from monitor.db.read_shadow import ShadowPage

_COLOURS = {"worse": palette.VERMILION, "not_worse": palette.GREEN}


def difference(page: ShadowPage) -> go.Figure:
    """The interval on a line with 0 and the limit: worse on its right, not worse on its left."""
    colour = _COLOURS.get(page.verdict or "", palette.GREY)
    figure = go.Figure(
        go.Scatter(
            x=[page.difference], y=["candidate − champion"], mode="markers", marker={"color": colour, "size": 11},
            error_x={
                "type": "data", "symmetric": False, "array": [page.high - page.difference],
                "arrayminus": [page.difference - page.low], "color": colour, "thickness": 3,
            },
            hovertemplate=f"mean loss %{{x:+.4f}} [{page.low:+.4f}, {page.high:+.4f}]<br>{page.rows:,} labelled rows, "
            f"95 % at every moment<br>limit {page.limit:+.4f}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_vline(0, line={"color": palette.GREY, "width": 1})
    figure.add_vline(page.limit, line={"color": palette.VERMILION, "width": 1, "dash": "dot"}, annotation_text="limit")
    figure.update_yaxes(visible=False, fixedrange=True)
    figure.update_xaxes(title="mean loss of the candidate less the champion's (lower is better)", fixedrange=True)
    return charts.framed(figure, 170).update_layout(showlegend=False)
