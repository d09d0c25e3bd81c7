"""Tokens to a tree, by recursive descent. The parser computes nothing, and it limits the depth first.

Grammar, loosest first: list (`,` `;` and or), relation chain, union, sum, product (explicit, `/` and
implicit, all of one strength and from the left), sign, power (from the right), postfix (`!` `%` degrees).
"""

from functools import lru_cache
from itertools import pairwise

from shuhari.rewards.math.lexer import GLUED, METRES, tokenize
from shuhari.rewards.math.node import MAX_DEPTH, Node, TooLarge, Unparsable, number
from shuhari.rewards.math.normalize_text import usual_latex
from shuhari.rewards.math.parse_commands import determinant
from shuhari.rewards.math.parse_statements import SEPARATORS, StatementParser
from shuhari.rewards.math.sets import EMPTY
from shuhari.rewards.math.token_stream import decimal, repeating
from shuhari.rewards.math.units import UNITS
from shuhari.rewards.math.vocabulary import END, FIGURES, Token

_NUMERIC = frozenset("+-0123456789")
_CLOSERS = {"(": ")", "[": "]", "\\{": "\\}"}
_STARTS_FACTOR = frozenset({"letter", "const", "fn"})
_STARTS_FACTOR_CMD = frozenset(
    "frac binom sqrt int sum prod lim lfloor lceil matrix vmatrix".split()
) | frozenset(FIGURES.values())


class _Parser(StatementParser):
    def everything(self) -> Node:
        node = self.over(self.items())
        if self.next is not END:
            raise Unparsable(f"unexpected {self.next.text}")
        return node

    def over(self, node: Node) -> Node:
        """TeX's `\\over` and `\\choose`: all of the group before them, and all of it after them."""
        if self.peek("choose") or self.peek("over"):
            return Node("binom" if self.take().text == "choose" else "/", (node, self.items()))
        return node

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
                before = _sum_of(terms) if terms else number(0)
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
            if term.op in ("seq", "set") and self.peek("-") and len(terms) == 1:
                break  # a difference of sets
            sign = self.take().text
            if terms[0].op == "pm":
                raise Unparsable("more than one plus-minus")
        self.depth -= 1
        return _sum_of(terms)

    def product(self) -> Node:
        """A product or a ratio. A ratio of two is a quotient, of more it is the quotients of neighbours."""
        first = self.factors()
        if not self.peek(":"):
            return first
        terms = [first]
        while self.accept(":"):
            terms.append(self.factors())
        quotients = [Node("/", pair) for pair in pairwise(terms)]
        return quotients[0] if len(quotients) == 1 else Node("seq", (":", ":", *quotients))

    def factors(self) -> Node:
        factors = [self.signed()]
        while True:
            token = self.next
            if token.kind == "op" and token.text in ("*", "/"):
                self.at += 1
                factor = self.signed()
                factors.append(factor if token.text == "*" else Node("inv", (factor,)))
            elif token.kind == "cmd" and token.text == "mod" and self.tokens[self.at - 1] != ("op", "("):
                self.at += 1
                whole = factors[0] if len(factors) == 1 else Node("*", tuple(factors))
                factors = [Node("mod", (whole, self.signed()))]
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
        """Whether the token is a factor of an implicit product."""
        kind, text = token
        if kind == "op":
            group = text == "{" and self.at > 0 and self.tokens[self.at - 1].kind in ("num", "letter")
            return text == "(" or (text == "|" and not self.bars) or (text == "[" and self.at > 0) or group
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
                return self.degrees(base)
            if self.peek("{") and self.tokens[self.at + 1].text == "circ":
                self.at += 2
                self.expect("}")
                return self.degrees(base)
            base = Node("^", (base, self.exponent()))
            if self.accept("!"):
                base = Node("fact", (base,))
        return base

    def exponent(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLarge(f"nested deeper than {MAX_DEPTH}")
        if self.next.kind == "num":
            node = self.literal_or_atom()
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
                    raise Unparsable("a double factorial is not known")
                node = Node("fact", (node,))
            elif self.accept("%"):
                node = Node("percent", (node,))
            elif self.accept("circ"):
                node = self.degrees(node)
            else:
                break
        return node

    def degrees(self, node: Node) -> Node:
        """Degrees of an angle, or of temperature if C or F follows."""
        word = self.next.text.casefold() if self.next.kind in ("text", "letter") else ""
        scale = {"c": "celsius", "f": "fahrenheit"}.get(word, word)
        if scale in ("celsius", "fahrenheit") and self.tokens[self.at + 1].kind in ("end", "op"):
            self.at += 1
            return Node("unit", (node, UNITS[scale]))
        return Node("deg", (node,))

    def atom(self) -> Node:
        token = self.take()
        kind, text = token
        if kind == "num":
            return self.numeral(decimal(text))
        if kind == "rep":
            return repeating(text)
        if kind == "letter":
            return self.name(text)
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
        """A number literal with its base, or with the fraction of a mixed number."""
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
        """A `\\frac` of two whole numbers. If something else follows, nothing is passed."""
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

    def bracket(self, opening: str) -> Node:
        bars, self.bars = self.bars, 0
        integrals, self.integrals = self.integrals, 0
        before = self.tokens[self.at - 2].text if self.at > 1 else ""
        if opening == "\\{":
            node = self.set()
        else:
            items = [self.union()]
            while self.next.kind == "op" and self.next.text in SEPARATORS:
                self.at += 1
                items.append(self.union())
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

    def set(self) -> Node:
        if self.accept("\\}"):
            return EMPTY
        # Set-builder notation means the same as its condition.
        if self.next.kind == "letter" and self.condition_follows():
            node = self.items()
            if node.op not in ("rel", "all", "list"):
                raise Unparsable("a condition is a relation")
            self.expect("\\}")
            return node
        items = [self.item()]
        while self.next.kind == "op" and self.next.text in SEPARATORS:
            self.at += 1
            items.append(self.item())
        self.expect("\\}")
        return Node("set", tuple(items))

    def condition_follows(self) -> bool:
        """Pass `x |` or `x \\in R |`; whether it is there."""
        domain = 2 if self.tokens[self.at + 1 : self.at + 3] == [("cmd", "in"), ("cmd", "R")] else 0
        if self.tokens[self.at + 1 + domain] not in (("op", "|"), ("op", ":")):
            return False
        self.at += 2 + domain
        return True

    def braces(self) -> Node:
        """A LaTeX group. If it contains commas, or nothing, it is a set in plain text."""
        if self.accept("}"):
            return EMPTY
        bars, self.bars = self.bars, 0
        integrals, self.integrals = self.integrals, 0
        node = self.items()
        node = self.over(node)
        self.expect("}")
        self.bars, self.integrals = bars, integrals
        return Node("set", node.args) if node.op == "list" else node

    def bar(self) -> Node:
        self.bars += 1
        node = self.sum()
        self.bars -= 1
        self.expect("|")
        return determinant(node.args) if node.op == "matrix" else Node("abs", (node,))


def _sum_of(terms: list[Node]) -> Node:
    """The sum of one or more terms."""
    return terms[0] if len(terms) == 1 else Node("+", tuple(terms))


@lru_cache(maxsize=4096)
def parse(text: str, functions: bool = True, metres: bool = True, units: bool = True) -> Node:
    """The tree of `text`. Raises Unparsable, or TooLarge where a limit is exceeded.

    `functions`: a letter such as f before a bracket is a function and not a factor. `metres`: `5 m` is a
    length and not a multiple of m. `units`: `5 cm` is a length and not a product.
    """
    if metres and "m" in text and METRES.fullmatch(text):
        text = text.replace("m", " \\text{m}", 1)
    elif units and text[:1] in _NUMERIC and text.lower() != text.upper() and (found := GLUED.fullmatch(text)):
        text = f"{found[1]} {text[found.end(1) :]}"
    tokens = tokenize(usual_latex(text), units=units)
    if tokens[0] is END:
        raise Unparsable("empty")
    parser = _Parser(tokens)
    parser.functions = functions
    return parser.everything()
