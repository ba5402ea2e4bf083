"""Colours that people with any colour vision tell apart (Okabe and Ito, 2008), and what each means here."""

from typing import Literal

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
GREY = "#8A8A8A"

# A verdict is never told by its colour alone: charts add a symbol, text adds the word.
VERDICT_COLOURS = {
    "healthy": GREEN,
    "harmless_drift": SKY,
    "pending_labels": ORANGE,
    "fragile": PURPLE,
    "harmful_covariate_shift": VERMILION,
    "concept_drift": VERMILION,
    "pipeline_break": BLUE,
}
VERDICT_SYMBOLS = {
    "healthy": "circle",
    "harmless_drift": "diamond",
    "pending_labels": "circle-open",
    "fragile": "triangle-up",
    "harmful_covariate_shift": "square",
    "concept_drift": "x",
    "pipeline_break": "cross",
}
VERDICT_ICONS = {
    "healthy": ":material/check_circle:",
    "harmless_drift": ":material/swap_horiz:",
    "pending_labels": ":material/hourglass_empty:",
    "fragile": ":material/shield:",
    "harmful_covariate_shift": ":material/trending_down:",
    "concept_drift": ":material/sync_problem:",
    "pipeline_break": ":material/link_off:",
}
BadgeColour = Literal["green", "blue", "gray", "violet", "red", "orange"]
BADGES: dict[str, BadgeColour] = {
    "healthy": "green",
    "harmless_drift": "blue",
    "pending_labels": "gray",
    "fragile": "violet",
    "harmful_covariate_shift": "red",
    "concept_drift": "red",
    "pipeline_break": "orange",
}
# Sequential in one hue; the smallest value is nearly transparent, so that it sits on light and dark pages.
INTENSITY = [[0.0, "rgba(230,159,0,0.08)"], [0.5, "rgba(230,159,0,0.85)"], [1.0, "#D55E00"]]


# The same in opaque colours, for cells that carry text.
INTENSITY_OPAQUE = [[0.0, "#FFF6E3"], [0.5, "#E69F00"], [1.0, "#D55E00"]]


def words(slug: str | None) -> str:
    """A slug as people say it."""
    return (slug or "not judged yet").replace("_", " ")
