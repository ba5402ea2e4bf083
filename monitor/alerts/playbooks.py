"""What to do, step by step, by kind of verdict: Markdown checklists that a team edits to fit its own house."""

from monitor.performance.verdict import Verdict

_TITLES = {
    Verdict.PIPELINE_BREAK: "Pipeline break",
    Verdict.FRAGILE: "Fragile",
    Verdict.HARMFUL_COVARIATE_SHIFT: "Harmful covariate shift",
    Verdict.CONCEPT_DRIFT: "Concept drift",
    Verdict.HARMLESS_DRIFT: "Harmless drift",
    Verdict.PENDING_LABELS: "Pending labels",
    Verdict.HEALTHY: "Healthy",
}
_STEPS: dict[Verdict, tuple[str, ...]] = {
    Verdict.PIPELINE_BREAK: (
        "Read the finding: which feature, which rows, since when.",
        "Call the owner of the source; ask what was released at that time.",
        "Roll the feed back, or correct it at the door.",
        "Decide what happens to the decisions made on broken rows.",
        "Do not retrain: the model would learn the fault.",
        "Leave the broken windows out of every later training set.",
    ),
    Verdict.FRAGILE: (
        "Look at the rows that broke and at the features an attacker can move.",
        "Compare confirmed frauds of this week with last month's: is someone adapting?",
        "Widen the manual-review band until a hardened version serves.",
        "Review the proposal; ask for the robust gain at S2, not only the clean metric.",
    ),
    Verdict.HARMFUL_COVARIATE_SHIFT: (
        "Check that the pipeline is clean and the labels are mature.",
        "Read the culprits: are these rows new, or old rows in new proportions?",
        "Review the proposal to retrain; look at the worst slice.",
        "Until then, route the worst slice to people, or fall back to an earlier version.",
    ),
    Verdict.CONCEPT_DRIFT: (
        "Inputs look as before and answers are wrong: ask what changed in the world or in the labelling.",
        "Read fifty wrong rows with someone who knows the subject.",
        "Review the proposal to retrain; prefer recent labels.",
        "Until then, move the threshold or widen the manual-review band.",
    ),
    Verdict.HARMLESS_DRIFT: (
        "Nothing is broken: performance on matured labels is as it was.",
        "Do not retrain.",
        "If this is the new normal, accept the windows as a baseline.",
    ),
    Verdict.PENDING_LABELS: (
        "Features moved and the truth is not in yet: nobody knows whether it hurts.",
        "Ask for a hundred labels of the rows that moved, or wait for maturity.",
        "Watch the estimated performance; it cannot see a change of concept.",
    ),
    Verdict.HEALTHY: ("Nothing to do.",),
}


def playbook(verdict: Verdict) -> str:
    """The checklist for a verdict, as Markdown.

    >>> print(playbook(Verdict.HEALTHY))
    ## Healthy
    - [ ] Nothing to do.
    """
    return "\n".join([f"## {_TITLES[verdict]}", *(f"- [ ] {step}" for step in _STEPS[verdict])])
