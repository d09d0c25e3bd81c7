"""Parse what surrounds values: lists, relations, unions of sets, and the units after a number."""

from shuhari.rewards.math import units
from shuhari.rewards.math.node import Node, Unparsable, number
from shuhari.rewards.math.parse_names import NameParser
from shuhari.rewards.math.vocabulary import END

_RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "!=", "\\approx"})
SEPARATORS = frozenset({",", ";"})


class StatementParser(NameParser):
    """Parses relations, lists, sets and units. The subclass parses arithmetic."""

    def items(self) -> Node:
        found, separators = [self.item()], set()
        while separator := self.separator():
            found.append(self.item())
            separators.add(separator)
        if len(found) == 1:
            return found[0]
        bounds = all(item.op == "rel" and "=" not in item.args[0] for item in found)
        return Node("all" if bounds and "or" not in separators else "list", tuple(found))

    def separator(self) -> str:
        """Pass a separator; its text, or empty if there is none."""
        token = self.next
        if token.kind == "op" and token.text in SEPARATORS:
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
                raise Unparsable("nothing is written before a separator")
            if self.accept("="):  # a name in words, as in Area = 12
                return Node("rel", (("=",), Node("var", (" ".join(words),)), self.measured(self.union())))
            return Node("text", (" ".join(words),))
        return self.relation()

    def relation(self) -> Node:
        self.start = self.at
        self.accept("\\approx")
        sides, operators = [self.union()], []
        while self.next.kind == "op" and self.next.text in _RELATIONS:
            operator = self.take().text
            if operator == "\\approx":
                # The exact value before a rounded one counts, unless it is only a name.
                rounded = self.union()
                if len(sides) > 1 or sides[0].op != "var":
                    continue
                operator, side = "=", rounded
            else:
                side = self.union()
            operators.append(operator)
            sides.append(side)
        if operators:
            sides[-1] = self.measured(sides[-1])
            node = Node("rel", (tuple(operators), *sides))
        else:
            node = self.measured(sides[0])
        if self.next is END:
            return node
        if modulus := self.modulus():
            return Node("congruent", (*node.args[1:], modulus) if node.op == "rel" else (node, modulus))
        if self.accept("in"):
            if node.op != "var":
                raise Unparsable("only a name can lie in a set")
            return self.union()
        return node

    def modulus(self) -> Node | None:
        """The modulus after a congruence, `\\pmod 5` or `(mod 5)`."""
        if self.accept("pmod"):
            return self.tex_argument()
        if self.peek("(") and self.tokens[self.at + 1] == ("cmd", "mod"):
            self.at += 2
            node = self.sum()
            self.expect(")")
            return node
        return None

    def measured(self, node: Node) -> Node:
        """The value with the scale or unit after it, such as `\\text{ million}` or `\\text{ cm}^2`."""
        if self.next.kind != "text":
            return node
        words = []
        while self.next.kind == "text" and self.next.text not in ("and", "or"):
            words.append(self.take().text)
            if self.accept("^"):
                words.append(f"^{self.signed_text()}")
            while self.next.text in ("/", "*") and self.tokens[self.at + 1].kind in ("text", "letter"):
                words += [self.take().text, self.take().text]
                if self.accept("^"):
                    words.append(f"^{self.signed_text()}")
        if not words:
            return node
        phrase = units.read_unit(" ".join(words))
        if phrase is None:
            raise Unparsable(f"{' '.join(words)[:40]!a} is not a unit")
        if phrase.scale > 1:
            node = Node("*", (node, number(phrase.scale)))
        if phrase.percent:
            node = Node("percent", (node,))
        if phrase.unit is None:
            return node
        if self.next.kind == "num":  # as in 1 hour 30 minutes
            rest = self.measured(self.product())
            if rest.op != "unit" or rest.args[1].powers != phrase.unit.powers:
                raise Unparsable("a number after a unit of another kind")
            ratio = number(rest.args[1].factor / phrase.unit.factor)
            node = Node("+", (node, Node("*", (rest.args[0], ratio))))
        return Node("unit", (node, phrase.unit))

    def signed_text(self) -> str:
        self.at += braced if (braced := self.peek("{")) else 0
        text = ("-" if self.accept("-") else "") + self.take().text
        if braced:
            self.expect("}")
        return text

    def union(self) -> Node:
        node = self.sum()
        if self.next.kind != "cmd" and node.op not in ("seq", "set"):
            return node
        node = self.intersection(node)
        parts = [node]
        while True:
            if self.accept("cup") or self._union_letter(node):
                parts.append(self.intersection())
            elif self.accept("setminus") or (parts[-1].op == "seq" and self._minus_set()):
                whole = parts[0] if len(parts) == 1 else Node("union", tuple(parts))
                taken = self.intersection()
                taken = taken if taken.op in ("set", "seq", "cap") else Node("set", (taken,))
                parts = [Node("minus", (whole, taken))]
            else:
                break
        return parts[0] if len(parts) == 1 else Node("union", tuple(parts))

    def intersection(self, first: Node | None = None) -> Node:
        node = first or self.sum()
        while self.accept("cap"):
            node = Node("cap", (node, self.sum()))
        return node

    def _minus_set(self) -> bool:
        """Pass a minus before a set, as in `R - \\{0\\}`; whether there is one."""
        if self.peek("-") and self.tokens[self.at + 1].text in ("\\{", "{"):
            self.at += 1
            return True
        return False

    def _union_letter(self, first: Node) -> bool:
        """Pass the letter `U` between intervals; whether there is one."""
        if first.op in ("seq", "set") and self.next == ("letter", "U"):
            self.at += 1
            return True
        return False
