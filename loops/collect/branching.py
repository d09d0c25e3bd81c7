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

from shuhari.envs import Episode, Step
from shuhari.loops.collect.episode_groups import Groups, learner_steps, mastered, solve_rate
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.policy.inference.request import Request
from shuhari.policy.inference.sampler import spread
from shuhari.policy.policy import LEARNING, Tokens
from shuhari.policy.scoring import completion_logprobs
from shuhari.rewards import Verdict

FOUND = "found"  # the rung of a find's verdict
ALTERNATIVES = 8  # the base's likeliest tokens, of which one is drawn evenly
Find = tuple[Tokens, Tokens, str, float]  # prompt, completion, its text and what it earned


class Branching:
    """Finds answers to problems that nobody solved."""

    def __init__(self, rollouts: Rollouts, rng: Rng) -> None:
        self.rollouts, self.rng = rollouts, rng

    def add_finds(self, groups: Groups, finds: dict[int, Find], samples: int) -> dict[str, float]:
        """Add an answer to each unsolved group that has a find, after `samples` tries where none is known.

        finds: answers that the verifier accepted, by the seed of the problem; new ones are added, and those
            to problems that the policy solves itself are forgotten
        Problems of several turns are left as they are. Figures for TensorBoard.
        """
        unsolved = [seed for seed, group in groups.items() if solve_rate(group) == 0 and _single(group)]
        for seed in groups.keys() - set(unsolved):
            finds.pop(seed, None)
        unknown = [seed for seed in unsolved if seed not in finds]
        tried = self._try([(seed, groups[seed]) for seed in unknown for _ in range(samples)])
        for episode in tried:
            if _single([episode]) and mastered([episode]):
                step = episode.steps[0]
                find = step.prompt, step.completion, step.text, episode.reward()
                finds.setdefault(episode.seed, find)
        self.rescore(groups, {seed: finds[seed] for seed in unsolved if seed in finds})
        found = sum(seed in finds for seed in unknown)
        return {"unsolved": float(len(unsolved)), "finds": float(found), "tries": float(len(tried))}

    def rescore(self, groups: Groups, finds: dict[int, Find]) -> bool:
        """Add the finds to their groups, in place of what was added before; whether there are any.

        A find's weight is 1 again after each optimizer step: the clip is for what the policy sampled.
        """
        for seed in finds.keys() & groups.keys():
            groups[seed] = [episode for episode in groups[seed] if not _is_find(episode)]
        added = self._as_sampled({seed: find for seed, find in finds.items() if seed in groups})
        for episode in added:
            groups[episode.seed].append(episode)
        return bool(added)

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

    def _as_sampled(self, finds: dict[int, Find]) -> list[Episode]:
        """The finds, by seed, as if the present policy had sampled them."""
        policy, completions = self.rollouts.generator.policy, [find[1] for find in finds.values()]
        if not finds:
            return []
        with policy.inference():
            scored = completion_logprobs(policy, [find[:2] for find in finds.values()])
        logprobs = map(tuple, scored.of_each(completions))
        return [_episode(*found, known) for found, known in zip(finds.items(), logprobs, strict=True)]


def _single(group: Sequence[Episode]) -> bool:
    """Whether each episode is one completion of the learning adapter's."""
    return all(len(e.steps) == 1 and len(list(learner_steps(e))) == 1 for e in group)


def _is_find(episode: Episode) -> bool:
    verdict = episode.info.get("verdict")
    return verdict is not None and verdict.rung == FOUND


def _episode(seed: int, find: Find, logprobs: tuple[float, ...]) -> Episode:
    prompt, completion, text, reward = find
    step = Step(0, prompt, completion, logprobs, text, reward, LEARNING)
    verdict = Verdict("correct", "found by leaving the policy at one token", FOUND)
    return Episode(seed, (step,), "done", (reward,), info={"verdict": verdict})
