"""The configuration's types; its values are the YAML files in `conf/`. Below the CLI only these are seen."""

import os
import sys
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


def processors() -> int:
    """The processors this process may use: read off, never timed, so that a seed gives one adapter."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclass
class PolicyConfig:
    """The model: a frozen base and a LoRA adapter."""

    base: str = MISSING  # a base that ships with us ("games", "math") or a checkpoint folder
    rank: int = 16
    alpha: float = 32.0
    max_new_tokens: int = 64  # longest completion in free generation
    device: str = "auto"  # cpu or cuda; auto takes a GPU where there is one
    dtype: str = (
        "auto"  # of the base: float32, bfloat16, float16; auto is bfloat16 on a GPU, float32 on a CPU
    )


@dataclass
class ImitateConfig:
    """Phase 1: cross-entropy on the completions of traces."""

    traces: str | None = None  # a JSONL file of {"prompt", "completion"}; null asks the env's expert
    examples: int = 20_000  # how many traces the expert writes
    steps: int = 300
    batch: int = 256  # traces an update
    learning_rate: float = 0.01
    patience: int = 5  # stop after so many held-out checks without improvement; a check every 25 steps
    entropy_floor: float = 0.02  # nats a token: stop before the policy has nothing left to explore with


@dataclass
class SearchConfig:
    """Phase 2 in games: moves valued by the policy's own continuations, distilled back."""

    rounds: int = 80
    starts: int = 1024  # positions valued a round
    continuations: int = 8  # simulations a legal move
    updates: int = 16  # optimizer steps a round
    batch: int = 256  # positions an update
    learning_rate: float = 0.01
    replay: int = 8192  # positions remembered, newest first
    sharpness: list[float] = field(
        default_factory=lambda: [1.0, 4.0]
    )  # of continuations, first to last round
    temperature: list[float] = field(default_factory=lambda: [0.1, 0.02])  # of targets, first to last round
    withhold: float = 0.0  # share of canonical positions kept out of every target, of both phases


@dataclass
class SamplingConfig:
    """Phase 2 on problems: groups of completions with verified reward."""

    objective: str = "distill"  # what the verifier accepted; or "policy_gradient", on all of it
    rounds: int = 80
    problems: int = 128  # groups a round
    samples: int = 8  # completions a group
    updates: list[int] = field(
        default_factory=lambda: [4, 16]
    )  # optimizer steps, in the first and the last round (policy gradient: always one)
    temperature: float = 1.0  # of the samples; above 1 tries what the policy would hardly try any more
    explore: bool = False  # failed problems come back with one token of each sample moved off its way
    batch: int = 128  # accepted completions an update
    replay: int = 4096  # accepted completions remembered, newest first
    learning_rate: float = 0.005


@dataclass
class HarderConfig:
    """A last phase on a harder setting of the env, without traces: does self-play go on by itself?"""

    env_args: dict[str, Any] = field(default_factory=dict)  # replaces those of the env that it names
    rounds: int = 30


@dataclass
class TrainConfig:
    """One run."""

    name: str = MISSING  # of the experiment
    env: str = MISSING  # a Gymnasium id; "module:namespace/Env-v0" imports the module first
    env_args: dict[str, Any] = field(default_factory=dict)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    phases: list[str] = field(default_factory=lambda: ["imitate", "selfplay"])
    imitate: ImitateConfig = field(default_factory=ImitateConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    harder: HarderConfig = field(default_factory=HarderConfig)
    evaluate_problems: int = 1000  # held-out problems (games: matches) behind each figure
    adapter: str | None = None  # start from this adapter's folder
    resume: str | None = None  # go on with this run's folder
    out: str = "runs"
    seed: int = 0
    threads: int = field(default_factory=processors)


@dataclass
class PretrainConfig:
    """One base."""

    out: str = MISSING
    envs: list[str] = MISSING  # ids, each perhaps with arguments of its own: "ID key=value"
    env_args: dict[str, Any] = field(default_factory=dict)  # of each of them
    documents: int = 200_000
    steps: int = 2000
    batch: int = 384
    learning_rate: float = 0.01
    width: int = 64
    mlp_width: int = 172
    layers: int = 4
    heads: int = 2
    seed: int = 0
    threads: int = field(default_factory=processors)
    command: str = ""  # filled in by the command line, for the record


PHASES = ("imitate", "selfplay", "harder")


def check(cfg: TrainConfig) -> None:
    """Raise ValueError, naming the key, for values that types do not rule out."""
    for phase in cfg.phases:
        if phase not in PHASES:
            raise ValueError(f"phases={cfg.phases}: {phase!r} is not one of {', '.join(PHASES)}")
    positive = {
        "threads": cfg.threads,
        "policy.rank": cfg.policy.rank,
        "policy.alpha": cfg.policy.alpha,
        "policy.max_new_tokens": cfg.policy.max_new_tokens,
        "evaluate_problems": cfg.evaluate_problems,
        "imitate.examples": cfg.imitate.examples,
        "imitate.steps": cfg.imitate.steps,
        "imitate.batch": cfg.imitate.batch,
        "imitate.learning_rate": cfg.imitate.learning_rate,
        "imitate.patience": cfg.imitate.patience,
        "search.rounds": cfg.search.rounds,
        "search.starts": cfg.search.starts,
        "search.continuations": cfg.search.continuations,
        "search.updates": cfg.search.updates,
        "search.batch": cfg.search.batch,
        "search.replay": cfg.search.replay,
        "search.learning_rate": cfg.search.learning_rate,
        "sampling.rounds": cfg.sampling.rounds,
        "sampling.problems": cfg.sampling.problems,
        "sampling.learning_rate": cfg.sampling.learning_rate,
        "sampling.temperature": cfg.sampling.temperature,
        "sampling.batch": cfg.sampling.batch,
        "sampling.replay": cfg.sampling.replay,
        "harder.rounds": cfg.harder.rounds,
    }
    for key, value in positive.items():
        if not value > 0:
            raise ValueError(f"{key}={value}: must be greater than 0")
    if cfg.sampling.samples < 2:
        raise ValueError(f"sampling.samples={cfg.sampling.samples}: a group needs 2 completions to compare")
    if cfg.sampling.objective not in ("distill", "policy_gradient"):
        raise ValueError(f"sampling.objective={cfg.sampling.objective}: distill or policy_gradient")
    if cfg.sampling.objective == "policy_gradient" and cfg.sampling.temperature != 1:
        raise ValueError("sampling.objective=policy_gradient: is on-policy only with sampling.temperature=1")
    if cfg.seed < 0:
        raise ValueError(f"seed={cfg.seed}: must not be negative")
    if not 0 <= cfg.search.withhold < 1:
        raise ValueError(f"search.withhold={cfg.search.withhold}: a share from 0 to below 1")
    if len(cfg.sampling.updates) != 2 or min(cfg.sampling.updates) < 1:
        raise ValueError(f"sampling.updates={cfg.sampling.updates}: two numbers, of the first and last round")
    for key, pair in (("sharpness", cfg.search.sharpness), ("temperature", cfg.search.temperature)):
        if len(pair) != 2 or min(pair) <= 0:
            raise ValueError(f"search.{key}={pair}: two numbers above 0, of the first and the last round")
