"""Functions and LaTeX commands: what is written in front of its arguments."""

from shuhari.rewards.lexer import Token
from shuhari.rewards.node import Node, Unparsable, number
from shuhari.rewards.stream import Stream, decimal

INFINITY = Node("inf", ())
EMPTY = Node("set", ())


class Commands(Stream):
    """Parses commands; the grammar between them is the parser's."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.depth = 0
        self.bars = 0  # absolute values open at this bracket level
        self.integrals = 0
        self.bound: list[str] = []  # letters that name an index, such as the i of a sum

    # -- what the parser does

    def sum(self) -> Node:
        raise NotImplementedError

    def product(self) -> Node:
        raise NotImplementedError

    def signed(self) -> Node:
        raise NotImplementedError

    def power(self) -> Node:
        raise NotImplementedError

    def atom(self) -> Node:
        raise NotImplementedError

    def starts_factor(self, token: Token) -> bool:
        raise NotImplementedError

    # -- arguments

    def group_text(self) -> str:
        if self.accept("{"):
            text = self.take().text
            self.expect("}")
            return text
        return self.take().text

    def bare(self) -> Node:
        """A literal that no fraction behind it turns into a mixed number, or an atom."""
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
        return self.atom()

    def function(self, name: str) -> Node:
        power: Node | None = None
        base: Node | None = None
        for _ in range(2):
            if self.accept("^"):
                power = self.exponent_group()
            elif name == "log" and self.accept("_"):
                base = self.bare()
        node = self._applied(name, self.arguments(name))
        if base is not None:
            node = Node("/", (Node("ln", node.args), Node("ln", (base,))))
        if power == Node("neg", (number(1),)) and f"arc{name}" in ("arcsin", "arccos", "arctan"):
            return Node(f"arc{name}", node.args)
        if power == Node("neg", (number(1),)) and name in ("cot", "sec", "csc"):
            raise Unparsable(f"the inverse of {name} is not known here")
        return node if power is None else Node("^", (node, power))

    def exponent_group(self) -> Node:
        return self.atom() if self.peek("{") or self.peek("(") else self.signed_atom()

    def signed_atom(self) -> Node:
        negative = self.accept("-")
        node = self.atom()
        return Node("neg", (node,)) if negative else node

    def arguments(self, name: str) -> tuple[Node, ...]:
        if self.peek("(") or self.peek("[") or self.peek("{"):
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
            return Node("sqrt", (body,)) if index is None else Node("root", (body, index))
        if name == "infty":
            return INFINITY
        if name == "emptyset":
            return EMPTY
        if name == "R":
            return Node("seq", ("(", ")", Node("neg", (INFINITY,)), INFINITY))
        if name in ("lfloor", "lceil"):
            node = self.sum()
            self.expect(f"r{name[1:]}")
            return Node(name[1:], (node,))
        if name == "begin":
            return self.matrix()
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
        top = self.tex_argument()
        if ahead[:2] == operator[:2] and Token("letter", "d") in ahead[4:]:
            raise Unparsable("a derivative needs its operand behind it")
        return Node("/", (top, self.tex_argument()))

    def operand(self) -> Node:
        """What an operator such as a sum or a derivative acts on: the product that follows."""
        return self.product()

    def matrix(self) -> Node:
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while not self.accept("endmatrix"):
            row.append(self.sum())
            if self.accept("&"):
                continue
            rows.append(tuple(row))
            row = []
            if not self.accept("\\\\") and not self.peek("endmatrix"):
                raise Unparsable("a matrix row ends in \\\\")
        if not rows or len({len(r) for r in rows}) != 1:
            raise Unparsable("a matrix needs rows of one length")
        return Node("matrix", tuple(rows))

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
        index = self.index()
        self.expect("=")
        low = self.sum()
        self.expect("}")
        self.expect("^")
        high = self.tex_argument()
        self.bound.append(index)
        body = self.operand()
        self.bound.pop()
        return Node(name, (Node("var", (index,)), low, high, body))

    def limit(self) -> Node:
        index = self.index()
        self.expect("to")
        side = ""
        for at in range(self.at, min(self.at + 8, len(self.tokens) - 2)):
            first, sign, last = (token.text for token in self.tokens[at : at + 3])
            if first == "^" and sign in ("+", "-") and last == "}":
                side = sign
                del self.tokens[at : at + 2]
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
        body = self.sum()
        self.integrals -= 1
        if self.take() != ("letter", "d") or self.next.kind != "letter":
            raise Unparsable("an integral ends in d and its variable")
        variable = Node("var", (self.take().text,))
        bounds = (low, high) if low is not None and high is not None else ()
        return Node("int", (body, variable, *bounds))
