"""Parse functions and LaTeX commands: names that are followed by their arguments."""

from shuhari.rewards.math.node import Node, Unparsable, number
from shuhari.rewards.math.sets import EMPTY, INFINITY, REALS
from shuhari.rewards.math.token_stream import TokenStream, decimal
from shuhari.rewards.math.vocabulary import FIGURES, Token

_FIGURES = frozenset(FIGURES.values())
# The inverse functions, which a power of -1 denotes.
_INVERSES = {name: f"arc{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc")} | {
    name: f"ar{name}" for name in ("sinh", "cosh", "tanh", "coth", "sech", "csch")
}


class CommandParser(TokenStream):
    """Parses functions and commands. Subclasses parse the arithmetic, names and statements around them."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.depth = 0
        self.bars = 0  # open absolute values within the present brackets
        self.integrals = 0
        self.differential = ""  # the variable of a differential found in a numerator
        self.bound: list[str] = []  # indices of the surrounding sums, such as i

    def sum(self) -> Node:
        raise NotImplementedError

    def product(self) -> Node:
        raise NotImplementedError

    def signed(self) -> Node:
        raise NotImplementedError

    def power(self) -> Node:
        raise NotImplementedError

    def item(self) -> Node:
        raise NotImplementedError

    def figure(self, command: str) -> Node:
        raise NotImplementedError

    def atom(self) -> Node:
        raise NotImplementedError

    def starts_factor(self, token: Token) -> bool:
        raise NotImplementedError

    def group_text(self) -> str:
        if self.accept("{"):
            text = self.take().text
            self.expect("}")
            return text
        return self.take().text

    def literal_or_atom(self) -> Node:
        """A number literal, never the whole part of a mixed number; or else an atom."""
        return decimal(self.take().text) if self.next.kind == "num" else self.atom()

    def tex_argument(self) -> Node:
        """The argument of a LaTeX command: a group, or a single digit or letter."""
        if self.accept("{"):
            self.at -= 1
            return self.atom()
        token = self.next
        if token.kind == "num" and len(token.text) > 1:
            if not token.text.isdigit():
                raise Unparsable("an argument without braces is one digit")
            self.tokens[self.at] = Token("num", token.text[1:])
            return Node("num", (int(token.text[0]),))
        if token.kind == "num":
            return decimal(self.take().text)
        if token.kind == "letter":  # a subscript after it belongs to the command
            return Node("var", (self.take().text,))
        return self.atom()

    def function(self, name: str) -> Node:
        power: Node | None = None
        base: Node | None = None
        for _ in range(2):
            if self.accept("^"):
                power = self.exponent_group()
            elif name == "log" and self.accept("_"):
                many = self.next.kind == "num" and len(self.next.text) > 1
                # `\\log_28` is the logarithm of 8 to base 2 if no other argument follows.
                base = (
                    self.tex_argument()
                    if many and self.tokens[self.at + 1].kind == "end"
                    else self.literal_or_atom()
                )
        node = self._applied(name, self.arguments(name))
        if base is not None:
            node = Node("/", (Node("ln", node.args), Node("ln", (base,))))
        if power == Node("neg", (number(1),)) and name in _INVERSES:
            return Node(_INVERSES[name], node.args)
        return node if power is None else Node("^", (node, power))

    def exponent_group(self) -> Node:
        return self.atom() if self.peek("{") or self.peek("(") else self.signed_atom()

    def signed_atom(self) -> Node:
        negative = self.accept("-")
        node = self.atom()
        return Node("neg", (node,)) if negative else node

    def arguments(self, name: str) -> tuple[Node, ...]:
        if self.peek("(") or self.peek("[") or self.peek("{") or self.peek("\\{"):
            node = self.atom()
            if node.op == "seq" and node.args[:2] == ("(", ")"):
                return tuple(node.args[2:])
            if node.op == "set":
                return node.args
            return (node,)
        factors = [self.signed()]
        while self.starts_factor(self.next) and self.next.kind != "fn" and not self.peek("("):
            factors.append(self.power())
        return (factors[0] if len(factors) == 1 else Node("*", tuple(factors)),)

    def _applied(self, name: str, args: tuple[Node, ...]) -> Node:
        wants = {"binom": (2, 2), "gcd": (2, 9), "lcm": (2, 9), "min": (1, 9), "max": (1, 9), "log": (1, 2)}
        least, most = wants.get(name, (1, 1))
        if not least <= len(args) <= most:
            raise Unparsable(f"{name} does not take {len(args)} arguments")
        if name == "log":
            ln = Node("ln", args[:1])
            return Node("/", (ln, Node("ln", args[1:]))) if len(args) == 2 else ln
        if name == "lg":
            return Node("/", (Node("ln", args), Node("ln", (number(10),))))
        if name == "factorial":
            return Node("fact", args)
        if name == "cbrt":
            return Node("root", (args[0], number(3)))
        return Node(name, args)

    def command(self, name: str) -> Node:
        if name == "frac":
            return self.fraction()
        if name == "binom":
            return Node("binom", (self.tex_argument(), self.tex_argument()))
        if name == "sqrt":
            index: Node | None = None
            if self.accept("["):
                index = self.sum()
                self.expect("]")
            body = self.atom()
            if index is None:
                return Node("sqrt", (body,))
            known = index.op == "num"
            return Node("root", (body, index)) if known else Node("^", (body, Node("/", (number(1), index))))
        if name == "infty":
            return INFINITY
        if name == "emptyset":
            return EMPTY
        if name == "R":
            return REALS
        if name in ("lfloor", "lceil"):
            node = self.sum()
            self.expect(f"r{name[1:]}")
            return Node(name[1:], (node,))
        if name == "matrix":
            return self.matrix()
        if name == "vmatrix":
            return determinant(self.matrix("endvmatrix").args)
        if name == "cases":
            return self.cases()
        if name in _FIGURES:
            return self.figure(name)
        if name in ("sum", "prod"):
            return self.series(name)
        if name == "int":
            return self.integral()
        if name == "lim":
            return self.limit()
        raise Unparsable(f"unexpected {name}")

    def fraction(self) -> Node:
        d = Token("letter", "d")
        ahead = self.tokens[self.at : self.at + 7]
        operator = [Token("op", "{"), d, Token("op", "}"), Token("op", "{"), d]
        if ahead[:5] == operator and ahead[5].kind == "letter" and ahead[6] == ("op", "}"):
            variable = Node("var", (ahead[5].text,))
            self.at += 7
            return Node("diff", (self.operand(), variable))
        if self.integrals and self.peek("{"):
            self.lift_differential()
        top = self.tex_argument()
        if ahead[:2] == operator[:2] and Token("letter", "d") in ahead[4:]:
            raise Unparsable("a derivative needs its operand after it")
        return Node("/", (top, self.tex_argument()))

    def lift_differential(self) -> None:
        """Remove `dx` from the end of the numerator that opens here. If nothing else is in it, 1 is left."""
        depth = 0
        for at in range(self.at, len(self.tokens)):
            text = self.tokens[at].text
            depth += (text == "{") - (text == "}")
            if depth == 0:
                break
        last, d = self.tokens[at - 1], self.tokens[at - 2]
        if d == ("letter", "d") and last.kind == "letter":
            self.differential = last.text
            self.tokens[at - 2 : at] = [Token("num", "1")] if at - 3 == self.at else []

    def operand(self) -> Node:
        """The operand of a sum, derivative or limit: the product that follows."""
        return self.product()

    def matrix(self, end: str = "endmatrix") -> Node:
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while not self.accept(end):
            row.append(self.sum())
            if self.accept("&"):
                continue
            rows.append(tuple(row))
            row = []
            if not self.accept("\\\\") and not self.peek(end):
                raise Unparsable("a matrix row ends in \\\\")
        if not rows or len({len(r) for r in rows}) != 1:
            raise Unparsable("a matrix needs rows of one length")
        return Node("matrix", tuple(rows))

    def cases(self) -> Node:
        """A system of relations, or values with their conditions."""
        rows: list[tuple[Node, ...]] = []
        while not self.accept("endcases"):
            value = self.item()
            self.separated()
            if self.accept("&"):
                if self.next.kind == "text" and self.next.text.casefold() in ("if", "for", "when"):
                    self.take()
                rows.append((value, self.item()))
                self.separated()
            else:
                rows.append((value,))
            if not self.accept("\\\\") and not self.peek("endcases"):
                raise Unparsable("a case ends in \\\\")
        if rows and all(len(row) == 1 for row in rows):
            return Node("list", tuple(row[0] for row in rows))
        if not rows or any(len(row) == 1 for row in rows):
            raise Unparsable("a case has a value and its condition")
        return Node("cases", tuple(rows))

    def separated(self) -> None:
        """Pass a separator at the end of a cell."""
        _ = self.accept(",") or self.accept(";")

    def bounds(self) -> tuple[Node | None, Node | None]:
        low = high = None
        for _ in range(2):
            if self.accept("_"):
                low = self.tex_argument() if not self.peek("-") else self.signed_atom()
            elif self.accept("^"):
                high = self.tex_argument() if not self.peek("-") else self.signed_atom()
        return low, high

    def index(self) -> str:
        self.expect("_")
        self.expect("{")
        token = self.take()
        if token.kind not in ("letter", "const"):
            raise Unparsable("an index is a letter")
        return token.text

    def series(self, name: str) -> Node:
        high = self.tex_argument() if self.accept("^") else None
        index = self.index()
        self.expect("=")
        low = self.sum()
        self.expect("}")
        if high is None:
            self.expect("^")
            high = self.tex_argument()
        self.bound.append(index)
        body = self.operand()
        self.bound.pop()
        return Node(name, (Node("var", (index,)), low, high, body))

    def limit(self) -> Node:
        index = self.index()
        side = ""
        if self.accept("down"):
            side = "+"
        elif self.accept("up"):
            side = "-"
        else:
            self.expect("to")
        # A one-sided limit has a sign at the end of its group: `0^+`, `0^{+}` or `0+`.
        for at in range(self.at + 1, min(self.at + 9, len(self.tokens) - 2)):
            mark = [token.text for token in self.tokens[at : at + 5]]
            for pattern in (
                ["^", "{", "+", "}", "}"],
                ["^", "{", "-", "}", "}"],
                ["^", "+", "}"],
                ["^", "-", "}"],
            ):
                if mark[: len(pattern)] == pattern:
                    side = "+" if "+" in pattern else "-"
                    del self.tokens[at : at + len(pattern) - 1]
            if not side and mark[0] in ("+", "-") and mark[1] == "}":
                side = mark[0]
                del self.tokens[at]
            if side or mark[0] == "}":
                break
        point = self.sum()
        self.expect("}")
        self.bound.append(index)
        body = self.operand()
        self.bound.pop()
        return Node("lim", (Node("var", (index,)), point, side, body))

    def integral(self) -> Node:
        low, high = self.bounds()
        if (low is None) != (high is None):
            raise Unparsable("an integral has both bounds or none")
        self.integrals += 1
        self.differential = ""
        empty = self.next == ("letter", "d") and self.tokens[self.at + 1].kind == "letter"
        body = number(1) if empty else self.sum()
        self.integrals -= 1
        name = self.differential  # the one in a fraction such as \\frac{dx}{x}
        self.differential = ""
        if not name:
            if self.take() != ("letter", "d") or self.next.kind != "letter":
                raise Unparsable("an integral ends in d and its variable")
            name = self.take().text
        bounds = (low, high) if low is not None and high is not None else ()
        return Node("int", (body, Node("var", (name,)), *bounds))


def determinant(rows: tuple[tuple[Node, ...], ...]) -> Node:
    """The determinant, expanded along the first row."""
    if len(rows) != len(rows[0]) or len(rows) > 4:
        raise Unparsable("a determinant is of a square matrix of up to four rows")
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for at, factor in enumerate(rows[0]):
        minor = determinant(tuple((*row[:at], *row[at + 1 :]) for row in rows[1:]))
        term = Node("*", (factor, minor))
        terms.append(Node("neg", (term,)) if at % 2 else term)
    return Node("+", tuple(terms))
