"""What counts as right? Verdicts and the verifiers that give them. Knows nothing of envs or torch."""

from shuhari.rewards.integer import verify_integer
from shuhari.rewards.rubric import Rubric, get_reward, reward
from shuhari.rewards.selftest import error_rates, selftest
from shuhari.rewards.verdict import Form, Kind, Status, Verdict
from shuhari.rewards.verify import verify

__all__ = [
    "Form",
    "Kind",
    "Rubric",
    "Status",
    "Verdict",
    "error_rates",
    "get_reward",
    "reward",
    "selftest",
    "verify",
    "verify_integer",
]
