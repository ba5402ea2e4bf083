"""A stress test on a terminal: a table of its levels, what its audit doubts, what breaks the model, what it cost."""

import sys
from collections.abc import Mapping
from typing import Any

from monitor.robustness.wording import budget_of, feature_sentences

Json = Mapping[str, Any]


def print_campaign(document: Json) -> None:
    """The campaign of a document as `holdfast stress --json` prints it."""
    print(
        f"{document['model']} {document['version']}, {document['plan']} campaign on {document['n_rows']:,} "
        f"{document['on']} rows of {document['starts'][:10]} to {document['ends'][:10]}: {_clean(document)}"
    )
    _print_levels(document)
    for sentence in campaign_sentences(document):
        print(sentence)


def campaign_sentences(document: Json) -> list[str]:
    """What there is to say beside the table: doubts first."""
    told = [f"CAUTION: {flag['sentence']}" for flag in document["audit"]]
    if not told:
        told = ["The attack's self-audit raised no flag."]
    told += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in feature_sentences(document)]
    told += [f"Breaks most easily: {_slice(found)}." for found in (document.get("fragile_slices") or ())[:3]]
    if document.get("mean_corrupted_auc") is not None:
        told.append(f"Under noise and faults the mean AUC is {document['mean_corrupted_auc']:.3f}.")
    if document.get("paired"):
        told.append(paired_sentence(document["paired"]))
    return [*told, _cost(document["cost"])]


def paired_sentence(paired: Json) -> str:
    """How the campaign compares with the last one on the same rows.

    >>> paired_sentence({"rows": 512, "newly": 30, "no_longer": 4, "p_value": 1e-5, "change": .05, "version": "v1",
    ...                  "level": "S2"})
    'Against v1 on the same 512 rows: 30 newly lost at S2, 4 no longer (p = 1e-05).'
    """
    return (
        f"Against {paired['version']} on the same {paired['rows']:,} rows: {paired['newly']:,} newly lost at "
        f"{paired['level']}, {paired['no_longer']:,} no longer (p = {paired['p_value']:.2g})."
    )


def _clean(document: Json) -> str:
    auc = f", AUC {document['clean_auc']:.3f}" if document.get("clean_auc") is not None else ""
    return f"clean {document['metric']} {_figure(document['clean'])}{auc}"


def _print_levels(document: Json) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    rows = [_row(level) for level in document["levels"]]
    kept = [name for name in rows[0] if any(row[name] != "" for row in rows)]
    for name in kept:
        left = name in ("level", "an attacker may move")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(row[name] for name in kept))
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, width=width, highlight=False, markup=False).print(table)


def _row(level: Json) -> dict[str, str]:
    low, high = level["interval"]
    return {
        "level": level["level"] + (" (beyond reality)" if level["beyond_reality"] else ""),
        "an attacker may move": budget_of(level) or "nothing",
        "clean": _figure(level["clean"]),
        "attacked [95 %]": f"{_figure(level['attacked'])} [{_figure(low)}, {_figure(high)}]",
        "certified": _figure(level["certified"]),
        "robust AUC": _figure(level["robust_auc"]),
        "worst recall": _figure(level["worst_recall"]),
        "best constant": _figure(level["constant"]),
    }


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _slice(found: Json) -> str:
    return f"{found['slice']} ({found['flip_rate']:.0%} of {found['rows']:,} rows flip)"


def _cost(cost: Json) -> str:
    seconds = f"{cost['seconds']:.1f} s, " if cost["seconds"] is not None else ""
    return f"Cost: {seconds}{cost['gradient_rows']:,} rows through a gradient, {cost['queries']:,} through the model."
