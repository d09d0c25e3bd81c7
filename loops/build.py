"""The builders: the only code that chooses by the configuration and by the kind of environment.

What they build is used through its interface only. No source asks what kind of environment it plays, and no
evaluation asks what was trained.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from shuhari.envs import TaskEnv, TextEnv, Trace
from shuhari.envs.games.players import MCTSPlayer
from shuhari.envs.games.simulator import Positions, Referees
from shuhari.envs.games.solved_positions import solved_positions
from shuhari.envs.player import Player, RandomPlayer
from shuhari.envs.validation import expert_traces
from shuhari.loops.collect.accepted_answers import AcceptedAnswers
from shuhari.loops.collect.best_match import FEWEST, OPENINGS, PLIES, BestMatch
from shuhari.loops.collect.fictitious_play import FictitiousPlay
from shuhari.loops.collect.imitate import Imitate
from shuhari.loops.collect.ladder import Ladder
from shuhari.loops.collect.league import League
from shuhari.loops.collect.openings import ListedOpenings, Openings, RandomOpenings, random_openings
from shuhari.loops.collect.ranked_pairs import RankedPairs, VerifiedPairs
from shuhari.loops.collect.sample_groups import SampleGroups
from shuhari.loops.collect.search_play import SearchPlay
from shuhari.loops.collect.source import Source
from shuhari.loops.config import SearchPlayConfig, TrainConfig
from shuhari.loops.evaluate.evaluation import Evaluation
from shuhari.loops.evaluate.hidden_game import HiddenGame
from shuhari.loops.evaluate.listed_game import OPENING_PLIES, ListedGame
from shuhari.loops.evaluate.matched_game import MatchedGame
from shuhari.loops.evaluate.problems import Problems
from shuhari.loops.evaluate.returns import Returns
from shuhari.loops.evaluate.search_curve import Searchers
from shuhari.loops.health import PhaseHealth
from shuhari.loops.house import House, policies_named, why_untrained
from shuhari.loops.learn.gate import Gate
from shuhari.loops.learn.judge import PairedProblems
from shuhari.loops.learn.learner import Learner
from shuhari.loops.learn.learning_rate import learning_rate
from shuhari.loops.learn.optimizer import Optimizer
from shuhari.loops.learn.stopping import EarlyStopping
from shuhari.loops.phase import Guard, Phase
from shuhari.loops.scoreboard import player_of
from shuhari.policy.leaf_evaluators import Evaluator, PolicyAndValue, Remembered
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import LEARNING
from shuhari.policy.search_rules import RULES
from shuhari.policy.tree_search import TreeSearch, TreeSearchPlayer

# Names that no phase may have, because players have them.
RESERVED = ("default", "random", "expert", "expert_mode", "perfect", "search_alone", "adapter")
# Streams of random numbers; a phase's stream has the phase's number, from 1.
EXPERT_STREAM, OPENINGS_STREAM, VALIDATION_STREAM = 0, 2**32 + 1, 2**32 + 2
STRONGER = 4  # times the expert's simulations: the strongest anchor of a league's ratings


def build_evaluation(house: House, phase: str = "") -> Evaluation[Any]:
    """The evaluation of the run's environment or, with `phase`, of that phase's own."""
    cfg, game = house.cfg, house.game
    if game is None:
        env, rollouts, heldout = house.maker(phase)().unwrapped, house.rollouts(phase), house.heldout(phase)
        if isinstance(env, TaskEnv):
            return Problems(rollouts, env, heldout, house.validation(phase), samples=cfg.evaluate_samples)
        return Returns(rollouts, heldout, house.validation(phase))
    if phase:
        raise ValueError(f"phases.{phase}.env_args: only problems take arguments here; {cfg.env} is a game")
    if why := why_untrained(game):
        raise ValueError(why)
    if not game.referee.perfect_information:
        return HiddenGame(game.game, game.expert, house.models)
    if (graph := house.graph) is None:
        openings = _reported_openings(house)
        if not len(openings):
            raise ValueError(f"{game.game}: is over after one move, so no match has an opening to begin with")
        return MatchedGame(
            house.simulator,
            game.expert,
            house.models,
            openings,
            _validation_openings(house),
            cfg.seed,
            solved_positions(game.game),
            _searchers(house),
            cfg.evaluate_samples,
        )
    withheld_N = np.array([game.withholds(turn.observation) for turn in graph.turns])
    return ListedGame(
        graph,
        game.expert,
        house.models,
        withheld_N,
        matches=cfg.evaluate_problems,
        seed=cfg.seed,
        searchers=_searchers(house),
        simulations=cfg.evaluate_samples,
    )


def _evaluator(house: House, player: LMPlayer) -> Evaluator:
    """How a policy scores the leaves of its search."""
    evaluate = PolicyAndValue(house.simulator, player)
    return evaluate if house.graph is None else Remembered(evaluate)


def _searchers(house: House) -> Searchers:
    """Players that search as the first phase does that searches, with any adapter and budget."""
    searching = (cfg for cfg in house.cfg.phases.values() if cfg.algorithm == "search_play")
    rule = RULES[next(searching, SearchPlayConfig()).rule]

    def searcher(adapter: str | None, simulations: int) -> Player:
        evaluate = _evaluator(house, house.models(adapter))
        return TreeSearchPlayer(TreeSearch(house.simulator, evaluate, rule(), simulations), house.cfg.seed)

    return searcher


def _reported_openings(house: House) -> Positions:
    """Where reported matches begin: a few plies into the game or, where there are too few such positions,
    also beyond those that steer a run."""
    rng, n = house.rng(OPENINGS_STREAM), ceil(house.cfg.evaluate_problems / 2)
    early = random_openings(house.game.root, range(1, OPENING_PLIES + 1), n, rng)
    if len(early) == n:
        return early
    return np.concatenate([early, random_openings(house.game.root, [PLIES + 1], n - len(early), rng)])


def _validation_openings(house: House) -> Positions:
    """Where games begin that steer a run: at a ply at which no reported match begins."""
    rng, n = house.rng(VALIDATION_STREAM), OPENINGS
    if (graph := house.graph) is None:
        return random_openings(house.game.root, [PLIES], n, rng)
    possible = np.flatnonzero((graph.ply_N == PLIES) & (graph.moves_N > 0))
    return rng.choice(possible, min(n, len(possible)), replace=False)  # in no order: looks begin with some


def build_phase(
    house: House, name: str, replays: dict[str, list[Any]], note: Callable[[str], None]
) -> Phase | None:
    """The phase of that name, or None, with a note, if it has nothing to learn from.

    replays: of earlier phases, by name
    note: takes what a reader of the report must know
    """
    cfg, rng = house.cfg.phases[name], house.rng(list(house.cfg.phases).index(name) + 1)
    if cfg.algorithm == "imitate":
        return _imitation(house, name, cfg, rng, note)
    for text in house.notes:
        note(text)
    given = _allowed(house, house.files[name], note)
    source = SOURCES[cfg.algorithm](house, name, cfg, rng, replays.get, given)
    learner = _learner(house, name, source)
    return _phase(house, name, source, learner, _gate(house, name, cfg, learner, note))


def _imitation(
    house: House, name: str, cfg: Any, rng: np.random.Generator, note: Callable[[str], None]
) -> Phase | None:
    found = _traces(house, name, cfg)
    for text in house.notes:
        note(text)
    if not (allowed := _allowed(house, found, note)):
        note("no expert and no traces: imitation was skipped")
        return None
    imitate = Imitate(house.generator, house.renderer, allowed, cfg, rng)
    learner = _learner(house, name, imitate)
    stopping = EarlyStopping(learner, imitate.heldout, patience=cfg.patience, entropy_floor=cfg.entropy_floor)
    return _phase(house, name, imitate, learner, stopping)


def _phase(house: House, name: str, source: Source, learner: Learner, guard: Guard | None = None) -> Phase:
    return Phase(name, source, learner, guard, PhaseHealth(learner, house.generator))


def _gate(house: House, name: str, cfg: Any, learner: Learner, note: Callable[[str], None]) -> Gate | None:
    """The gate of a phase that has one: of games, `search_play` alone has."""
    if not getattr(cfg, "gate", 0) or (house.game is not None and cfg.algorithm != "search_play"):
        if getattr(cfg, "league", 0):
            note(f"{name}: no ratings of the league, because gate=0")
        return None
    if house.game is None:
        validation = house.validation(name if name in house.own_envs() else "")
        return Gate(learner, PairedProblems(validation.scores, cfg.gate), rounds=cfg.rounds, looks=cfg.gate)
    openings, seed = _validation_openings(house), house.cfg.seed
    if len(openings) < FEWEST:
        few = f"{len(openings)} positions after {PLIES} moves are too few openings"
        note(f"{name}: no gate, because {few if len(openings) else f'games are over by move {PLIES}'}")
        return None
    judge = BestMatch(house.simulator, house.models, openings, seed)
    scale = Ladder(house.simulator, judge.present, _anchors(house), openings, seed) if cfg.league else None
    return Gate(learner, judge, rounds=cfg.rounds, looks=cfg.gate, scale=scale)


def _anchors(house: House) -> dict[str, Player]:
    """Players that never learn, the weakest first."""
    expert = house.game.expert
    anchors: dict[str, Player] = {"random": RandomPlayer(), "expert": expert}
    if isinstance(expert, MCTSPlayer):
        anchors[f"expert x{STRONGER}"] = MCTSPlayer(STRONGER * expert.simulations)
    return anchors


def _traces(house: House, name: str, cfg: Any) -> Sequence[Trace]:
    """The traces of the phase's file or, without one, of the environment's expert."""
    env = house.env.unwrapped
    if cfg.traces is None and isinstance(env, TextEnv):
        written = expert_traces(env, cfg.examples, house.rng(EXPERT_STREAM))
        return house.fitting("the expert", written, house.renderer.trace)
    return house.files[name]


def _allowed(house: House, items: Sequence[Any], note: Callable[[str], None]) -> Sequence[Any]:
    """The traces or pairs whose prompts are not held out. A note says how many are left out."""
    kept = [item for item in items if not house.withholds(item.task)]
    if left := len(items) - len(kept):
        note(f"{left} of {len(items)} entries are of the held-out or the validation side: left out")
    if items and not kept:
        raise ValueError("every entry has a held-out prompt: there is nothing left to learn from")
    return kept


def _search_play(house: House, name: str, cfg: Any, rng: np.random.Generator, *_: Any) -> Source:
    game, graph, player = house.game, house.graph, house.models(LEARNING)
    openings: Openings = RandomOpenings(game.root, game.random_position)
    if graph is not None:
        allowed = [
            i for i, t in enumerate(graph.turns) if t.legal_actions and not game.withholds(t.observation)
        ]
        openings = ListedOpenings(np.array(allowed))
    evaluate, seed = _evaluator(house, player), house.cfg.seed
    league = _league(house, name, cfg, player)
    return SearchPlay(house.simulator, openings, player, evaluate, cfg, rng, seed, game.withholds, league)


def _league(house: House, name: str, cfg: SearchPlayConfig, player: LMPlayer) -> League | None:
    """Who sits against the policy in a phase, where anybody does."""
    if not cfg.league:
        return None
    found = {path: house.policy.adapter_named(path, f"phases.{name}.opponents") for path in cfg.opponents}
    named = {f"adapter {path}": house.models(adapter) for path, adapter in found.items()}
    return League(player, house.models, {"expert": house.game.expert, **named})


def _fictitious_play(house: House, name: str, cfg: Any, rng: np.random.Generator, *_: Any) -> Source:
    simulator = partial(Referees, house.game.game)
    return FictitiousPlay(simulator, house.models(LEARNING), cfg, rng, house.cfg.seed)


SOURCES: dict[str, Callable[..., Source]] = {
    "search_play": _search_play,
    "fictitious_play": _fictitious_play,
    "sample_groups": lambda house, name, cfg, rng, *_: SampleGroups(house.rollouts(name), cfg, rng),
    "accepted_answers": lambda house, name, cfg, rng, replay, _: AcceptedAnswers(
        house.rollouts(name), cfg, rng, replay(cfg.replay_of)
    ),
    "ranked_pairs": lambda house, name, cfg, rng, _, pairs: RankedPairs(house.renderer, pairs, cfg, rng),
    "verified_pairs": lambda house, name, cfg, rng, *_: VerifiedPairs(house.rollouts(name), cfg, rng),
}


def _learner(house: House, name: str, source: Source) -> Learner:
    cfg, policy = house.cfg.phases[name], house.policy
    parameters, rate, said = list(policy.parameters.values()), cfg.learning_rate, []
    if rate is None:
        rate = learning_rate(cfg.rate, cfg.optimizer, policy.width)
        said = [f"learning rate {rate:.2g} ({cfg.optimizer}), by the base's width of {policy.width}"]
    matrices, rest = (parameters, []) if cfg.optimizer == "muon" else ([], parameters)
    rates = {"learning_rate": rate, "rest_learning_rate": rate}
    optimizer = Optimizer(matrices, rest=rest, steps=source.updates, **rates)
    reference = policy.adapter_named(house.reference(name), f"phases.{name}.objective.reference")
    chosen, longest = house.memory.plan(house.longest, cfg.micro_batch), house.longest
    check = partial(house.memory.check, where=f"phases.{name}")
    check(longest)
    said += filter(None, [house.memory.line(chosen, longest)])
    return Learner(
        policy,
        cfg.objective,
        optimizer,
        micro_batch=chosen.tokens,
        checkpointed=chosen.checkpointed,
        reference=reference,
        ranks=house.ranks,
        check=check,
        note=f"{name}: {'; '.join(said)}" if said else "",
    )


def check_phases(cfg: TrainConfig) -> None:
    """Raise ValueError for a phase whose name is taken, or that refers to a missing phase or player."""
    players, with_replay = ["base"], list[str]()  # those that exist before the phase begins
    for name, phase in cfg.phases.items():
        where, player = f"phases.{name}", player_of(name)
        if player in (*RESERVED, *players) or not name.isidentifier():
            raise ValueError(f"{where}: the name {player!r} is taken, or is not a word; choose another")
        if (earlier := getattr(phase, "replay_of", "")) not in ("", *with_replay):
            known = ", ".join(with_replay) or "none"
            raise ValueError(f"{where}.replay_of={earlier}: the phases before it that have a replay: {known}")
        for key, named in policies_named(phase):
            if named not in players and not (Path(named) / "adapter_config.json").is_file():
                known = f"give an adapter's folder or one of {', '.join(players)}"
                raise ValueError(f"{where}.{key}={named}: {known}")
        if cfg.only is None or name in cfg.only:
            players.append(player)
            with_replay += [name] if phase.algorithm == "accepted_answers" else []
