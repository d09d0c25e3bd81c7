"""The positions of a game as arrays, for search, solvers and evaluation.

It takes deterministic two-player zero-sum games of perfect information, whose observation is the whole
position. Two orders of moves that lead to one position share a node, so a policy is computed only once for
it.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from shuhari.envs.games.referee import Referee
from shuhari.envs.player import Floats, Ints
from shuhari.envs.types import Turn

UNKNOWN = -1
MOST = 200_000  # positions of a game that is listed
WORTH_KEEPING = 10_000  # positions; smaller games are enumerated faster than a file is read
RECORD, FIELD, MOVE = "\x1e", "\x1f", "\x1d"  # separators of turns, of their parts, and of legal actions


class GameGraph:
    """Nodes 0..len-1 with the columns below; A is the largest number of moves seen.

    children_NA   the node after the a-th legal move; -1 if not expanded yet, or if there is no such move
    moves_N       the number of legal moves; 0 if the game is over
    seat_N        the seat to move; -1 if the game is over
    ply_N         the number of moves since the start
    value_N       seat 0's return if the game is over, else 0

    It is a `Simulator` whose positions and situations are nodes.
    """

    chance = False

    def __init__(self, root: Referee) -> None:
        info = root.game.get_type()
        kinds = (info.information.name, info.chance_mode.name, info.utility.name, root.game.num_players())
        if kinds != ("PERFECT_INFORMATION", "DETERMINISTIC", "ZERO_SUM", 2):
            raise ValueError(
                f"{root.name}: only two-player zero-sum games without chance or hidden information are "
                "listed, trained and measured; it can be played and checked"
            )
        self.turns: list[Turn] = []
        self.outcomes, self.images = root.text.outcomes, root.text.images
        self._referees: list[Referee | None] = []
        self._ids: dict[str, int] = {}
        self._children = np.full((1024, 4), UNKNOWN, dtype=np.int32)
        self._columns = np.zeros((4, 1024), dtype=np.float32)
        self._add(root.clone(), 0)

    def __len__(self) -> int:
        return len(self.turns)

    @property
    def children_NA(self) -> npt.NDArray[np.int32]:
        return self._children[: len(self)]

    @property
    def moves_N(self) -> npt.NDArray[np.int64]:
        return self._columns[0, : len(self)].astype(np.int64)

    @property
    def seat_N(self) -> npt.NDArray[np.int64]:
        return self._columns[1, : len(self)].astype(np.int64)

    @property
    def ply_N(self) -> npt.NDArray[np.int64]:
        return self._columns[2, : len(self)].astype(np.int64)

    @property
    def value_N(self) -> npt.NDArray[np.float32]:
        return self._columns[3, : len(self)]

    @property
    def width(self) -> int:
        return self._children.shape[1]

    def start(self, n: int, rng: np.random.Generator) -> Ints:
        return np.zeros(n, dtype=np.int64)

    def positions(self, turns: Sequence[Turn]) -> Ints:
        return np.array([self._ids[turn.observation] for turn in turns], dtype=np.int64)

    def views(self, positions: Ints, whole: bool = False) -> list[Turn]:
        return [self.turns[node] for node in positions]

    def situations(self, positions: Ints) -> Ints:
        return positions

    def seats(self, positions: Ints) -> Ints:
        return np.asarray(self._columns[1, positions], dtype=np.int64)

    def play(self, positions: Ints, moves_N: Ints, rng: np.random.Generator) -> Ints:
        self.expand(np.unique(positions))
        return self._children[positions, moves_N].astype(np.int64)

    def returns(self, positions: Ints) -> Floats:
        value_N = self._columns[3, positions].astype(np.float64)
        return np.stack([value_N, -value_N], axis=1)

    def canonical(self, node: int) -> str:
        """The node's observation in canonical form, which symmetric positions share."""
        return self._text.canonical(self.turns[node].observation)

    def _add(self, referee: Referee, ply: int) -> int:
        # The board at a game's end may not say who has won.
        key = f"{referee.observation}{(str(referee.state), referee.returns) if referee.over else ''}"
        if key in self._ids:
            return self._ids[key]
        node = self._ids[key] = len(self)
        self._text = referee.text
        if node == len(self._children):
            self._children = np.concatenate([self._children, np.full_like(self._children, UNKNOWN)])
            self._columns = np.concatenate([self._columns, np.zeros_like(self._columns)], axis=1)
        legal = referee.legal_actions
        if len(legal) > self._children.shape[1]:
            wider = len(legal) - self._children.shape[1]
            self._children = np.pad(self._children, ((0, 0), (0, wider)), constant_values=UNKNOWN)
        over = referee.over
        self._columns[:, node] = len(legal), referee.seat, ply, referee.returns[0] if over else 0.0
        self.turns.append(referee.turn())
        self._referees.append(None if over else referee)
        return node

    def expand(self, nodes: npt.NDArray[np.int64]) -> None:
        """Add every child of these nodes."""
        for node in nodes:
            referee = self._referees[node]
            if referee is None:  # the game is over, or the node was expanded before
                continue
            for i, move in enumerate(self.turns[node].legal_actions):
                child = referee.clone()
                child.apply(move)
                child_id = self._add(child, int(self._columns[2, node]) + 1)
                self._children[node, i] = child_id
            self._referees[node] = None

    def expand_all(self) -> None:
        """Add every reachable position. Raises MemoryError if there are more than `MOST`."""
        done = 0
        while done < len(self):
            if len(self) > MOST:
                raise MemoryError(f"more than {MOST:,} positions: too many to enumerate")
            end = len(self)
            self.expand(np.arange(done, end))
            done = end

    @classmethod
    def complete(cls, root: Referee) -> "GameGraph":
        """All positions of a game, from a file in the user's cache if there is one; see `expand_all`."""
        graph, path = cls(root), _cached(root)
        if (too_many := path.with_suffix(".too-many")).exists():
            raise MemoryError(f"more than {MOST:,} positions: too many to enumerate")
        try:
            with path.open("rb") as file, np.load(file) as saved:
                graph._children, graph._columns = saved["children"], saved["columns"]
                records = [record.split(FIELD) for record in str(saved["turns"]).split(RECORD)]
        except (OSError, KeyError, ValueError, BadZipFile):  # there is no file, or a damaged one
            try:
                graph.expand_all()
            except MemoryError:
                _touch(too_many)
                raise
            if len(graph) > WORTH_KEEPING:
                graph._write(path)
            return graph
        graph.turns = [
            Turn(observation, tuple(moves.split(MOVE)) if moves else (), int(seat), state)
            for observation, moves, seat, state in records
        ]
        graph._referees = [None] * len(records)
        graph._ids = {turn.observation: n for n, turn in enumerate(graph.turns) if turn.legal_actions}
        return graph

    def _write(self, path: Path) -> None:
        turns = RECORD.join(
            FIELD.join((t.observation, MOVE.join(t.legal_actions), str(t.seat), t.state)) for t in self.turns
        )
        columns = self._columns[:, : len(self)]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
                np.savez_compressed(file, children=self.children_NA, columns=columns, turns=np.array(turns))
            Path(file.name).replace(path)
        except OSError:  # without the cache, the game is enumerated again
            return


def _touch(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:  # without the mark, the game is enumerated again
        return


@lru_cache(maxsize=2)
def game_graph(game: str) -> GameGraph:
    """All positions of a game, in one object that all callers share.

    Raises ValueError for a game of another kind, MemoryError for one with too many positions.
    """
    return GameGraph.complete(Referee(game))


def _cached(root: Referee) -> Path:
    """The cache file of a game. Its name depends on the game and on the code that enumerates positions."""
    digest = hashlib.sha256(f"{root.name} {version('open_spiel')}".encode())
    for source in ("text.py", "graph.py", "referee.py"):
        digest.update((Path(__file__).parent / source).read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "shuhari" / f"positions-{digest.hexdigest()[:16]}.npz"


def backward_induction(
    graph: GameGraph, policy_NA: npt.NDArray[np.float64] | None = None, seat: int = -1
) -> npt.NDArray[np.float64]:
    """Seat 0's value [N] of every node of a fully expanded graph, by backward induction.

    Both seats play perfectly (Zermelo 1913). If `policy_NA` is given, `seat` plays it instead, and the value
    is the policy's expected return against the opponent that is best against it. Raises ValueError for a game
    whose positions repeat.
    """
    values = graph.value_N.astype(np.float64)
    children_NA, seat_N = graph.children_NA, graph.seat_N
    legal_NA = np.arange(children_NA.shape[1]) < graph.moves_N[:, None]
    known_N = graph.moves_N == 0
    while len(open_nodes := np.flatnonzero(~known_N)):
        # A node is computed when all its children are. Plies give no such order, because some games, such as
        # nim, reach one position after different numbers of moves.
        nodes = open_nodes[(known_N[children_NA[open_nodes]] | ~legal_NA[open_nodes]).all(1)]
        if not len(nodes):
            raise ValueError("positions repeat: backward induction needs a game that always moves on")
        legal, child_values = legal_NA[nodes], values[children_NA[nodes]]
        best = np.where(
            seat_N[nodes] == 0,
            np.where(legal, child_values, -np.inf).max(1),
            np.where(legal, child_values, np.inf).min(1),
        )
        if policy_NA is not None:
            mean = np.where(legal, policy_NA[nodes] * child_values, 0).sum(1)
            best = np.where(seat_N[nodes] == seat, mean, best)
        values[nodes] = best
        known_N[nodes] = True
    return values


def optimal_moves(graph: GameGraph) -> npt.NDArray[np.bool_]:
    """Which legal moves [N, A] keep the value of their node, in a fully expanded graph."""
    values = backward_induction(graph)
    legal_NA = np.arange(graph.children_NA.shape[1]) < graph.moves_N[:, None]
    child_NA = values[graph.children_NA]
    return np.asarray(legal_NA & np.isclose(child_NA, values[:, None]))
