"""What lies in an environment, beyond the contract that `env_checker.py` holds it to: `shuhari validate ID`.

Problems: whether they can be solved, whether they differ, and whether the held-out ones stay apart. Games:
whether they end, how long they are, and what they pay.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from shuhari.envs import validation
from shuhari.envs.progress import counted
from shuhari.envs.task_env import Split, Task, TaskEnv

LONGEST = 5000  # steps of an episode, after which it is said not to end


@dataclass(frozen=True)
class DrawnProblem:
    """A problem with the answers that are known to it, and whether the environment rewards them fully.

    right: the environment's own solution; None: it gives none
    expert: the expert's answer; None: there is none
    """

    task: Task
    right: str | None
    expert: str | None
    right_accepted: bool = False
    expert_accepted: bool = False

    @property
    def answers(self) -> list[str]:
        return [text for text in (self.right, self.expert) if text is not None]


def draw_problems(env: Any, n: int, side: Split, seed: int) -> list[DrawnProblem]:
    """`n` problems of a side. Raises EnvFault where the environment fails."""
    inner: TaskEnv = env.unwrapped
    found, rng = [], np.random.default_rng([seed, len(side)])
    for drawn in counted("problems", rng.integers(2**31, size=n).tolist()):
        validation.reset_or_fault(env, drawn, {"split": side})
        task, right = inner.task, inner.solution(inner.task)
        expert = validation.expert_answer(inner, task, rng)
        judged = [_accepted(env, drawn, side, text) for text in (right, expert)]
        found.append(DrawnProblem(task, right, expert, *judged))
    return found


def _accepted(env: Any, seed: int, side: Split, answer: str | None) -> bool:
    if answer is None:
        return False
    validation.reset_or_fault(env, seed, {"split": side})
    return validation.step_or_fault(env, answer)[1] >= 1


def solvable(problems: Sequence[DrawnProblem]) -> str:
    """Whether right answers are rewarded; where none are known, the expert's. Raises ValueError if not."""
    known = [problem for problem in problems if problem.right is not None]
    if refused := [problem for problem in known if not problem.right_accepted]:
        first = refused[0]
        raise ValueError(
            f"{len(refused)} of {len(known)} right answers are not rewarded, such as "
            f"{first.right!a} to {first.task.prompt!a}"
        )
    if known:
        return f"{len(known)} of {len(known)} right answers are rewarded"
    if not any(problem.expert is not None for problem in problems):
        return "nobody knows: there is neither solution(task) nor an expert"
    if not any(problem.expert_accepted for problem in problems):
        raise ValueError(
            f"the expert solves none of {len(problems)} problems, and there is no solution(task)"
        )
    return "the expert solves some; with a solution(task), all would be tried"


def expert_is_right(problems: Sequence[DrawnProblem]) -> str:
    """How often the expert is."""
    answered = [problem for problem in problems if problem.expert is not None]
    right = sum(problem.expert_accepted for problem in answered)
    return f"{right / len(answered):.1%} of {len(answered)} answers" if answered else "there is none"


def distinct(problems: Sequence[DrawnProblem], env: TaskEnv) -> str:
    """How many of the problems differ. Raises ValueError where one question has two answers that differ."""
    by_prompt = defaultdict(list)
    for problem in problems:
        by_prompt[problem.task.prompt.strip()].append(problem)
    for prompt, same in by_prompt.items():
        first = same[0]
        for other in same[1:]:
            if other.right is None or first.right in (None, other.right):
                continue
            if env.verify(first.task, other.right).status == "wrong":
                raise ValueError(
                    f"{prompt!a} is asked with two answers, {_end(first.right)} and {_end(other.right)}"
                )
    times = Counter(problem.task.key for problem in problems)
    n, met = len(problems), sum(comb(k, 2) for k in times.values())
    # Two draws of N equally frequent problems meet with probability 1/N.
    as_of = f"; draws meet as they would among {comb(n, 2) / met:,.0f} equally frequent ones" if met else ""
    return f"{len(times)} of {n} differ{as_of}"


def apart(train: Sequence[DrawnProblem], heldout: Sequence[DrawnProblem]) -> str:
    """Raises ValueError where a question is on both sides, under whatever keys."""
    asked = {problem.task.prompt.strip() for problem in train}
    if both := sorted({problem.task.prompt.strip() for problem in heldout} & asked):
        raise ValueError(
            f"{len(both)} questions are on both sides, such as {both[0][:60]!a}: give them one key"
        )
    return f"{len(train)} and {len(heldout)} draws"


def _end(text: str | None) -> str:
    """An answer's last line, which is what it says."""
    return ascii((text or "").strip().rpartition("\n")[2][-40:])


@dataclass(frozen=True)
class RandomEpisode:
    """An episode of random legal actions.

    returns: by seat, or the sum of rewards; texts: what was seen
    """

    steps: int
    legal: int  # most legal actions of a step
    returns: tuple[float, ...]
    texts: tuple[str, ...]
    actions: frozenset[str]


def random_episodes(env: Any, n: int, seed: int) -> list[RandomEpisode]:
    """Raises ValueError for an episode that does not end, or whose actions are not listed, and EnvFault."""
    found, rng = [], np.random.default_rng(seed)
    for drawn in counted("episodes", rng.integers(2**31, size=n).tolist()):
        text, info = validation.reset_or_fault(env, drawn)
        texts, actions, earned, legal, over = list[str](), set[str](), 0.0, 0, False
        while not over:
            if len(texts) == LONGEST:
                raise ValueError(f"an episode of random actions has not ended after {LONGEST:,} steps")
            if not (choices := info.get("legal_actions")):
                raise ValueError("the environment lists no legal actions, so nothing can be played at random")
            texts.append(text)
            actions |= set(choices)
            legal = max(legal, len(choices))
            action = str(choices[int(rng.integers(len(choices)))])
            text, reward, terminated, truncated, info = validation.step_or_fault(env, action)
            earned, over = earned + reward, terminated or truncated
        returns = tuple(map(float, info.get("returns", (earned,))))
        found.append(RandomEpisode(len(texts), legal, returns, tuple(texts), frozenset(actions)))
    return found


def lasts(episodes: Sequence[RandomEpisode]) -> str:
    """How long episodes are, and how many actions are legal."""
    steps = [episode.steps for episode in episodes]
    return (
        f"{min(steps)} to {max(steps)} steps of random actions, {np.mean(steps):.1f} on average; at most "
        f"{max(episode.legal for episode in episodes)} legal actions"
    )


def pays(episodes: Sequence[RandomEpisode], zero_sum: bool) -> str:
    """What seats earn. Raises ValueError where the sum must be 0 and is not."""
    sums = [sum(episode.returns) for episode in episodes]
    if zero_sum and (wrong := [total for total in sums if abs(total) > 1e-9]):
        raise ValueError(
            f"it is called zero-sum, and in {len(wrong)} of {len(sums)} games it pays {wrong[0]:g}"
        )
    earned = np.mean([episode.returns for episode in episodes], axis=0)
    means = ", ".join(f"{value:+.2f}" for value in earned)
    return f"{'zero-sum; ' * zero_sum}mean return {means} with random actions"
