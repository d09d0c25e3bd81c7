"""Parse names: letters with subscripts and primes, function letters, segments and angles.

A subscript that contains arithmetic, or the index of a sum, is computed: `a_{n+1}` is `a_{1+n}`. Any other
subscript is part of the name.
"""

from shuhari.rewards.math.node import STRUCTURES, Node, Unparsable, operators
from shuhari.rewards.math.parse_commands import CommandParser
from shuhari.rewards.math.vocabulary import END, Token

# Letters that are functions before a bracket. `f(2)` may also be a product, so a verdict must hold in both
# readings.
FUNCTION_LETTERS = frozenset("f g h F G H P".split()) | {"phi", "varphi", "Phi", "psi", "Psi"}
# Greek letters that are a known function before a bracket.
NAMED = {"Gamma": "gamma", "zeta": "zeta"}
_BEHIND = frozenset("'_{^([")  # what may follow a letter and belong to its name
_ARITHMETIC = frozenset("+-*/^")


def _joined(tokens: list[Token]) -> str:
    """The tokens as text, without braces."""
    return "".join(token.text for token in tokens if token not in (("op", "{"), ("op", "}")))


class NameParser(CommandParser):
    """Parses names. `functions`: whether a function letter before a bracket is a call or a factor."""

    functions = True
    start = 0  # where the present relation begins

    def name(self, letter: str) -> Node:
        """The name that begins with `letter`, applied to its arguments if it has any."""
        kind, text = self.next
        if kind != "op" or text not in _BEHIND:
            return Node("var", (letter,))
        while self.accept("'"):
            letter += "'"
        node = self.subscripted(letter) if self.accept("_") else Node("var", (letter,))
        while self.accept("'"):
            node = Node("var", (f"{node.args[0]}'",)) if node.op == "var" else node
        return self.called(node, letter)

    def subscripted(self, letter: str) -> Node:
        """After the `_`: a longer name, or a `sub` node of the letter and its computed subscripts."""
        if not self.accept("{"):
            token = self.take()
            return self.indexed(letter, [token])
        depth, inside = 1, []
        while depth:
            token = self.take()
            if token is END:
                raise Unparsable("a subscript is never closed")
            depth += (token == ("op", "{")) - (token == ("op", "}"))
            inside.append(token)
        return self.indexed(letter, inside[:-1])

    def indexed(self, letter: str, inside: list[Token]) -> Node:
        parts = [Token("letter", t.text) if t.text in ("i", "e") else t for t in inside]  # not constants here
        kinds = {token.kind for token in parts}
        computed = any(token.kind == "op" and token.text in _ARITHMETIC for token in parts)
        computed |= any(token.text in self.bound for token in parts)
        # `a_{2n}` is computed; `v_{0x}` and `T_{1A}` are names.
        computed |= (
            [t.kind for t in parts] == ["num", "letter"]
            and parts[0].text[0] != "0"
            and parts[1].text.islower()
        )
        if computed and kinds <= {"num", "letter", "op"}:
            # Adjacent letters are several indices, such as the i and j of a matrix element.
            apart = kinds == {"letter"} or (kinds <= {"letter", "op"} and "," in [t.text for t in parts])
            groups: list[list[Token]] = [[]]
            for token in parts:
                if token.text == ",":
                    groups.append([])
                    continue
                if apart and groups[-1] and groups[-1][-1].kind == token.kind == "letter":
                    groups.append([])
                groups[-1].append(token)
            try:
                return Node("sub", (letter, *(self.fresh(group) for group in groups)))
            except Unparsable:
                pass
        return Node("var", (f"{letter}_{_joined(inside)}",))

    def fresh(self, tokens: list[Token]) -> Node:
        """The tree of these tokens alone."""
        parser = type(self)([*tokens, END])
        parser.bound = self.bound
        node = parser.sum()
        if parser.next is not END:
            raise Unparsable("not one expression")
        return node

    def called(self, node: Node, letter: str) -> Node:
        """A call such as `f(x)`, `f'(x)`, `f_1(x)` or `f^{-1}(x)`; or the node itself if there is none."""
        if self.peek("{"):
            self.unbrace()
        inverse = self.inverse_mark() if self.peek("^") else 0
        if inverse:
            node = Node("var", (f"{node.args[0]}^-1",))
        if node.op != "var" or not (self.next == ("op", "(") or (self.next == ("op", "[") and inverse)):
            if inverse:
                self.at -= inverse
                return Node("var", (letter,)) if node.op == "var" else node
            return node
        inside = self.inside()
        base = letter.rstrip("'")
        if letter in NAMED and inside is not None:
            return Node(NAMED[letter], self.arguments(letter))
        if inside is None:
            return node
        listed = base in FUNCTION_LETTERS
        several = Token("op", ",") in inside and not any(t.text in ("(", "[", "{") for t in inside)
        only = several or letter != base or bool(inverse)
        single = len(inside) == 1 and inside[0].kind in ("num", "letter")
        defined = self.at_start_of_relation() and self.tokens[self.at + len(inside) + 2] == ("op", "=")
        if not (only or defined or (self.functions and (listed or single))):
            return node
        name = node.args[0]
        if several and name == "C":
            return Node("binom", self.arguments(name))
        start = self.at
        try:
            given = self.arguments(name)
            if base != "P" or not any(operators(node) & STRUCTURES for node in given):
                return Node("call", (name, *given))
        except Unparsable:
            if base != "P":
                raise
        # Events, as in P(A|B) or P(X = 2), are the same if they are written alike.
        self.at = start + len(inside) + 2
        return Node("call", (name, Node("var", (_joined(inside),))))

    def unbrace(self) -> None:
        """Read `f{(x)}`, as sympy writes it, as `f(x)`."""
        if self.tokens[self.at : self.at + 2] == [("op", "{"), ("op", "(")]:
            self.at += 1
            inside = self.inside()
            self.at -= 1
            end = self.at + 3 + len(inside or ())
            if inside is not None and self.tokens[end : end + 1] == [("op", "}")]:
                del self.tokens[end], self.tokens[self.at]

    def inverse_mark(self) -> int:
        """Pass `^{-1}` between a function letter and a bracket; the number of its tokens, or 0."""
        for mark in (("^", "{", "-", "1", "}"), ("^", "-", "1")):
            ahead = tuple(token.text for token in self.tokens[self.at : self.at + len(mark) + 1])
            letter = self.tokens[self.at - 1].text
            if ahead == (*mark, "(") and letter in FUNCTION_LETTERS:
                self.at += len(mark)
                return len(mark)
        return 0

    def inside(self) -> list[Token] | None:
        """The tokens inside the bracket that opens here; None if it is never closed."""
        depth = 0
        for end in range(self.at, len(self.tokens)):
            text = self.tokens[end].text if self.tokens[end].kind == "op" else ""
            depth += (text in ("(", "[")) - (text in (")", "]"))
            if depth == 0:
                return self.tokens[self.at + 1 : end]
        return None

    def at_start_of_relation(self) -> bool:
        """Whether the relation begins with this name, as in `V(r) = ...`."""
        return all(
            token.kind == "letter" or token.text in "_{}'^-1" for token in self.tokens[self.start : self.at]
        ) and (sum(token.kind == "letter" for token in self.tokens[self.start : self.at]) <= 2)

    def figure(self, command: str) -> Node:
        """`\\angle ABC`, `\\overline{AB}`, `\\vec v`: a name in letters."""
        letters: list[str] = []
        if self.accept("{"):
            while not self.accept("}"):
                token = self.take()
                if token is END or token.kind == "op":
                    raise Unparsable(f"\\{command} is over a name in letters")
                letters.append(token.text)
        else:
            while self.next.kind in ("letter", "const") and (not letters or letters[-1].isupper()):
                letters.append(self.take().text)
        if not letters:
            raise Unparsable(f"\\{command} needs a name")
        name = f"{command} {''.join(letters)}"
        return self.subscripted(name) if self.accept("_") else Node("var", (name,))
