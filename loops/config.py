"""The configuration's types; its values are the YAML files in `conf/`. Below the CLI only these are seen.

A phase has the type of its algorithm, so that an option which an algorithm ignores does not exist for it.
"""

import os
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

from omegaconf import MISSING, OmegaConf, open_dict

from shuhari.loops.learn.objectives import OBJECTIVES, DistillConfig, PolicyGradientConfig, PreferenceConfig


def processors() -> int:
    """The processors this process may use: read off, never timed, so that a seed gives one adapter."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def share_of_processors() -> int:
    """Of this process, where several run on this machine."""
    return max(1, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def bounded(default: Any, **bounds: Any) -> Any:
    """A number that need not be above 0, but `least`."""
    return field(default=default, metadata=bounds)


PAIRS = ("advantages", "groups", "pairs")
ENDS = {"ends": True}  # two numbers above 0: a value of the first and of the last round


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
class PhaseConfig:
    """What every phase has. `gives`: what its batches hold, which an objective may need."""

    gives: ClassVar[tuple[str, ...]] = ("weights",)
    algorithm: str = MISSING  # where its batches come from: a name in ALGORITHMS
    objective: Any = MISSING  # what they are learned by: a name in OBJECTIVES with its options
    optimizer: str = "muon"  # or adamw
    learning_rate: float = 0.005
    micro_batch: int = 8192  # tokens of a forward and backward pass, at most; bounds memory and nothing else


@dataclass
class ImitateConfig(PhaseConfig):
    """Phase 1: traces."""

    algorithm: str = "imitate"
    objective: Any = field(default_factory=DistillConfig)
    learning_rate: float = 0.01
    traces: str | None = None  # a JSONL file of {"prompt", "completion"}; null asks the env's expert
    examples: int = 20_000  # how many traces the expert writes
    steps: int = 300
    batch: int = 256  # traces an update
    patience: int = 5  # stop after so many held-out checks without improvement; a check every 25 steps
    # Nats a token: stop before the policy has nothing left to explore with.
    entropy_floor: float = bounded(0.02, least=0)


@dataclass
class SearchPlayConfig(PhaseConfig):
    """Phase 2 in games that hide nothing: moves valued by the policy's own continuations."""

    algorithm: str = "search_play"
    objective: Any = field(default_factory=DistillConfig)
    learning_rate: float = 0.01
    rounds: int = 80
    starts: int = 1024  # positions valued a round
    continuations: int = 8  # simulations a legal move
    updates: int = 16  # optimizer steps a round
    batch: int = 256  # positions an update
    replay: int = 8192  # positions remembered, newest first
    sharpness: list[float] = field(default_factory=lambda: [1.0, 4.0], metadata=ENDS)  # of continuations
    temperature: list[float] = field(default_factory=lambda: [0.1, 0.02], metadata=ENDS)  # of targets


@dataclass
class FictitiousPlayConfig(PhaseConfig):
    """Phase 2 in games that hide something: replies to the policy's own past."""

    algorithm: str = "fictitious_play"
    objective: Any = field(default_factory=DistillConfig)
    learning_rate: float = 0.01
    rounds: int = 100
    starts: int = 256  # games a round
    continuations: int = 4  # simulations a legal move
    updates: int = 8  # optimizer steps a round
    batch: int = 32  # situations an update
    temperature: list[float] = field(default_factory=lambda: [0.5, 0.1], metadata=ENDS)  # of targets


@dataclass
class GroupsConfig(PhaseConfig):
    """What every phase has that samples groups of completions with verified reward."""

    env_args: dict[str, Any] = field(default_factory=dict)  # replaces those of the env that it names
    rounds: int = 80
    problems: int = 128  # groups a round
    samples: int = bounded(8, least=2)  # completions a group: one alone has nothing to be compared with


@dataclass
class SampleGroupsConfig(GroupsConfig):
    """Phase 2 by reward alone: all that was sampled, once."""

    gives: ClassVar[tuple[str, ...]] = ("advantages", "sampler")
    algorithm: str = "sample_groups"
    objective: Any = field(default_factory=PolicyGradientConfig)
    optimizer: str = "adamw"  # sparse rewards: Muon would step along the noise as far as along the signal
    learning_rate: float = 0.001
    decisions: int = bounded(0, least=0)  # of a round, about: where episodes are long it has fewer; 0: any
    updates: int = 1  # optimizer steps on all that a round sampled
    discount: float = 1.0  # of what is earned one decision later: below 1 the quicker of two ways is better
    normalised: bool = False  # advantages in units of a round's root mean square
    trace: float = 1.0  # λ of the credit: 1 waits for the return, less trusts the values of later prompts


@dataclass
class AcceptedAnswersConfig(GroupsConfig):
    """Phase 2 on problems: what the verifier accepted."""

    algorithm: str = "accepted_answers"
    objective: Any = field(default_factory=DistillConfig)
    # Optimizer steps, in the first and the last round.
    updates: list[int] = field(default_factory=lambda: [4, 16], metadata=ENDS)
    temperature: float = 1.0  # of the samples; above 1 tries what the policy would hardly try any more
    # Failed problems come back with one token of each sample any of so many likeliest; 0 does not.
    explore: int = bounded(0, least=0)
    batch: int = 128  # accepted completions an update
    replay: int = 4096  # accepted completions remembered, newest first
    replay_of: str = ""  # an earlier phase whose replay this one starts with
    hard: float = bounded(0.5, least=0)  # a problem that a smaller share of its group solves comes back
    rare: int = 4  # times as often as others an accepted answer of such a problem is learned

    def updates_of(self, progress: float) -> int:
        """Optimizer steps of a round: few while much is still to be found, more once little is."""
        first, last = self.updates
        return round(first + (last - first) * progress)


@dataclass
class RankedPairsConfig(PhaseConfig):
    """Comparisons that somebody made."""

    gives: ClassVar[tuple[str, ...]] = PAIRS
    algorithm: str = "ranked_pairs"
    objective: Any = field(default_factory=PreferenceConfig)
    optimizer: str = "adamw"
    learning_rate: float = 0.001
    pairs: str = MISSING  # a JSONL file of {"prompt", "chosen", "rejected"}
    rounds: int = 200
    batch: int = 32  # pairs an update


@dataclass
class VerifiedPairsConfig(GroupsConfig):
    """Comparisons that a verifier makes of the policy's own answers."""

    gives: ClassVar[tuple[str, ...]] = PAIRS
    algorithm: str = "verified_pairs"
    objective: Any = field(default_factory=PreferenceConfig)
    optimizer: str = "adamw"
    learning_rate: float = 0.001
    rounds: int = 30
    updates: int = 8  # optimizer steps a round
    batch: int = 64  # pairs an update
    replay: int = 1024  # pairs remembered, newest first


ALGORITHMS: dict[str, type[PhaseConfig]] = {
    cls.algorithm: cls
    for cls in (
        ImitateConfig,
        SearchPlayConfig,
        FictitiousPlayConfig,
        SampleGroupsConfig,
        AcceptedAnswersConfig,
        RankedPairsConfig,
        VerifiedPairsConfig,
    )
}


def phase_of(stored: dict[str, Any]) -> Any:
    """A phase's configuration in its type, as a file has it. Raises KeyError where there is no such type."""
    objective = OmegaConf.structured(OBJECTIVES[stored["objective"]["name"]].config)
    phase = OmegaConf.structured(ALGORITHMS[stored["algorithm"]])
    phase.objective = OmegaConf.merge(objective, stored["objective"])
    rest = {key: value for key, value in stored.items() if key != "objective"}
    return OmegaConf.to_object(OmegaConf.merge(phase, rest))


@dataclass
class TrainConfig:
    """One run."""

    name: str = MISSING  # of the experiment
    env: str = MISSING  # a Gymnasium id; "module:namespace/Env-v0" imports the module first
    env_args: dict[str, Any] = field(default_factory=dict)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    phases: dict[str, Any] = field(default_factory=dict)  # in their order, each of its algorithm's type
    only: list[str] | None = None  # these phases alone
    evaluate_problems: int = 1000  # held-out problems (games: matches) behind each figure
    evaluate_samples: int = bounded(4, least=4)  # completions a problem at temperature 1, behind pass@k
    adapter: str | None = None  # start from this adapter's folder
    resume: str | None = None  # go on with this run's folder
    out: str = "runs"
    seed: int = bounded(0, least=0)
    threads: int = field(default_factory=share_of_processors)


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
    seed: int = bounded(0, least=0)
    threads: int = field(default_factory=processors)
    command: str = ""  # filled in by the command line, for the record


def store_types(store: Any) -> None:
    """Let Hydra's ConfigStore know all types: of a run, of a base, of phases and objectives by name."""
    store.store("train_schema", TrainConfig)
    store.store("pretrain_schema", PretrainConfig)
    for name, phase in ALGORITHMS.items():
        node = OmegaConf.structured(phase)
        # The objective is a choice of its own: objective@phases.NAME.objective=preference.
        with open_dict(node):
            node.defaults = [{"/objective@objective": node.objective.name}, "_self_"]
            node.objective = MISSING
        store.store(name, node, group="phase")
    for name, objective in OBJECTIVES.items():
        store.store(name, objective.config, group="objective")


def check(cfg: Any, where: str = "") -> None:
    """Raise ValueError, naming the key, for values that types do not rule out: see `bounded` and `ENDS`."""
    for f in fields(cfg):
        value, key = getattr(cfg, f.name), f"{where}{f.name}"
        inner = value if isinstance(value, dict) else {"": value}
        for name, part in inner.items():
            if is_dataclass(part):
                check(part, f"{key}.{name}." if name else f"{key}.")
        if f.metadata.get("ends"):
            if len(value) != 2 or min(value) <= 0:
                raise ValueError(f"{key}={value}: two numbers above 0, of the first and the last round")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            least = f.metadata.get("least")
            if least is None and not value > 0:
                raise ValueError(f"{key}={value}: must be greater than 0")
            if least is not None and not value >= least:
                raise ValueError(f"{key}={value}: must be at least {least}")
