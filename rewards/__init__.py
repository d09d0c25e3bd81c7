"""What counts as right? Verdicts and the verifiers that give them. Knows nothing of envs or torch."""

from shuhari.rewards.math.integer import verify_integer
from shuhari.rewards.math.verify import verify
from shuhari.rewards.rubric import Rubric, get_reward, reward
from shuhari.rewards.selftest import error_rates, selftest
from shuhari.rewards.verdict import Form, Kind, Status, Verdict

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
