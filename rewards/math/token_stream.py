"""The parser's input: a stream of tokens, and the exact values of number literals."""

import re
from fractions import Fraction

from shuhari.rewards.math.node import MAX_DIGITS, Node, TooLarge, Unparsable
from shuhari.rewards.math.vocabulary import END, Token

MAX_EXPONENT = 1000  # of scientific notation


def decimal(text: str) -> Node:
    """The node of a number literal such as `12`, `1.50` or `2e-3`."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > MAX_DIGITS:
        raise TooLarge(f"a literal of more than {MAX_DIGITS} digits")
    if exponent and (len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT):
        raise TooLarge(f"an exponent beyond {MAX_EXPONENT}")
    if "." not in mantissa and not exponent:
        return Node("num", (int(mantissa),))
    whole, _, digits = mantissa.partition(".")
    power = int(exponent or 0) - len(digits)
    value = Fraction(int((whole + digits) or "0"))
    return Node("dec", (value * 10**power if power >= 0 else value / 10**-power,))


def repeating(text: str) -> Node:
    """The node of a repeating decimal, `0.1\\overline{6}` or `0.1(6)`."""
    whole, _, rest = text.partition(".")
    fixed = re.match("[0-9]*", rest)
    digits = fixed.group() if fixed else ""
    period = re.sub("[^0-9]", "", rest[len(digits) :])
    if len(text) > MAX_DIGITS:
        raise TooLarge(f"a literal of more than {MAX_DIGITS} digits")
    scale, cycle = 10 ** len(digits), 10 ** len(period) - 1
    return Node("dec", (Fraction(int(whole + digits or "0"), scale) + Fraction(int(period), scale * cycle),))


class TokenStream:
    """Tokens, and the place `at` where the parser is."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at = tokens, 0

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def peek(self, text: str) -> bool:
        """Whether the next token is this operator or command."""
        kind, here = self.tokens[self.at]
        return here == text and (kind == "op" or kind == "cmd")

    def take(self) -> Token:
        """The next token, which is passed."""
        token = self.tokens[self.at]
        self.at += token is not END
        return token

    def accept(self, text: str) -> bool:
        """Pass the next token if it is this operator or command; whether it was."""
        kind, here = self.tokens[self.at]
        if here == text and (kind == "op" or kind == "cmd"):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Pass this operator or command. Raises Unparsable if the next token is another one."""
        if not self.accept(text):
            raise Unparsable(f"expected {text} and found {self.next.text or 'the end'}")
