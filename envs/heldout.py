"""The held-out side of an environment of problems: the same ones for every player and run."""

import gymnasium

HELDOUT = {"split": "heldout"}  # options of reset
SEEDS = 2**32  # where the seeds of held-out problems begin; training draws below


class HeldOutProblems:
    """`n` held-out problems no two of which are the same, or as many as 20·n seeds give.

    seeds: their task seeds; splits: whether the env has a held-out side at all
    """

    def __init__(self, env: gymnasium.Env[str, str], n: int) -> None:
        found: dict[str, int] = {}
        self._prompts: set[str] = set()
        self.splits = True
        for seed in range(SEEDS, SEEDS + 20 * n):
            prompt, info = env.reset(seed=seed, options=HELDOUT)
            self.splits &= info.get("split") == "heldout"
            self._prompts.add(prompt)
            found.setdefault(info.get("key", prompt), seed)
            if len(found) == n:
                break
        self.seeds = list(found.values())

    def withholds(self, prompt: str) -> bool:
        """Whether a trace with this prompt must be kept out of training."""
        return prompt in self._prompts
