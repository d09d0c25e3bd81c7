"""Tokens to a tree, by recursive descent. Nothing here computes: limits on size come first.

Grammar, loosest first: list (`,` `;` and or), relation chain, union, sum, product (explicit, `/` and
implicit, all of one strength and from the left), sign, power (from the right), postfix (`!` `%` degrees).
"""

from functools import lru_cache

from shuhari.rewards.commands import EMPTY, Commands
from shuhari.rewards.lexer import END, Token, tokenize
from shuhari.rewards.node import MAX_DEPTH, Node, TooLarge, Unparsable, number
from shuhari.rewards.stream import decimal, repeating

_RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "!="})
_CLOSERS = {"(": ")", "[": "]", "\\{": "\\}"}
_SEPARATORS = frozenset({",", ";"})
_STARTS_FACTOR = frozenset({"letter", "const", "fn"})
_STARTS_FACTOR_CMD = frozenset(
    {"frac", "binom", "sqrt", "int", "sum", "prod", "lim", "lfloor", "lceil", "begin"}
)


class _Parser(Commands):
    # -- lists and relations

    def everything(self) -> Node:
        node = self.items()
        if self.next is not END:
            raise Unparsable(f"unexpected {self.next.text}")
        return node

    def items(self) -> Node:
        found, separators = [self.item()], set()
        while separator := self.separator():
            found.append(self.item())
            separators.add(separator)
        if len(found) == 1:
            return found[0]
        bounds = all(item.op == "rel" and not {"=", "!="} & set(item.args[0]) for item in found)
        return Node("all" if bounds and "or" not in separators else "list", tuple(found))

    def separator(self) -> str:
        """The separator that stands here, taken; empty where there is none."""
        token = self.next
        if token.kind == "op" and token.text in _SEPARATORS:
            self.at += 1
            if self.next.kind == "text" and self.next.text in ("and", "or"):
                return self.take().text
            return token.text
        if token.kind == "text" and token.text in ("and", "or"):
            return self.take().text
        return ""

    def item(self) -> Node:
        if self.next.kind == "text":
            words = []
            while self.next.kind == "text" and self.next.text not in ("and", "or"):
                words.append(self.take().text)
            if not words:
                raise Unparsable("nothing stands before a separator")
            if self.accept("="):  # a name in words, as in Area = 12
                return Node("rel", (("=",), Node("var", (" ".join(words),)), self.unit(self.union())))
            return Node("text", (" ".join(words),))
        return self.relation()

    def relation(self) -> Node:
        sides, operators = [self.union()], []
        while self.next.kind == "op" and self.next.text in _RELATIONS:
            operators.append(self.take().text)
            sides.append(self.union())
        node = Node("rel", (tuple(operators), *sides)) if operators else sides[0]
        if self.accept("in"):
            if node.op != "var":
                raise Unparsable("only a name can lie in a set")
            return self.union()
        return self.unit(node)

    def unit(self, node: Node) -> Node:
        """A trailing unit, such as `\\text{ cm}^2` or `dollars`."""
        words = []
        while self.next.kind == "text" and self.next.text not in ("and", "or"):
            words.append(self.take().text)
            if self.accept("^"):
                words.append(f"^{self.group_text()}")
            if self.peek("/") and self.tokens[self.at + 1].kind in ("text", "letter"):
                self.at += 1
                words.append(f"/{self.take().text}")
        return Node("unit", (node, " ".join(words))) if words else node

    def union(self) -> Node:
        first = self.sum()
        parts = [first]
        while self.accept("cup") or self._union_letter(first):
            parts.append(self.sum())
        return parts[0] if len(parts) == 1 else Node("union", tuple(parts))

    def _union_letter(self, first: Node) -> bool:
        """`U` between intervals."""
        if first.op in ("seq", "set") and self.next == ("letter", "U"):
            self.at += 1
            return True
        return False

    # -- arithmetic

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        terms: list[Node] = []
        sign = ""
        if self.next.kind == "op" and self.next.text in ("+", "-", "\\pm", "\\mp"):
            sign = self.take().text
        while True:
            term = self.product()
            if sign.startswith("\\"):
                before = Node("+", tuple(terms)) if len(terms) > 1 else terms[0] if terms else number(0)
                rest = []
                while self.next.kind == "op" and self.next.text in ("+", "-"):
                    minus = self.take().text == "-"
                    part = self.product()
                    rest.append(Node("neg", (part,)) if minus else part)
                if rest:
                    before = Node("+", (before, *rest))
                terms = [Node("pm", (before, term, sign[1:]))]
            else:
                terms.append(Node("neg", (term,)) if sign == "-" else term)
            if not (self.next.kind == "op" and self.next.text in ("+", "-", "\\pm", "\\mp")):
                break
            sign = self.take().text
            if terms[0].op == "pm":
                raise Unparsable("more than one plus-minus")
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Node("+", tuple(terms))

    def product(self) -> Node:
        factors = [self.signed()]
        while True:
            token = self.next
            if token.kind == "op" and token.text in ("*", "/", ":"):
                self.at += 1
                if token.text == ":" and len(factors) > 1:
                    raise Unparsable("a ratio has two parts")
                factor = self.signed()
                factors.append(factor if token.text == "*" else Node("inv", (factor,)))
            elif self.starts_factor(token):
                factors.append(self.power())
            else:
                break
        if len(factors) == 1:
            return factors[0]
        if len(factors) == 2 and factors[1].op == "inv":
            return Node("/", (factors[0], factors[1].args[0]))
        return Node("*", tuple(factors))

    def starts_factor(self, token: Token) -> bool:
        """Whether an implicit multiplication goes on here."""
        kind, text = token
        if kind == "op":
            return text == "(" or (text == "|" and not self.bars) or (text == "[" and self.at > 0)
        if self.integrals and text == "d" and self.tokens[self.at + 1].kind == "letter":
            return False
        if kind == "letter" and text == "U" and self.tokens[self.at - 1].text in (")", "]", "}", "\\}"):
            return False
        if kind == "num":  # as in n2^n and 5!5!
            return self.at > 0 and self.tokens[self.at - 1].kind not in ("num", "rep", "text")
        return kind in _STARTS_FACTOR or (kind == "cmd" and text in _STARTS_FACTOR_CMD)

    def signed(self) -> Node:
        negative = False
        while self.next.kind == "op" and self.next.text in ("+", "-"):
            negative ^= self.take().text == "-"
        node = self.power()
        return Node("neg", (node,)) if negative else node

    def power(self) -> Node:
        base = self.postfix()
        if self.accept("^"):
            if self.accept("circ"):
                return Node("deg", (base,))
            if self.peek("{") and self.tokens[self.at + 1].text == "circ":
                self.at += 2
                self.expect("}")
                return Node("deg", (base,))
            base = Node("^", (base, self.exponent()))
            if self.accept("!"):
                base = Node("fact", (base,))
        return base

    def exponent(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        if self.next.kind == "num":
            node = self.bare()
            if self.accept("!"):
                node = Node("fact", (node,))
            if self.accept("^"):
                node = Node("^", (node, self.exponent()))
        else:
            node = self.signed()
        self.depth -= 1
        return node

    def postfix(self) -> Node:
        node = self.atom()
        while self.next.kind in ("op", "cmd"):
            if self.accept("!"):
                if self.peek("!"):
                    raise Unparsable("a double factorial is not known here")
                node = Node("fact", (node,))
            elif self.accept("%"):
                node = Node("percent", (node,))
            elif self.accept("circ"):
                node = Node("deg", (node,))
            else:
                break
        return node

    # -- atoms

    def atom(self) -> Node:
        token = self.take()
        kind, text = token
        if kind == "num":
            return self.numeral(decimal(text))
        if kind == "rep":
            return repeating(text)
        if kind == "letter":
            return Node("var", (self.subscripted(text),))
        if kind == "const":
            return Node("var", (text,)) if text in self.bound else Node("const", (text,))
        if kind == "fn":
            return self.function(text)
        if kind == "op":
            if text in ("(", "[", "\\{"):
                return self.bracket(text)
            if text == "{":
                return self.braces()
            if text == "|":
                return self.bar()
        if kind == "cmd":
            return self.command(text)
        raise Unparsable(f"unexpected {text or 'end'}")

    def numeral(self, node: Node) -> Node:
        """A literal, with what may follow it: a base, or the fraction of a mixed number."""
        if self.accept("_"):
            base = self.group_text()
            if node.op != "num" or not base.isdigit() or not 2 <= int(base[:3]) <= 36:
                raise Unparsable("a base is a number from 2 to 36")
            try:
                return Node("num", (int(str(node.args[0]), int(base)),))
            except ValueError:
                raise Unparsable("a digit is not below its base") from None
        if node.op != "num":
            return node
        if self.peek("frac") and (found := self.plain_fraction()):
            return Node("mixed", (node, found))
        slash = self.tokens[self.at : self.at + 3]
        if [t.kind for t in slash] == ["num", "op", "num"] and slash[1].text == "/":
            top, bottom = decimal(slash[0].text), decimal(slash[2].text)
            if top.op == bottom.op == "num":
                self.at += 3
                return Node("mixed", (node, Node("/", (top, bottom))))
        return node

    def plain_fraction(self) -> Node | None:
        """A `\\frac` of two whole numbers, if that is what stands here; nothing is taken otherwise."""
        ahead = [t.text for t in self.tokens[self.at + 1 : self.at + 7]]
        if len(ahead) == 6 and ahead[0] == ahead[3] == "{" and ahead[2] == ahead[5] == "}":
            top, bottom, length = ahead[1], ahead[4], 7
        elif ahead and ahead[0].isdigit() and len(ahead[0]) == 2:
            top, bottom, length = ahead[0][0], ahead[0][1], 2
        else:
            return None
        if not (top.isdigit() and bottom.isdigit()):
            return None
        self.at += length
        return Node("/", (decimal(top), decimal(bottom)))

    def subscripted(self, name: str) -> str:
        while self.accept("'"):
            name += "'"
        if self.accept("_"):
            if self.accept("{"):
                parts = []
                while not self.peek("}"):
                    if self.next is END:
                        raise Unparsable("a subscript is never closed")
                    parts.append(self.take().text)
                self.at += 1
                return f"{name}_{''.join(parts)}"
            return f"{name}_{self.take().text}"
        return name

    def bracket(self, opening: str) -> Node:
        bars, self.bars = self.bars, 0
        integrals, self.integrals = self.integrals, 0
        before = self.tokens[self.at - 2].text if self.at > 1 else ""
        if opening == "\\{":
            node = self.set()
        else:
            items = [self.union_or_infinity()]
            while self.next.kind == "op" and self.next.text in _SEPARATORS:
                self.at += 1
                items.append(self.union_or_infinity())
            closing = self.take().text
            if closing not in (")", "]"):
                raise Unparsable(f"expected {_CLOSERS[opening]} and found {closing or 'the end'}")
            if len(items) == 1:
                if closing != _CLOSERS[opening]:
                    raise Unparsable(f"{opening} is closed by {closing}")
                node = items[0]
                if node.op == "rel":
                    raise Unparsable("a relation within brackets")
                if opening == "[" and before in ("[", ",") and self.next.text in (",", "]"):
                    node = Node("seq", ("[", "]", node))  # a row of a matrix, as in [[1], [2]]
            else:
                node = Node("seq", (opening, closing, *items))
        self.bars, self.integrals = bars, integrals
        return node

    def union_or_infinity(self) -> Node:
        return self.union()

    def set(self) -> Node:
        if self.accept("\\}"):
            return EMPTY
        # Set-builder notation says what its condition says.
        if self.next.kind == "letter" and self.tokens[self.at + 1] in (("op", "|"), ("op", ":")):
            self.at += 2
            node = self.relation()
            if node.op != "rel":
                raise Unparsable("a condition is a relation")
            self.expect("\\}")
            return node
        items = [self.item()]
        while self.next.kind == "op" and self.next.text in _SEPARATORS:
            self.at += 1
            items.append(self.item())
        self.expect("\\}")
        return Node("set", tuple(items))

    def braces(self) -> Node:
        """A LaTeX group; with commas, or empty, a set in plain text."""
        if self.accept("}"):
            return EMPTY
        bars, self.bars = self.bars, 0
        integrals, self.integrals = self.integrals, 0
        node = self.items()
        if self.accept("choose"):
            node = Node("binom", (node, self.items()))
        self.expect("}")
        self.bars, self.integrals = bars, integrals
        return Node("set", node.args) if node.op == "list" else node

    def bar(self) -> Node:
        self.bars += 1
        node = self.sum()
        self.bars -= 1
        self.expect("|")
        return Node("abs", (node,))


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The tree of `text`. Raises Unparsable, or TooLarge where a limit is exceeded."""
    tokens = tokenize(text)
    if tokens[0] is END:
        raise Unparsable("empty")
    return _Parser(tokens).everything()
