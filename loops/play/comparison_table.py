"""Two answers to a problem at a table: a person says which is better, and the pair is kept at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shuhari.loops.play.pairs_file import AppendedLines, ComparedPairs
from shuhari.loops.play.terminal import Terminal

COMMANDS = "1, 2, tie, skip, undo, quit"


@dataclass(frozen=True)
class Comparison:
    """A problem with two answers. `instructions` are its own; None: the environment's."""

    problem: str
    answers: tuple[str, str]
    instructions: str | None = None

    def ranked(self, better: int) -> dict[str, Any]:
        """The line of a file of ranked pairs, of which `better` (0 or 1) is the one to choose."""
        prompt: Any = self.problem
        if self.instructions is not None:
            prompt = [
                {"role": "system", "content": self.instructions},
                {"role": "user", "content": self.problem},
            ]
        return {"prompt": prompt, "chosen": self.answers[better], "rejected": self.answers[1 - better]}

    def tied(self) -> dict[str, Any]:
        """The line of a file of ties."""
        return {"task": self.problem, "tied": list(self.answers)}


class ComparisonTable:
    """Comparisons one after the other, until there are no more or the person leaves."""

    def __init__(self, comparisons: Iterator[Comparison], kept: ComparedPairs, terminal: Terminal) -> None:
        self.comparisons, self.kept, self.terminal = comparisons, kept, terminal
        self._judged: list[tuple[Comparison, AppendedLines | None]] = []  # None: it was skipped
        self._ahead: list[Comparison] = []  # those that a person went back from

    def play(self) -> None:
        """Raises what `comparisons` raises, and OSError where a file cannot be written."""
        self.terminal.say(f"Which answer is better? {COMMANDS}.")
        while (comparison := self._next()) is not None:
            if not self._judge(comparison):
                return
        self.terminal.say("There is nothing more to compare.")

    def _next(self) -> Comparison | None:
        return self._ahead.pop() if self._ahead else next(self.comparisons, None)

    def _judge(self, comparison: Comparison) -> bool:
        """Whether the person goes on."""
        self._show(comparison)
        while (said := self.terminal.ask("better")) is not None:
            word = said.casefold()
            if word in ("1", "2"):
                return self._keep(comparison, self.kept.pairs, comparison.ranked(int(word) - 1))
            if word == "tie":
                return self._keep(comparison, self.kept.ties, comparison.tied())
            if word == "skip":
                self._judged.append((comparison, None))
                return True
            if word == "quit":
                return False
            if word != "undo":
                self.terminal.say(f"{said[:40]!r} is none of {COMMANDS}")
            elif self._judged:
                earlier, where = self._judged.pop()
                if where is not None:
                    where.take_back()
                self._ahead += [comparison, earlier]
                return True
            else:
                self.terminal.say("There is nothing to take back.")
        return False

    def _keep(self, comparison: Comparison, where: AppendedLines, row: dict[str, Any]) -> bool:
        where.add(row)
        self._judged.append((comparison, where))
        return True

    def _show(self, comparison: Comparison) -> None:
        self.terminal.show(f"\nProblem: {comparison.problem.rstrip()}")
        for number, answer in enumerate(comparison.answers, 1):
            self.terminal.show(f"{number}: {answer.rstrip()}")
