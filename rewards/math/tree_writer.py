"""Write trees as text, plain or LaTeX, with variations like those of people and models."""

import random
from collections.abc import Callable
from fractions import Fraction

from shuhari.rewards.math.node import Node

# How strongly an operation binds: within a stronger one it needs brackets.
_STRENGTH = {"rel": 0, "list": 0, "pm": 1, "+": 1, "neg": 2, "*": 2, "/": 2, "mixed": 2, "^": 4}
_LATEX_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "ln", "exp"}
)
_RELATIONS = {"<=": "\\le", ">=": "\\ge", "!=": "\\ne"}


class TreeWriter:
    """Writes trees as LaTeX or plain text. With `rng`, the spelling varies at random."""

    def __init__(self, *, latex: bool = False, rng: random.Random | None = None) -> None:
        self.latex, self.rng = latex, rng

    def write(self, node: Node) -> str:
        """The text of a tree. The parser reads it as an equal tree."""
        return self._render(node, 0)

    def _choose(self, *options: str) -> str:
        return self.rng.choice(options) if self.rng else options[0]

    def _render(self, node: Node, strength: int) -> str:
        written = self._write(node)
        own = _STRENGTH.get(node.op, 5)
        if node.op == "/" and self.latex:
            own = 3
        if node.op == "num" or node.op == "dec":
            own = 5
        return self._brackets("(", written, ")") if own < strength else written

    def _brackets(self, left: str, text: str, right: str) -> str:
        if self.latex and self._choose("", "\\left"):
            return f"\\left{left}{text}\\right{right}"
        return f"{left}{text}{right}"

    def _write(self, node: Node) -> str:
        op, args = node
        writer: Callable[[Node], str] | None = getattr(self, f"_write_{_WRITERS.get(op, '')}", None)
        if writer:
            return writer(node)
        if op == "num":
            return str(args[0])
        if op == "dec":
            return _decimal(args[0])
        if op == "var":
            return str(args[0])
        if op == "const":
            return f"\\{args[0]}" if self.latex and args[0] == "pi" else str(args[0])
        if op == "inf":
            return "\\infty" if self.latex else "infinity"
        if op == "text":
            return f"\\text{{{args[0]}}}" if self.latex else str(args[0])
        inner = ", ".join(self._render(arg, 0) for arg in args)
        if op == "abs" and self.latex:
            return f"\\left|{inner}\\right|"
        if op == "sqrt" and self.latex:
            return f"\\sqrt{{{inner}}}"
        if op == "root":
            body, index = (self._render(arg, 0) for arg in args)
            return f"\\sqrt[{index}]{{{body}}}" if self.latex else f"({body})^(1/{index})"
        if op == "binom" and self.latex:
            return "\\binom{%s}{%s}" % tuple(self._render(arg, 0) for arg in args)  # noqa: UP031 (braces)
        if op in _LATEX_FUNCTIONS and self.latex:
            return f"\\{op}{self._brackets('(', inner, ')')}"
        return f"{op}({inner})"

    def _write_sum(self, node: Node) -> str:
        parts = []
        space = self._choose("", " ")
        for i, term in enumerate(node.args):
            sign, body = ("-", term.args[0]) if term.op == "neg" else ("+", term)
            if i:
                parts.append(f"{space}{sign}{space}")
            elif sign == "-":
                parts.append(sign)
            parts.append(self._render(body, 2))
        return "".join(parts)

    def _write_negative(self, node: Node) -> str:
        return f"-{self._render(node.args[0], 3)}"

    def _write_product(self, node: Node) -> str:
        text = ""
        for i, factor in enumerate(node.args):
            if factor.op == "inv":
                text += f"/{self._render(factor.args[0], 4)}"
                continue
            piece = self._render(factor, 3 if i else 2)
            if factor.op == "neg" and i:
                piece = self._brackets("(", self._render(factor, 0), ")")
            if i == 0:
                text = piece
            elif self._may_join(node.args[i - 1], factor, piece):
                text += self._choose("", self._times()) + piece
            else:
                text += self._times() + piece
        return text

    def _times(self) -> str:
        return self._choose("\\cdot ", " \\times ") if self.latex else "*"

    @staticmethod
    def _may_join(before: Node, factor: Node, piece: str) -> bool:
        """Whether the sign of multiplication may be omitted without ambiguity."""
        if piece[0].isdigit() or piece[0] in ".-" or before.op in ("inv", "neg", "/", "mixed"):
            return False
        return before.op in ("num", "dec") and (piece[0] in "(\\" or factor.op == "var")

    def _write_quotient(self, node: Node) -> str:
        top, bottom = node.args
        if self.latex:
            name = self._choose("\\frac", "\\dfrac", "\\tfrac")
            return f"{name}{{{self._render(top, 0)}}}{{{self._render(bottom, 0)}}}"
        return f"{self._render(top, 3)}/{self._render(bottom, 3)}"

    def _write_power(self, node: Node) -> str:
        base, exponent = node.args
        below = self._render(base, 5)
        if self.latex:
            return f"{below}^{{{self._render(exponent, 0)}}}"
        return f"{below}{self._choose('^', '**')}{self._render(exponent, 5)}"

    def _write_mixed(self, node: Node) -> str:
        whole, fraction = (self._render(arg, 0) for arg in node.args)
        return f"{whole}{fraction}" if self.latex else f"{whole} {fraction}"

    def _write_percent(self, node: Node) -> str:
        return self._render(node.args[0], 5) + ("\\%" if self.latex else "%")

    def _write_factorial(self, node: Node) -> str:
        return f"{self._render(node.args[0], 5)}!"

    def _write_pm(self, node: Node) -> str:
        before, term, sign = node.args
        zero = before == Node("num", (0,))
        return f"{'' if zero else self._render(before, 1)}\\{sign} {self._render(term, 2)}"

    def _write_relation(self, node: Node) -> str:
        operators, *sides = node.args
        text = self._render(sides[0], 1)
        for operator, side in zip(operators, sides[1:], strict=True):
            word = _RELATIONS.get(operator, operator) if self.latex else operator
            text += f" {word} {self._render(side, 1)}"
        return text

    def _items(self, nodes: tuple[Node, ...]) -> str:
        return self._choose(", ", ",").join(self._render(item, 0) for item in nodes)

    def _write_list(self, node: Node) -> str:
        return ", ".join(self._render(item, 0) for item in node.args)

    def _write_set(self, node: Node) -> str:
        inner = ", ".join(self._render(item, 0) for item in node.args)
        return f"\\{{{inner}\\}}" if self.latex else f"{{{inner}}}"

    def _write_sequence(self, node: Node) -> str:
        opening, closing, *items = node.args
        inner = ", ".join(self._render(item, 0) for item in items)
        return self._brackets(opening, inner, closing)

    def _write_union(self, node: Node) -> str:
        return (" \\cup " if self.latex else " U ").join(self._render(part, 0) for part in node.args)

    def _write_matrix(self, node: Node) -> str:
        if not self.latex:
            rows = [", ".join(self._render(cell, 0) for cell in row) for row in node.args]
            return f"[{', '.join(f'[{row}]' for row in rows)}]"
        name = self._choose("pmatrix", "bmatrix")
        rows = [" & ".join(self._render(cell, 0) for cell in row) for row in node.args]
        body = " \\\\ ".join(rows)
        return f"\\begin{{{name}}} {body} \\end{{{name}}}"


_WRITERS = {
    "+": "sum",
    "neg": "negative",
    "*": "product",
    "/": "quotient",
    "^": "power",
    "mixed": "mixed",
    "percent": "percent",
    "fact": "factorial",
    "pm": "pm",
    "rel": "relation",
    "list": "list",
    "set": "set",
    "seq": "sequence",
    "union": "union",
    "matrix": "matrix",
}


def _decimal(value: Fraction) -> str:
    """The finite decimal of a fraction whose denominator divides a power of ten."""
    digits = 0
    while value.denominator != 1 and digits < 60:
        value, digits = value * 10, digits + 1
    text = str(value.numerator).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}" if digits else f"{text}.0"
