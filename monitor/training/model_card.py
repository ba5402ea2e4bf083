"""A model card: one page that says what a version is, how it was made and judged, and where it is weak.

After Mitchell et al. 2019, https://arxiv.org/abs/1810.03993. What nobody recorded is named as unknown, never guessed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

Document = Mapping[str, Any]
_UNKNOWN = "not recorded"


def model_card(
    *,
    model: Document,
    version: Document,
    provenance: Document,
    baseline: Document,
    gates: Sequence[Document],
    comparison: Document,
    snapshot: Document,
) -> str:
    """Markdown from the documents that the registry keeps; every mapping may be empty.

    Args:
        model: name, owner, task, tier, and optionally `description`, `intended_use`, `out_of_scope`.
        version: name, state, flavour, `manifest_sha256`, `replaced` (the version before), `created_at`, `promoted_at`.
        provenance: as `Provenance.to_document`.
        baseline: metric with its interval, limit, operating threshold, stress headline, corrupted AUC.
        gates: as `GateResult.to_document`.
        comparison: candidate beside champion, clean and robust.
        snapshot: the span, number, share of labels and hash of the rows learned from.

    >>> card = model_card(
    ...     model={"name": "fraud"}, version={"name": "v2"}, provenance={}, baseline={}, gates=(), comparison={},
    ...     snapshot={})
    >>> card.splitlines()[0]
    '# Model card: fraud v2'
    """
    sections = {
        "What it is": _what_it_is(model, version),
        "Intended use": _intended(model),
        "Data": _data(snapshot, provenance),
        "Training": _training(provenance),
        "Metrics": _metrics(baseline, comparison),
        "Robustness": _robustness(baseline, comparison),
        "Gates": _gates(gates),
        "Known weaknesses": _weaknesses(provenance, baseline, gates, comparison, snapshot),
        "Lineage": _lineage(version, provenance, snapshot),
    }
    title = f"# Model card: {_text(model.get('name') or 'unnamed model')} {_text(version.get('name') or '')}".rstrip()
    parts = [title, *(f"## {name}\n\n{_lines(lines)}" for name, lines in sections.items())]
    return "\n\n".join(parts) + "\n"


def _what_it_is(model: Document, version: Document) -> list[str]:
    tier = model.get("tier")
    facts = [
        ("Task", model.get("task")),
        ("Owner", model.get("owner")),
        ("Risk tier", None if tier is None else f"T{tier}"),
        ("State", version.get("state")),
        ("Kind of file", version.get("flavour")),
        ("Made", version.get("created_at")),
        ("Promoted", version.get("promoted_at")),
    ]
    said = [f"- {name}: {_text(value)}" for name, value in facts if value not in (None, "")]
    description = [_text(model["description"]) + "\n"] if model.get("description") else []
    return description + (said or [f"- {_UNKNOWN}"])


def _intended(model: Document) -> list[str]:
    use, outside = model.get("intended_use"), model.get("out_of_scope")
    return [
        f"- For: {_text(use or 'not declared by the owner')}",
        f"- Not for: {_text(outside or 'not declared; inputs unlike the training span below were never measured')}",
    ]


def _data(snapshot: Document, provenance: Document) -> list[str]:
    lines = []
    if snapshot.get("starts") and snapshot.get("ends"):
        lines.append(f"- Span: {_text(snapshot['starts'])} to {_text(snapshot['ends'])}")
    for name, words in [("rows", "Labelled rows"), ("trained_rows", "Trained on"), ("held_out_rows", "Judged on")]:
        if _is_number(snapshot.get(name)):
            lines.append(f"- {words}: {snapshot[name]:,}")
    if not snapshot.get("rows") and _is_number(provenance.get("rows")):
        lines.append(f"- Trained on: {provenance['rows']:,}")
    if _is_number(snapshot.get("label_coverage")):
        lines.append(f"- Share of traces with a label: {100 * snapshot['label_coverage']:.0f} %")
    if left := snapshot.get("left_out"):
        lines.append(f"- Left out as broken: {len(left)} window{'s' if len(left) > 1 else ''}")
    return lines or [f"- {_UNKNOWN}"]


def _training(provenance: Document) -> list[str]:
    if not provenance:
        return [f"- {_UNKNOWN}: the version was attached, not trained here"]
    recipe: Document = provenance.get("recipe") or {}
    lines = [f"- Recipe: {_text(recipe.get('name') or _UNKNOWN)}{_shares(recipe)}"]
    if provenance.get("fallback"):
        lines.append(f"- Fallback: {_text(provenance['fallback'])}")
    if families := provenance.get("families"):
        ordered = sorted(families.items(), key=lambda item: -float(item[1]))
        lines.append("- Noise by family: " + ", ".join(f"{_text(name)} {float(share):.0%}" for name, share in ordered))
    if allowed := provenance.get("allow_leaks"):
        lines.append(f"- Allowed although they look like the target: {', '.join(map(_text, allowed))}")
    facts = [("Seed", "seed"), ("torch", "torch_version"), ("Threads", "threads")]
    lines += [
        f"- {words}: {_text(provenance[name])}" for name, words in [(n, w) for w, n in facts] if name in provenance
    ]
    return lines


def _shares(recipe: Document) -> str:
    noise, attacked = recipe.get("noise"), recipe.get("attacked")
    if not (_is_number(noise) and _is_number(attacked)):
        return ""
    return f" ({1 - noise - attacked:.0%} clean, {noise:.0%} noise, {attacked:.0%} attacked rows)"


def _metrics(baseline: Document, comparison: Document) -> list[str]:
    rows = []
    clean: Document = comparison.get("clean") or {}
    if _is_number(clean.get("value")):
        rows.append((clean.get("metric"), clean, clean.get("champion")))
    metric: Document = baseline.get("metric") or {}
    if _is_number(metric.get("value")) and not rows:
        rows.append((metric.get("name"), metric, None))
    if not rows:
        return [f"- {_UNKNOWN}"]
    lines = ["| metric | this version | 95 % interval | version before |", "|---|---|---|---|"]
    lines += [f"| {_text(name)} | {_figure(of)} | {_interval(of)} | {_number(before)} |" for name, of, before in rows]
    notes = [("Tolerated limit in service", "limit"), ("Operating threshold", "operating_threshold")]
    said = [f"- {words}: {_number(baseline[name])}" for words, name in notes if _is_number(baseline.get(name))]
    return lines + (["", *said] if said else [])


def _robustness(baseline: Document, comparison: Document) -> list[str]:
    robust: Document = comparison.get("robust") or {}
    stress: Document = baseline.get("stress") or {}
    of = robust if _is_number(robust.get("value")) else stress
    if not _is_number(of.get("value")):
        return [f"- {_UNKNOWN}: no stress test was run"]
    words = str(of.get("metric") or "worst-case figure").replace("_", " ")
    before = f", version before {_number(of.get('champion'))}" if _is_number(of.get("champion")) else ""
    lines = [
        f"- {_text(words)} at {_text(of.get('level') or '?')}: {_figure(of)}, 95 % interval {_interval(of)}{before}"
    ]
    if budget := stress.get("budget"):
        lines.append(f"- What the attack may change there: {'; '.join(map(_text, budget))}")
    if _is_number(baseline.get("corrupted_auc")):
        lines.append(f"- Mean AUC under noise and faults: {_number(baseline['corrupted_auc'])}")
    if _is_number(stress.get("reality_cap")):
        lines.append(f"- Reality cap: {_number(stress['reality_cap'])} robust σ; wider attacks reach other classes")
    return lines


def _gates(gates: Sequence[Document]) -> list[str]:
    if not gates:
        return ["- No gates were judged: the version did not come from a governed retraining."]
    passed = sum(bool(gate.get("passed")) for gate in gates)
    lines = [f"{passed} of {len(gates)} passed.\n"]
    return lines + [
        f"- {'passed' if gate.get('passed') else '**failed**'}: {_text(gate.get('sentence') or gate.get('name'))}"
        for gate in gates
    ]


def _weaknesses(
    provenance: Document, baseline: Document, gates: Sequence[Document], comparison: Document, snapshot: Document
) -> list[str]:
    """What a reader must not overlook: failures, what was not measured, thin data."""
    found = [f"- Failed a gate: {_text(gate.get('sentence') or gate.get('name'))}" for gate in _failed(gates)]
    if provenance.get("fallback"):
        found.append(f"- Hardened less than asked for: {_text(provenance['fallback'])}")
    stress: Document = baseline.get("stress") or {}
    worst, clean = stress.get("value"), stress.get("clean")
    if _is_number(worst) and _is_number(clean):
        lost, level = abs(float(clean) - float(worst)), _text(stress.get("level") or "the gate's level")
        found.append(f"- An attack at {level} moves the headline by {_number(lost)} from {_number(clean)}.")
    elif not _is_number((comparison.get("robust") or {}).get("value")):
        found.append("- Its robustness is unknown.")
    coverage = snapshot.get("label_coverage")
    if _is_number(coverage) and coverage < 0.8:
        found.append(f"- Only {100 * coverage:.0f} % of the traces had a label; those without may differ.")
    if not (comparison.get("clean") or baseline.get("metric")):
        found.append("- Its performance on held-out rows is unknown.")
    return found or ["- None was found by the gates and the stress test; what these do not measure is not known."]


def _failed(gates: Iterable[Document]) -> list[Document]:
    return [gate for gate in gates if not gate.get("passed")]


def _lineage(version: Document, provenance: Document, snapshot: Document) -> list[str]:
    inputs: Document = provenance.get("inputs") or {}
    facts = [
        ("Replaces", version.get("replaced") or inputs.get("champion")),
        ("Manifest sha256", version.get("manifest_sha256")),
        ("Weights sha256", provenance.get("weights_sha256")),
        ("Encoded rows sha256", provenance.get("data_sha256")),
        ("Snapshot sha256", snapshot.get("sha256") or inputs.get("snapshot_sha256")),
        ("Code", inputs.get("code_version")),
        ("Packages sha256", inputs.get("packages_sha256")),
        ("Hardware", inputs.get("hardware")),
    ]
    return [f"- {name}: {_text(value)}" for name, value in facts if value] or [f"- {_UNKNOWN}"]


def _figure(of: Document) -> str:
    return _number(of.get("value"))


def _interval(of: Document) -> str:
    low, high = of.get("low"), of.get("high")
    return f"[{_number(low)}, {_number(high)}]" if _is_number(low) and _is_number(high) else _UNKNOWN


def _number(value: object) -> str:
    return f"{value:,.4g}" if _is_number(value) else "–"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object) -> str:
    """Names and sentences come from outside: they must neither break a table nor become markup."""
    plain = " ".join(str(value).split())
    for sign in ("\\", "|", "<", "*", "`", "["):
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines)
