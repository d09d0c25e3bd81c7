"""What counts as right? Verdicts and the verifiers that give them. Knows nothing of envs or torch."""

from shuhari.rewards.integer import verify_integer
from shuhari.rewards.verdict import Status, Verdict

__all__ = ["Status", "Verdict", "verify_integer"]
