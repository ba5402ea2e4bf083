"""How much it takes to break a model: threat model, attacks, noise, certificates, campaigns.

Rows are (n, d) floats in raw units, as `schema.encode` gives. Set torch's threads where you call from
(`torch.set_num_threads(1)` in a worker): nothing here changes them.
"""

from monitor.robustness.campaign import run_campaign
from monitor.robustness.feasibility import feasible
from monitor.robustness.gradient import Search
from monitor.robustness.plan import Plan
from monitor.robustness.reality import reality_cap
from monitor.robustness.report import CampaignReport, LevelResult
from monitor.robustness.target import Task
from monitor.robustness.threat_model import Budget, Norm, ThreatModel

__all__ = [
    "Budget",
    "CampaignReport",
    "LevelResult",
    "Norm",
    "Plan",
    "Search",
    "Task",
    "ThreatModel",
    "feasible",
    "reality_cap",
    "run_campaign",
]
