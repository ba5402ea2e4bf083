from typing import Any

from monitor.training.model_card import model_card

FULL: dict[str, Any] = {
    "model": {"name": "fraud", "owner": "ana", "task": "classification", "tier": 2, "intended_use": "card payments"},
    "version": {"name": "v13", "state": "champion", "flavour": "torch", "manifest_sha256": "ab12", "replaced": "v12"},
    "provenance": {
        "recipe": {"name": "hardened", "noise": 0.3, "attacked": 0.3},
        "seed": 7,
        "weights_sha256": "9f3c",
        "families": {"missing": 0.7, "gaussian": 0.3},
        "fallback": "",
        "inputs": {"code_version": "1.2"},
    },
    "baseline": {
        "metric": {"name": "auroc", "value": 0.9, "low": 0.88, "high": 0.92},
        "limit": 0.87,
        "stress": {"metric": "robust_auc", "value": 0.78, "low": 0.75, "high": 0.81, "clean": 0.9, "level": "S2",
                   "budget": ["amount ± 37 EUR"], "reality_cap": 0.3},
        "corrupted_auc": 0.86,
    },
    "gates": [
        {"name": "clean", "passed": True, "sentence": "Clean auroc 0.840 → 0.900."},
        {"name": "mcc", "passed": False, "sentence": "MCC 0.5 → 0.1 (at least 0.4)."},
    ],
    "comparison": {
        "clean": {"metric": "auroc", "value": 0.9, "low": 0.88, "high": 0.92, "champion": 0.84},
        "robust": {"metric": "robust_auc", "value": 0.78, "low": 0.75, "high": 0.81, "level": "S2", "champion": 0.61},
    },
    "snapshot": {"starts": "2026-03-01", "ends": "2026-08-02", "rows": 1_200, "label_coverage": 0.5, "sha256": "c0"},
}  # fmt: skip

EMPTY: dict[str, Any] = {name: [] if name == "gates" else {} for name in FULL}


def section(card: str, name: str) -> str:
    return card.split(f"## {name}\n\n")[1].split("\n\n## ")[0]


def test_a_card_tells_metrics_with_intervals_and_the_version_before():
    assert "| auroc | 0.9 | [0.88, 0.92] | 0.84 |" in section(model_card(**FULL), "Metrics")


def test_a_card_tells_how_far_attacks_go_in_raw_units():
    robust = section(model_card(**FULL), "Robustness")
    assert "robust auc at S2: 0.78, 95 % interval [0.75, 0.81], version before 0.61" in robust
    assert "amount ± 37 EUR" in robust


def test_failed_gates_thin_labels_and_fallbacks_are_weaknesses():
    weak = section(model_card(**FULL), "Known weaknesses")
    assert "MCC 0.5 → 0.1" in weak
    assert "Only 50 %" in weak
    assert "Hardened less" not in weak
    told = {**FULL, "provenance": {**FULL["provenance"], "fallback": "clean AUC fell by 0.9 points"}}
    assert "Hardened less than asked for: clean AUC fell by 0.9 points" in model_card(**told)


def test_training_and_lineage_name_recipe_families_and_hashes():
    card = model_card(**FULL)
    assert "hardened (40% clean, 30% noise, 30% attacked rows)" in section(card, "Training")
    assert "missing 70%, gaussian 30%" in section(card, "Training")
    assert "Weights sha256: 9f3c" in section(card, "Lineage")
    assert "Replaces: v12" in section(card, "Lineage")


def test_what_nobody_recorded_is_said_to_be_unknown():
    card = model_card(**EMPTY)
    assert card.startswith("# Model card: unnamed model\n")
    assert "Its robustness is unknown." in card
    assert "Its performance on held-out rows is unknown." in card
    assert "the version was attached, not trained here" in card


def test_each_document_may_be_missing_while_the_others_are_full():
    for name, nothing in EMPTY.items():
        assert "## Lineage" in model_card(**{**FULL, name: nothing})


def test_names_cannot_break_the_page():
    card = model_card(**{**FULL, "model": {"name": "a|b\n# <script>", "owner": "x"}})
    assert card.splitlines()[0] == "# Model card: a\\|b # \\<script> v13"
