"""Leaving the policy at one token, so that it finds what it would never sample.

After imitation a mistake can be all but certain: where the expert always writes 6, the right 8 has a
probability of 1e-5, and no amount of sampling finds it. So an answer to a problem that nobody solved is taken
up again at a random place, with another token there that the bare base finds likely, and the policy goes on
from it. At more places than one the answer would lose its form.

A true importance weight would undo the find: E_μ[π/μ · A ∇log π] = E_π[A ∇log π], which is what the policy
finds alone. So a find enters its group as if the policy had sampled it, with the policy's own
log-probabilities, and its gradient is A ∇log π, as that of foreign traces in LUFFY (Yan et al. 2025, without
their shaping). The group's other answers, whose weights are true, anchor the policy. Tries that fail are left
out: they say what another policy would earn.
"""

from collections.abc import Sequence

import numpy as np

from shuhari.envs import Episode, Step
from shuhari.loops.collect.episode_groups import Groups, learner_steps, solve_rate
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.policy.inference.request import Request
from shuhari.policy.inference.sampler import spread
from shuhari.policy.policy import LEARNING, Tokens
from shuhari.policy.scoring import completion_logprobs
from shuhari.rewards import Verdict

ALTERNATIVES = 8  # the base's likeliest tokens, of which one is drawn evenly
Find = tuple[Tokens, Tokens, str]  # prompt, completion and its text


class Branching:
    """Finds answers to problems that nobody solved, and remembers them until the policy solves those itself.

    finds: by the seed of the problem, an answer that the verifier accepted
    """

    def __init__(self, rollouts: Rollouts, rng: Rng) -> None:
        self.rollouts, self.rng = rollouts, rng
        self.finds: dict[int, Find] = {}

    def add_finds(self, groups: Groups, samples: int) -> dict[str, float]:
        """Add an answer to each unsolved group that has a find, after `samples` tries where none is known.

        Problems of several turns are left as they are. Figures for TensorBoard.
        """
        unsolved = [seed for seed, group in groups.items() if solve_rate(group) == 0 and _single(group)]
        for seed in groups.keys() - set(unsolved):
            self.finds.pop(seed, None)
        unknown = [seed for seed in unsolved if seed not in self.finds]
        tried = self._try([(seed, groups[seed]) for seed in unknown for _ in range(samples)])
        for episode in tried:
            if solve_rate([episode]) > 0 and _accepted(episode):
                step = episode.steps[0]
                self.finds.setdefault(episode.seed, (step.prompt, step.completion, step.text))
        known = [seed for seed in unsolved if seed in self.finds]
        for seed, episode in zip(known, self._as_sampled(known), strict=True):
            groups[seed].append(episode)
        found = sum(seed in self.finds for seed in unknown)
        return {"unsolved": float(len(unsolved)), "finds": float(found), "tries": float(len(tried))}

    def _try(self, wanted: Sequence[tuple[int, list[Episode]]]) -> list[Episode]:
        """One episode for each (seed, group), less those that came to nothing new."""
        rng, places = self.rng, []
        for seed, group in wanted:
            step = group[int(rng.integers(len(group)))].steps[0]
            if len(step.completion) > 1:  # the last token ends it
                places.append((seed, step, int(rng.integers(len(step.completion) - 1))))
        seeds = spread(int(rng.integers(2**31)), len(places))
        base = [
            Request(step.prompt + step.completion[:t], 1, 1.0, own, None, explore=ALTERNATIVES)
            for (_, step, t), own in zip(places, seeds, strict=True)
        ]
        generator = self.rollouts.generator
        begins: dict[tuple[int, Tokens], None] = {}  # each once, in order
        for (seed, step, t), said in zip(places, generator.run(base), strict=True):
            if said.tokens and said.tokens[0] not in (step.completion[t], *generator.policy.ends):
                begins[seed, step.completion[:t] + said.tokens] = None
        if not begins:
            return []
        seed = int(rng.integers(2**31))
        return self.rollouts.play([s for s, _ in begins], begins=[b for _, b in begins], seed=seed)

    def _as_sampled(self, seeds: Sequence[int]) -> list[Episode]:
        """The finds of these problems, as if the present policy had sampled them."""
        if not seeds:
            return []
        policy, found = self.rollouts.generator.policy, [self.finds[seed] for seed in seeds]
        with policy.inference():
            scored = completion_logprobs(policy, [(prompt, completion) for prompt, completion, _ in found])
        flat = np.empty(sum(len(completion) for _, completion, _ in found))
        flat[scored.token_N.cpu().numpy()] = scored.logprobs_N.cpu().numpy()
        ends = np.cumsum([len(completion) for _, completion, _ in found])[:-1]
        return [
            _episode(seed, find, tuple(logprobs.tolist()))
            for seed, find, logprobs in zip(seeds, found, np.split(flat, ends), strict=True)
        ]


def _single(group: Sequence[Episode]) -> bool:
    """Whether each episode is one completion of the learning adapter's."""
    return all(len(e.steps) == 1 and len(list(learner_steps(e))) == 1 for e in group)


def _accepted(episode: Episode) -> bool:
    verdict = episode.info.get("verdict")
    return len(episode.steps) == 1 and verdict is not None and verdict.status == "correct"


def _episode(seed: int, find: Find, logprobs: tuple[float, ...]) -> Episode:
    prompt, completion, text = find
    verdict = Verdict("correct", "found by leaving the policy at one token", "found")
    return Episode(
        seed,
        (Step(0, prompt, completion, logprobs, text, verdict.score, LEARNING),),
        "done",
        (verdict.score,),
        info={"verdict": verdict},
    )
