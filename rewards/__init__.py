"""Verdicts, and the verifiers that return them. This folder imports neither the environments nor torch."""

from shuhari.rewards.check_reward import check_reward
from shuhari.rewards.error_rates import error_rates
from shuhari.rewards.math.verify import verify
from shuhari.rewards.math.verify_integer import verify_integer
from shuhari.rewards.verdict import Form, Kind, Status, Verdict

__all__ = [
    "Form",
    "Kind",
    "Status",
    "Verdict",
    "check_reward",
    "error_rates",
    "verify",
    "verify_integer",
]
