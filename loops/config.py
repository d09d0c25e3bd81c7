"""The types of the configuration. Its values are in the YAML files of `conf/`.

Each phase has the type of its algorithm, and each type holds only the options that the algorithm uses. Each
type refuses the values that it does not accept (`config_checks.py`). The code below the command line sees
only these types.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import MISSING, OmegaConf, open_dict

from shuhari.loops.config_checks import FIRST_AND_LAST, Checked, ConfigError, number, to_object
from shuhari.loops.learn.objectives import OBJECTIVES, DistillConfig, PolicyGradientConfig, PreferenceConfig


def processors() -> int:
    """How many processors this process may use. The number is never chosen by timing, because the number of
    threads changes the order of sums, and so the adapter that a seed gives."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def share_of_processors() -> int:
    """The processors of this process, where several run on this machine."""
    return max(1, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


CONF = Path(__file__).parent / "conf"
PAIRS = ("advantages", "groups", "pairs")
OPTIMIZERS = ("muon", "adamw")
JUDGES = ("verifier", "majority")
SEARCH_RULES = ("gumbel", "puct")


@dataclass
class PolicyConfig(Checked):
    """The model: a frozen base and a LoRA adapter."""

    base: str = MISSING  # a base that ships with us ("games", "math") or a checkpoint folder
    format: str = (
        "auto"  # of conversations: chat, the tokenizer's own template, or plain; auto: chat if it has one
    )
    template: dict[str, Any] = field(
        default_factory=dict
    )  # arguments of the template, as {enable_thinking: false}
    examples: int = number(0, least=0)  # worked examples of the training side before every question
    rank: int = 16  # of the adapter
    alpha: float = 32.0  # what it adds is multiplied by alpha / rank
    max_new_tokens: int = 64  # longest completion in free generation
    device: str = "auto"  # cpu or cuda; auto takes a GPU where there is one
    # Of the base: float32, bfloat16 or float16. auto: bfloat16 on a GPU, and on a CPU with avx512_bf16 or amx
    # for bases above 10 million parameters; else float32.
    dtype: str = "auto"


@dataclass
class PhaseConfig(Checked):
    """The options of every phase.

    gives: the columns that its batches have; an objective may need them
    rate: the learning rate of Muon for a base of width 64, from which the others follow
    """

    gives: ClassVar[tuple[str, ...]] = ("weights",)
    rate: ClassVar[float] = 0.005
    algorithm: str = MISSING  # the name of the source of its batches, one of ALGORITHMS
    objective: Any = MISSING  # the loss: one of OBJECTIVES, with its options
    optimizer: str = "muon"  # or adamw
    # null: by the optimizer and the base's width, as docs/self-play.md says; the run prints it.
    learning_rate: float | None = None
    # Most tokens of one forward and backward pass. 0: by the memory that is free when the run begins, at most
    # 8192; another size adds in another order, so a resumed run keeps the one it began with.
    micro_batch: int = number(0, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"optimizer={self.optimizer}", f"must be {' or '.join(OPTIMIZERS)}")
        name = getattr(self.objective, "name", "")
        known = OBJECTIVES.get(name)
        if known is None or type(self.objective) is not known.config:
            raise ConfigError("objective", f"choose it by objective@{{key}}=NAME: {', '.join(OBJECTIVES)}")
        for need in known.needs:
            if need not in self.gives:
                raise ConfigError("objective", f"{name} needs {need}, which {self.algorithm} does not give")


@dataclass
class ImitateConfig(PhaseConfig):
    """Phase 1: imitate the expert's traces."""

    rate: ClassVar[float] = 0.01
    algorithm: str = "imitate"
    objective: Any = field(default_factory=DistillConfig)
    traces: str | None = (
        None  # a file of prompts and completions, or chats; null: the env's expert writes them
    )
    turns: str = "all"  # turns of the assistant that are learned from a chat: all, or the last
    examples: int = 20_000  # traces that the expert writes
    steps: int = 300  # optimizer steps
    batch: int = 256  # traces of one optimizer step
    patience: int = 5  # held-out scores without a better one, after which it stops; one every 25 steps
    # Nats per token. It also stops below this entropy, so that the policy can still explore in phase 2.
    entropy_floor: float = number(0.02, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.turns not in ("all", "last"):
            raise ConfigError(f"turns={self.turns}", "must be all or last")


@dataclass
class SearchPlayConfig(PhaseConfig):
    """Phase 2 in games that hide nothing: the policy learns what its own tree search finds."""

    rate: ClassVar[float] = 0.01
    algorithm: str = "search_play"
    objective: Any = field(default_factory=DistillConfig)
    rounds: int = 80  # each of them plays, then learns
    # Looks by matches with the best policy so far, from openings of their own. 0: no gate.
    gate: int = number(12, least=0)
    games: int = 512  # of a round
    simulations: int = number(16, least=1)  # positions that a search looks at, for each move
    rule: str = "gumbel"  # which move a search tries next: gumbel or puct
    league: float = number(0.0, least=0, most=1)  # share of games against the policy's past and its expert
    opponents: list[str] = field(default_factory=list)  # adapters that are of the league from the start
    root_value: float = number(
        0.5, least=0, most=1
    )  # share of what a search expected in the target of an outcome
    updates: int = 16  # optimizer steps of a round
    batch: int = 256  # positions of one optimizer step, each asked for its move and for its outcome
    replay: int = 8192  # positions that the replay keeps, the newest ones

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule not in SEARCH_RULES:
            raise ConfigError(f"rule={self.rule}", f"must be {' or '.join(SEARCH_RULES)}")
        if self.opponents and not self.league:
            raise ConfigError("opponents", "needs league=SHARE: how many of the games are against them")


@dataclass
class FictitiousPlayConfig(PhaseConfig):
    """Phase 2 in games that hide something: the policy learns replies to its own past, then its average."""

    rate: ClassVar[float] = 0.01
    algorithm: str = "fictitious_play"
    objective: Any = field(default_factory=DistillConfig)
    optimizer: str = "adamw"  # targets are to be met to a percent, and Muon's steps are no shorter close by
    rounds: int = 100  # each of them plays, then learns
    starts: int = 256  # games of a round
    continuations: int = 4  # games that are played on from each legal move
    updates: int = 8  # optimizer steps of a round
    batch: int = 32  # situations of one optimizer step
    # Of the targets, in units of the values of moves in the first round (their root mean square).
    temperature: list[float] = field(default_factory=lambda: [0.25, 0.02], metadata=FIRST_AND_LAST)
    # Share of the rounds, the last ones, that play no more: the policy learns the average of its policies.
    average: float = number(0.25, least=0, most=1)


@dataclass
class GroupsConfig(PhaseConfig):
    """The options of every phase that samples groups of episodes and learns from their rewards."""

    env_args: dict[str, Any] = field(default_factory=dict)  # for this phase, on top of the run's env_args
    rounds: int = 80  # each of them plays, then learns
    problems: int = 128  # of a round; each problem has one group
    samples: int = number(8, least=2)  # episodes of a group, which are compared with one another
    # A problem is hard, and comes back in later rounds, while a smaller share of its samples solves it.
    hard: float = number(0.0, least=0)
    # Looks at validation problems over the phase. A policy that is beyond doubt worse than the best one so
    # far goes back to it, and the phase ends with the best. 0: no gate.
    gate: int = number(12, least=0)
    truncated: str = "zero"  # completions that reach the token limit: zero, they earn nothing; or masked
    reward: str = "verified"  # or a control: random, a coin's; format, 1 for an answer in the demanded form

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, known in {
            "truncated": ("zero", "masked"),
            "reward": ("verified", "random", "format"),
        }.items():
            if (value := getattr(self, key)) not in known:
                raise ConfigError(f"{key}={value}", f"must be {', '.join(known[:-1])} or {known[-1]}")


@dataclass
class SampleGroupsConfig(GroupsConfig):
    """Phase 2 by reward alone: each sampled decision is learned with its advantage."""

    gives: ClassVar[tuple[str, ...]] = ("advantages", "sampler")
    algorithm: str = "sample_groups"
    objective: Any = field(default_factory=PolicyGradientConfig)
    optimizer: str = "adamw"  # where rewards are sparse, Muon steps along noise as far as along the signal
    # About so many decisions in a round: where episodes are long, a round has fewer problems. 0: no limit.
    decisions: int = number(0, least=0)
    # Most new problems that a round draws in place of those whose samples all earned the same, as a multiple
    # of `problems`.
    refill: float = number(0.0, least=0)
    # Tries, for each problem that nobody solved, to leave the policy at one token for what the bare base
    # finds likely there. What the verifier accepts is learned as if the policy had sampled it.
    explore: int = number(0, least=0)
    # Nats per token. While samples have less, an answer that the policy is less sure of than of the others of
    # its group earns more.
    entropy_floor: float = number(0.0, least=0)
    updates: int = 1  # optimizer steps of a round, each on all of its samples
    discount: float = number(1.0, most=1)  # of a reward, for each decision that comes before it
    normalised: bool = False  # divide advantages by their root mean square in the round
    trace: float = number(1.0, most=1)  # λ of the λ-return: 1 is the return; less trusts the prompts' values


@dataclass
class AcceptedAnswersConfig(GroupsConfig):
    """Phase 2 on problems: the policy learns the answers that were accepted, by the verifier or by a vote."""

    algorithm: str = "accepted_answers"
    objective: Any = field(default_factory=DistillConfig)
    # verifier, or majority: the most frequent answer of a group is accepted, and no verdict is used.
    judge: str = "verifier"
    updates: list[int] = field(
        default_factory=lambda: [4, 16], metadata=FIRST_AND_LAST
    )  # optimizer steps of a round
    temperature: float = 1.0  # of samples of new problems; above 1 the policy tries what it rarely writes
    # When a failed problem is tried again, one token of each sample is drawn evenly from so many of the
    # likeliest tokens. 0: no token is.
    explore: int = number(0, least=0)
    batch: int = 128  # accepted answers of one optimizer step
    replay: int = 4096  # accepted answers that the replay keeps, the newest ones
    replay_of: str = ""  # an earlier phase: the replay begins with what that phase's replay held
    hard: float = number(0.5, least=0)
    rare: int = 4  # how many times an answer to a hard problem enters the replay

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.judge not in JUDGES:
            raise ConfigError(f"judge={self.judge}", f"must be {' or '.join(JUDGES)}")

    def updates_of(self, progress: float) -> int:
        """Optimizer steps of a round: few in early rounds, when most is still to be found, and more later.

        progress: 0 in the first round, 1 in the last one
        """
        first, last = self.updates
        return round(first + (last - first) * progress)


@dataclass
class RankedPairsConfig(PhaseConfig):
    """Preferences from a file: someone has marked the better of two answers."""

    gives: ClassVar[tuple[str, ...]] = PAIRS
    algorithm: str = "ranked_pairs"
    objective: Any = field(default_factory=PreferenceConfig)
    optimizer: str = "adamw"
    pairs: str = MISSING  # a JSONL file of {"prompt", "chosen", "rejected"}
    rounds: int = 200  # optimizer steps
    batch: int = 32  # pairs of one optimizer step


@dataclass
class VerifiedPairsConfig(GroupsConfig):
    """Preferences from the verifier: it compares the policy's own answers."""

    gives: ClassVar[tuple[str, ...]] = PAIRS
    algorithm: str = "verified_pairs"
    objective: Any = field(default_factory=PreferenceConfig)
    optimizer: str = "adamw"
    rounds: int = 30  # each of them samples, then learns
    updates: int = 8  # optimizer steps of a round
    batch: int = 64  # pairs of one optimizer step
    replay: int = 1024  # pairs that the replay keeps, the newest ones


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


@dataclass
class TrainConfig(Checked):
    """The options of one run."""

    name: str = MISSING  # of the experiment: runs lie in OUT/NAME/DATE
    env: str = MISSING  # a Gymnasium id; "module:namespace/Env-v0" imports the module first
    env_args: dict[str, Any] = field(default_factory=dict)  # the environment's own arguments
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    phases: dict[str, Any] = field(default_factory=dict)  # in order; each has the type of its algorithm
    only: list[str] | None = None  # run these phases and leave out the others
    evaluate_problems: int = 1000  # held-out problems, or matches of a game, behind each figure
    # Completions of each problem at temperature 1, for pass@k, maj@k and curves that go up to so many; in
    # games that are searched, simulations up to which skill is measured.
    # 32 or 64 show what more samples bring, and how many of imitation's one sample of a later player equals.
    evaluate_samples: int = number(4, least=4)
    adapter: str | None = None  # a folder: start from this adapter
    resume: str | None = None  # a run's folder: continue that run
    out: str = "runs"  # where runs are kept
    seed: int = number(0, least=0)  # gives the same run again, on as many threads
    threads: int = field(default_factory=share_of_processors)  # of the processor; all of them by default

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, phase in self.phases.items():
            if type(phase) is not ALGORITHMS.get(getattr(phase, "algorithm", "")):
                known = ", ".join(ALGORITHMS)
                raise ConfigError(f"phases.{name}", f"choose its algorithm by phase@{{key}}=NAME: {known}")
        for name in self.only or ():
            if name not in self.phases:
                raise ConfigError(f"only={self.only}", f"{name!r} is not one of {', '.join(self.phases)}")


@dataclass
class PretrainConfig(Checked):
    """The options of one base that is pre-trained."""

    out: str = MISSING  # the folder of the base
    envs: list[str] = MISSING  # ids; an id may have arguments of its own: "ID key=value"
    env_args: dict[str, Any] = field(default_factory=dict)  # for each of them
    documents: int = 200_000  # texts that the environments write
    steps: int = 2000  # optimizer steps
    batch: int = 384  # documents of one optimizer step
    learning_rate: float = 0.01  # Muon's, of the matrices
    # Share of the loss that what follows a prompt has: a move is one token in fifty. null: all tokens alike
    continuation_share: float | None = number(None, most=1)
    width: int = 64  # of the hidden states
    mlp_width: int = 172  # of the layers between them
    layers: int = 4  # of the model
    heads: int = 2  # of attention, each at least 32 wide
    seed: int = number(0, least=0)  # gives the same base again, on as many threads
    threads: int = field(default_factory=processors)  # of the processor; all of them by default
    command: str = ""  # the command line writes itself here, for the record

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.envs:
            raise ConfigError("envs=[]", "name at least one environment")
        if self.width % self.heads or self.width // self.heads < 32:
            key = f"width={self.width}, heads={self.heads}"
            raise ConfigError(key, "width / heads must be a whole number of at least 32")


def store_types(store: Any) -> None:
    """Register all types in Hydra's ConfigStore; those of phases and objectives by their names."""
    store.store("train_schema", TrainConfig)
    store.store("pretrain_schema", PretrainConfig)
    for name, phase in ALGORITHMS.items():
        node = OmegaConf.structured(phase)
        # The objective is a config group of its own: objective@phases.NAME.objective=preference.
        with open_dict(node):
            node.defaults = [{"/objective@objective": node.objective.name}, "_self_"]
            node.objective = MISSING
        store.store(name, node, group="phase")
    for name, objective in OBJECTIVES.items():
        store.store(name, objective.config, group="objective")


def stored_config(stored: dict[str, Any]) -> TrainConfig:
    """The configuration that a run has stored as a dictionary, in its types.

    Raises KeyError for an algorithm or objective that there is not, ConfigError for a refused value, and
    OmegaConf's errors for other keys.
    """
    rest = {key: value for key, value in stored.items() if key != "phases"}
    cfg = OmegaConf.merge(OmegaConf.structured(TrainConfig), rest)
    for name, phase in stored["phases"].items():
        node = OmegaConf.structured(ALGORITHMS[phase["algorithm"]])
        node.objective = OmegaConf.structured(OBJECTIVES[phase["objective"]["name"]].config)
        cfg.phases[name] = OmegaConf.merge(node, phase)
    typed: TrainConfig = to_object(cfg)
    return typed
