"""The table of all that TensorBoard shows: each tag with its unit, its healthy range and what it means.

Figures of a phase stand under the phase's name, as `selfplay/reward`; the table has them without it. NAME
stands for a name that the environment, the verifier or a check brings. docs/monitoring.md is made of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["scalar", "image", "text"]
SECTIONS = ("skill", "learning", "what it does", "how fast", "health")
OPEN = ("skill", "learning", "what it does")  # in the dashboard, from the beginning
PHASE, NAME = "PHASE", "NAME"


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag, or a family of tags whose last part is NAME.

    figure: its name where sources, objectives and guards measure it; "": the same
    known_as: its name in TRL or stable-baselines3, where people know it by another
    healthy: the range in words; "": any value may be well
    of_run: whether it stands for the whole run, and not under a phase's name
    only_on: what it needs, such as "a GPU"
    """

    tag: str
    section: str
    what: str
    unit: str = ""
    healthy: str = ""
    figure: str = ""
    known_as: str = ""
    kind: Kind = "scalar"
    of_run: bool = False
    only_on: str = ""

    @property
    def full(self) -> str:
        """As TensorBoard shows it, with PHASE for the phase's name."""
        return self.tag if self.of_run else f"{PHASE}/{self.tag}"

    def covers(self, tag: str) -> bool:
        """Whether it is the tag, or the tag is of its family; without the phase's name."""
        family = self.tag.removesuffix(NAME)
        return tag == self.tag if family == self.tag else tag.startswith(family) and tag != family


def _skill(tag: str, what: str, unit: str, *, of_run: bool = True, kind: Kind = "scalar") -> Tag:
    return Tag(tag, "skill", what, unit, of_run=of_run, kind=kind)


def _learning(
    tag: str, what: str, unit: str = "", healthy: str = "", figure: str = "", known_as: str = ""
) -> Tag:
    return Tag(tag, "learning", what, unit, healthy, figure, known_as)


def _does(
    tag: str, what: str, unit: str = "", healthy: str = "", figure: str = "", known_as: str = ""
) -> Tag:
    return Tag(tag, "what it does", what, unit, healthy, figure, known_as)


def _speed(tag: str, what: str, unit: str, healthy: str = "", known_as: str = "", only_on: str = "") -> Tag:
    return Tag(tag, "how fast", what, unit, healthy, known_as=known_as, only_on=only_on)


METRIC = "the report's metric"
SHOWN = "about twelve times in a phase"
TAGS: tuple[Tag, ...] = (
    _skill(
        "skill",
        "the policy's skill over the optimizer steps of all phases; a flat line is another player",
        METRIC,
    ),
    _skill("skill/low", "lower end of its 95% interval; the same as the skill where that is exact", METRIC),
    _skill("skill/high", "upper end of its 95% interval", METRIC),
    _skill("skill", "skill in the environment of a phase that has its own, by rounds", METRIC, of_run=False),
    _skill("skill/low", "lower end of its 95% interval", METRIC, of_run=False),
    _skill("skill/high", "upper end of its 95% interval", METRIC, of_run=False),
    _skill("final/skill", "the latest skill, for the table of hyperparameters", METRIC),
    _skill(
        "samples/NAME",
        "skill by the number of samples, which stands where steps stand elsewhere",
        "share solved",
    ),
    _skill("simulations/NAME", "skill by the number of simulations of a search", METRIC),
    _skill("curves/NAME", "the same of all players in one figure", "", kind="image"),
    _learning(
        "train/loss",
        "the objective's loss, over a round's optimizer steps",
        "nats",
        "falls in imitation; says little in self-play",
        figure="loss",
    ),
    _learning(
        "train/entropy",
        "the policy's entropy at the tokens that it learns from",
        "nats a token",
        "above 0.01: below, samples hardly differ",
        figure="entropy",
    ),
    _learning(
        "train/grad_norm",
        "norm of the gradient before it is clipped to 1",
        "",
        "steady; leaps say that the learning rate is too high",
        figure="gradient_norm",
        known_as="grad_norm",
    ),
    _learning(
        "train/learning_rate",
        "mean over a round's optimizer steps: warm-up, then linear decay",
        "",
        figure="learning_rate",
    ),
    _learning(
        "train/approx_kl",
        "divergence of the policy from the one that sampled, E[r - 1 - log r]",
        "nats a token",
        "below 0.1",
        figure="approx_kl",
        known_as="kl",
    ),
    _learning(
        "train/clip_fraction",
        "share of tokens whose importance weight is outside the clip",
        "share",
        "below 0.3",
        figure="clip_fraction",
        known_as="clip_ratio",
    ),
    _learning(
        "train/importance_weight",
        "mean ratio r of the policy's probability to the sampler's",
        "",
        "0.9 to 1.1",
        figure="importance_weight",
        known_as="sampling/importance_sampling_ratio",
    ),
    _learning(
        "train/sampler_drift",
        "how far the policy has gone from the one that sampled, in log-probability",
        "nats a token",
        "below 0.3",
        figure="sampler_drift",
        known_as="sampling/sampling_logp_difference",
    ),
    _learning(
        "train/target_entropy",
        "entropy of the targets: of the search, or of mean values",
        "nats a move",
        figure="target_entropy",
    ),
    _learning(
        "train/surprise",
        "divergence of what a search finds from what the policy thought, KL(search || policy)",
        "nats a move",
        "falls",
        figure="surprise",
    ),
    _learning(
        "train/heldout_loss",
        "loss on traces that are not trained on; imitation stops when it rises",
        "nats a token",
        "falls",
        figure="heldout_loss",
        known_as="eval/loss",
    ),
    _learning(
        "train/heldout_entropy",
        "the policy's entropy on them",
        "nats a token",
        "above phases.imitate.entropy_floor",
        figure="heldout_entropy",
    ),
    _learning(
        "train/groups_with_signal",
        "share of groups whose episodes did not all earn the same: the others teach nothing",
        "share",
        "above 0.1",
        figure="informative_groups",
        known_as="1 - frac_reward_zero_std",
    ),
    _learning(
        "train/entropy_bonus",
        "what a nat more of surprise per token earns (entropy_floor)",
        "",
        "0 to 0.1",
        figure="entropy_bonus",
    ),
    _learning(
        "gate/score",
        "the gate's look: score on validation problems, or in games against the best policy so far",
        "mean score",
        "rises; against the best 0.5 or more",
        figure="validation",
    ),
    _learning(
        "gate/went_back",
        "how often the phase went back to an earlier policy",
        "times",
        "0; at 3 the phase ends",
        figure="went_back",
    ),
    _learning(
        "league/score",
        "score against the members of the league, their mean",
        "0 to 1",
        "rises beyond 0.5",
        figure="league_score",
    ),
    _learning(
        "league/worst",
        "score against the member that is the most difficult",
        "0 to 1",
        "above 0.4 against its own past: lower, an old policy has an answer",
        figure="league_worst",
    ),
    _learning("elo", "rating among players that never learn; random play is 0", "Elo", "rises", figure="elo"),
    _does(
        "reward",
        "mean reward of a round's samples, over seats that the policy plays",
        "reward",
        "rises",
        known_as="rollout/ep_rew_mean",
    ),
    _does("metrics/NAME", "what the environment measures beside the reward, mean of a round", ""),
    _does("completions/mean_length", "tokens of a completion", "tokens", figure="completion_length"),
    _does(
        "completions/truncated",
        "share of episodes that ended at policy.max_new_tokens",
        "share",
        "below 0.2",
        figure="overlong",
        known_as="completions/clipped_ratio",
    ),
    _does(
        "completions/entropy",
        "surprise of the sampler at what it sampled (entropy_floor)",
        "nats a token",
        "above the floor",
        figure="sampled_entropy",
    ),
    _does(
        "episodes/tokens",
        "tokens that the policy writes in an episode",
        "tokens",
        figure="tokens_per_episode",
    ),
    _does(
        "episodes/mean_length",
        "decisions of an episode, of all seats",
        "decisions",
        figure="plies",
        known_as="rollout/ep_len_mean",
    ),
    _does(
        "episodes/no_verdict",
        "share of episodes without a verdict: no loss sees them",
        "share",
        "below 0.05",
        figure="uncounted",
    ),
    _does("verdicts/NAME", "share of episodes with this verdict: correct, wrong, unknown or error", "share"),
    _does("rungs/NAME", "share of episodes that this rule of the verifier decided", "share"),
    _does(
        "illegal_mass",
        "probability of what is not legal, without the mask",
        "probability",
        "below 0.9",
        figure="illegal_mass",
    ),
    _does("explore/unsolved", "problems that no sample solved", "problems", figure="unsolved"),
    _does("explore/tries", "answers that left the policy at one token", "answers", figure="tries"),
    _does(
        "explore/finds",
        "those unsolved problems for which an answer is known then",
        "problems",
        figure="finds",
    ),
    _does(
        "games/first_seat_wins", "share of games that the first seat won", "share", figure="first_seat_wins"
    ),
    _does("games/draws", "share of games that nobody won", "share", figure="draws"),
    _does(
        "games/situations",
        "different situations whose moves have a value",
        "situations",
        "grows, then stays",
        figure="situations",
    ),
    Tag(
        "boards",
        "what it does",
        f"moves by their probability in the same positions again and again; {SHOWN}",
        kind="image",
    ),
    Tag(
        "answers",
        "what it does",
        f"several answers, right and wrong, with verdict and rung; {SHOWN}",
        kind="text",
    ),
    Tag("episode", "what it does", f"one episode, as in episodes.jsonl; {SHOWN}", kind="text"),
    _speed(
        "time/fps", "decisions in environments a second of collecting", "decisions/s", known_as="time/fps"
    ),
    _speed("time/sampled_tokens_per_second", "tokens that were sampled a second of collecting", "tokens/s"),
    _speed("time/learned_tokens_per_second", "tokens that entered a loss a second of learning", "tokens/s"),
    _speed("time/collect_seconds", "of a round: sampling, playing, searching", "seconds"),
    _speed("time/learn_seconds", "of a round: optimizer steps", "seconds"),
    _speed("time/check_seconds", "of a round: the gate, early stopping, and checks of health", "seconds"),
    _speed("time/measure_seconds", "of measuring since the last point of skill", "seconds"),
    _speed(
        "memory/peak_gib", "most memory that the process has held so far", "GiB", "below what the machine has"
    ),
    _speed("memory/gpu_peak_gib", "most memory of tensors on the GPU so far", "GiB", only_on="a GPU"),
    _speed(
        "memory/prompts_remembered", "prompts whose keys and values are in memory after a round", "prompts"
    ),
    Tag(
        "health/NAME",
        "health",
        "what must hold in every phase, by the names of [health.md](health.md)",
        healthy="the range there",
    ),
)
BY_FIGURE = {row.figure or row.tag: row.tag for row in TAGS if not row.of_run}


def tag_of(phase: str, figure: str) -> str:
    """The tag of a phase's figure, by the name under which it is measured."""
    return f"{phase}/{BY_FIGURE.get(figure, figure)}"


def find(tag: str, kind: Kind = "scalar") -> tuple[Tag | None, str]:
    """The row of a full tag, if there is one, and the phase's name; "" for a tag of the whole run."""
    phase, _, rest = tag.partition("/")
    of_run = next((row for row in TAGS if row.of_run and row.kind == kind and row.covers(tag)), None)
    if of_run is not None:
        return of_run, ""
    row = next((row for row in TAGS if not row.of_run and row.kind == kind and row.covers(rest)), None)
    return row, phase if row else ""


def as_markdown() -> list[str]:
    """The tables of docs/monitoring.md, one for each section."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += [f"## {section.capitalize()}", ""]
        lines += _table(row for row in TAGS if row.section == section)
        lines += [""]
    return lines[:-1]


def _table(rows: Iterable[Tag]) -> list[str]:
    lines = ["| tag | what it is | unit | healthy | in TRL or stable-baselines3 |", "|---|---|---|---|---|"]
    for row in rows:
        notes = [row.what, row.kind if row.kind != "scalar" else "", row.only_on and f"on {row.only_on} only"]
        known = f"`{row.known_as}`" if row.known_as else ""
        what = "; ".join(note for note in notes if note)
        lines.append(f"| `{row.full}` | {what} | {row.unit} | {row.healthy} | {known} |")
    return lines


if __name__ == "__main__":
    print("\n".join(as_markdown()))
