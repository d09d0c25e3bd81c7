"""Phase 2 on problems: the policy answers each one many times, and learns what the verifier accepts."""

from collections import Counter
from collections.abc import Iterator

from shuhari.envs import Episode
from shuhari.loops.collect.episode_groups import SamplingSource, learner_steps, threshold
from shuhari.loops.collect.majority_judge import judged_by_majority
from shuhari.loops.collect.rollout import Rollouts
from shuhari.loops.collect.source import Rng
from shuhari.loops.config import AcceptedAnswersConfig
from shuhari.loops.learn.batch import Batch
from shuhari.policy.policy import Tokens

Answer = tuple[Tokens, Tokens]  # a prompt and the completion that answers it


class AcceptedAnswers(SamplingSource):
    """One round is a group of episodes for each of some problems, then a few batches of accepted answers.

    Expert iteration with the verifier as the expert (Anthony et al. 2017; STaR, Zelikman et al. 2022): the
    most frequent accepted answer of each group enters a replay, and the batches are drawn from the replay.

    A policy must not become so certain of a mistake that it tries nothing else. So hard problems are tried
    again until enough samples solve them, early rounds have few optimizer steps, and `temperature` and
    `explore` vary the samples. The last two need a verifier that judges the work and not the answer alone:
    otherwise an answer that is right by chance is learned with whatever led to it. The replay keeps a new
    discovery from undoing an older one. Episodes without a verdict are left out.

    With `judge` majority the most frequent answer of a group is accepted, whatever the verifier says. Then no
    problem is hard: a group that disagrees is the one whose majority is trusted least.
    """

    cfg: AcceptedAnswersConfig

    def __init__(
        self, rollouts: Rollouts, cfg: AcceptedAnswersConfig, rng: Rng, earlier: list[Answer] | None = None
    ) -> None:
        """`earlier`: the replay of an earlier phase, so that what it learned is not forgotten."""
        super().__init__(rollouts, cfg, rng, replay=cfg.replay)
        self.replay.add(earlier or [])
        self.updates = sum(cfg.updates_of(self.progress(number)) for number in range(cfg.rounds))

    def batches(self, number: int) -> Iterator[Batch]:
        cfg = self.cfg
        old = self.returning(cfg.problems)
        new = self.problems(cfg.problems - len(old))
        episodes = self.play(new, cfg.samples, temperature=cfg.temperature)
        episodes += self.play(old, cfg.samples, explore=cfg.explore)
        by_majority = cfg.judge == "majority"
        groups = self.grouped(judged_by_majority(episodes) if by_majority else episodes)
        hard = [] if by_majority else self.note_hard(groups)
        for seed, group in groups.items():
            for answers in best_answers(group):
                # A rare answer is replayed more often, or the common ones would crowd it out.
                self.replay.add(answers * (cfg.rare if seed in hard else 1))
        for _ in range(cfg.updates_of(self.progress(number)) if len(self.replay) else 0):
            yield Batch.of(self.replay.draw(cfg.batch, self.rng))


def best_answers(group: list[Episode]) -> list[list[Answer]]:
    """For each seat with a good episode: the answers of the most frequent among its best episodes."""
    found = []
    for seat in sorted({step.seat for episode in group for _, step in learner_steps(episode)}):
        best = max(episode.reward(seat) for episode in group)
        if best > threshold(group, seat):
            counts = Counter(
                tuple(
                    (step.prompt, step.completion) for _, step in learner_steps(episode) if step.seat == seat
                )
                for episode in group
                if episode.reward(seat) == best
            )
            found.append(list(counts.most_common(1)[0][0]))
    return found
