"""Text to tokens, for plain and LaTeX mathematics alike. What is not on the lists below is refused."""

import re
from typing import NamedTuple

from shuhari.rewards.node import MAX_CHARS, MAX_TOKENS, TooLarge, Unparsable


class Token(NamedTuple):
    """`kind` is num, rep, letter, const, fn, op, cmd, text or end; `text` is the canonical spelling."""

    kind: str
    text: str


END = Token("end", "")
RESERVED = frozenset({"nan", "zoo", "oo", "inf", "None", "True", "False", "NaN", "Infinity"})
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh arsinh arcosh artanh "
    "ln log exp sqrt cbrt abs floor ceil gcd lcm min max sign binom factorial".split()
)
_SPELLINGS = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "arcsinh": "arsinh",
    "arccosh": "arcosh",
    "arctanh": "artanh",
    "asinh": "arsinh",
    "acosh": "arcosh",
    "atanh": "artanh",
    "ceiling": "ceil",
    "sgn": "sign",
    "binomial": "binom",
}
GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar".split()
)
# Units that are no longer than a product of variables: read as units only behind a number and a space.
_SHORT_UNITS = frozenset("mm cm km dm kg mg ml mph ft yd lb lbs oz sec hr hrs usd USD min in m".split())
# Words behind a number that change it: no units.
_NUMERALS = re.compile(
    "(hundred|thousand|[mb]illion|trillion|dozen|score|half|halves|third|quarter|fourth|fifth|sixth|tenth|"
    "squared|cubed|point|times|plus|minus|over|not|about|maybe|approximately)s?",
    re.IGNORECASE,
)
# LaTeX commands that are another token, or nothing at all.
_COMMANDS = {
    **dict.fromkeys(("cdot", "times", "ast", "cdotp"), Token("op", "*")),
    "div": Token("op", "/"),
    "pm": Token("op", "\\pm"),
    "mp": Token("op", "\\mp"),
    **dict.fromkeys(("le", "leq", "leqslant"), Token("op", "<=")),
    **dict.fromkeys(("ge", "geq", "geqslant"), Token("op", ">=")),
    **dict.fromkeys(("ne", "neq"), Token("op", "!=")),
    "lt": Token("op", "<"),
    "gt": Token("op", ">"),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid"), Token("op", "|")),
    **dict.fromkeys(("lbrace",), Token("op", "\\{")),
    **dict.fromkeys(("rbrace",), Token("op", "\\}")),
    **dict.fromkeys(("lbrack",), Token("op", "[")),
    **dict.fromkeys(("rbrack",), Token("op", "]")),
    **dict.fromkeys(("lparen", "langle"), Token("op", "(")),
    **dict.fromkeys(("rparen", "rangle"), Token("op", ")")),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "frac"), Token("cmd", "frac")),
    **dict.fromkeys(("dbinom", "tbinom", "binom"), Token("cmd", "binom")),
    **dict.fromkeys(("to", "rightarrow"), Token("cmd", "to")),
    **dict.fromkeys(("cup",), Token("cmd", "cup")),
    **dict.fromkeys(("emptyset", "varnothing"), Token("cmd", "emptyset")),
    **dict.fromkeys(("circ", "degree"), Token("cmd", "circ")),
    **dict.fromkeys(("infty",), Token("cmd", "infty")),
    **dict.fromkeys(("lor",), Token("text", "or")),
    **dict.fromkeys(("land",), Token("text", "and")),
    **{
        name: Token("cmd", name)
        for name in "sqrt int sum prod lim in lfloor rfloor lceil rceil choose R".split()
    },
    "pi": Token("const", "pi"),
    "imath": Token("const", "i"),
}
_IGNORED = frozenset(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr quad qquad displaystyle textstyle limits "
    "nolimits thinspace medspace enspace nobreak".split()
)
_WORDS = {
    "pi": Token("const", "pi"),
    "e": Token("const", "e"),
    "i": Token("const", "i"),
    "infinity": Token("cmd", "infty"),
    "and": Token("text", "and"),
    "or": Token("text", "or"),
    "percent": Token("op", "%"),
    "degrees": Token("cmd", "circ"),
    "degree": Token("cmd", "circ"),
    "in": Token("cmd", "in"),
    **{name: Token("fn", name) for name in FUNCTIONS},
    **{word: Token("fn", name) for word, name in _SPELLINGS.items()},
    **{name: Token("letter", name) for name in GREEK},
}
_OPERATORS = {
    "**": "^",
    "==": "=",
    "=<": "<=",
    "\\{": "\\{",
    "\\}": "\\}",
    "\\%": "%",
    "\\|": "|",
    "\\_": "_",
    "\\\\": "\\\\",
}
_LEXER = re.compile(
    r"""
    (?P<space>[ \t\r\n~]+|\$(?!\{)|\\[,;:!\ $]|\\(?:left|right)\.?(?![a-zA-Z]))
  | (?P<rep>[0-9]*\.[0-9]*(?:\\(?:overline|bar)\ ?(?:\{[0-9]+\}|[0-9])|\([0-9]+\)))
  | (?P<num>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE](?:[+-][0-9]{2,}|-?[0-9]+)(?![0-9]))?)
  | (?P<styled>\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\*?\ ?\{[^{}]*\})
  | (?P<blackboard>\\(?:mathbb|mathbf)\ ?\{?R\}?)
  | (?P<begin>\\begin\ ?\{[pbB]?matrix\}|\\begin\ ?\{array\}\ ?\{[clr|]*\})
  | (?P<end>\\end\ ?\{[pbB]?matrix\}|\\end\ ?\{array\})
  | (?P<command>\\[a-zA-Z]+)
  | (?P<word>[A-Za-z]+)
  | (?P<op>\*\*|<=|>=|=<|!=|==|\\[{}%|_\\]|[-+*/^_=<>(){}\[\],;:!|&'%])
  | (?P<bad>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_THIN = re.compile(r"(?<=[0-9])(?:\{,\}|\\!,|,\\!|\\,|\\!)(?=[0-9]{3}(?![0-9]))")
_OPEN, _CLOSE = re.compile(r"[(\[{]"), re.compile(r"[)\]}]")


def _join_thousands(text: str) -> str:
    """`1,234` is a number where no bracket is open; `(1,234)` is a pair."""

    def join(found: re.Match[str]) -> str:
        before = text[: found.start()]
        inside = len(_OPEN.findall(before)) > len(_CLOSE.findall(before))
        return found.group() if inside else found.group().replace(",", "")

    return _THOUSANDS.sub(join, text)


def _word(text: str) -> list[Token]:
    if known := _WORDS.get(text):
        return [known]
    if text in RESERVED:
        raise Unparsable(f"{text} is a reserved word")
    if len(text) == 1:
        return [Token("letter", text)]
    if len(text) > 3:
        # Letters glued to a function or a constant are common: xsin, pix, xcos.
        for name in sorted(FUNCTIONS, key=len, reverse=True):
            if text.endswith(name) and len(text) - len(name) <= 2:
                return [*_word(text[: -len(name)]), Token("fn", name)]
            if text.startswith(name) and len(text) - len(name) <= 2:
                return [Token("fn", name), *_word(text[len(name) :])]
        return [Token("text", text)]
    if text.startswith("ln"):
        return [Token("fn", "ln"), *_word(text[2:])]
    if text.startswith("pi") or text.endswith("pi"):
        rest = text[2:] if text.startswith("pi") else text[:-2]
        pi = Token("const", "pi")
        return [pi, *_word(rest)] if text.startswith("pi") else [*_word(rest), pi]
    return [_WORDS.get(letter, Token("letter", letter)) for letter in text]


def _command(name: str) -> Token | None:
    if name in _COMMANDS:
        return _COMMANDS[name]
    if name in _IGNORED:
        return None
    word = _WORDS.get(name)
    if word and word.kind in ("fn", "letter"):
        return word
    raise Unparsable(f"\\{name} is not known here")


def _styled(text: str) -> list[Token]:
    """`\\text{...}` and its kin: a function, a letter, or words."""
    content = text[text.index("{") + 1 : -1].strip()
    word = _WORDS.get(content)
    if word and word.kind in ("fn", "const", "text") and not (content == "min" and text.startswith("\\text")):
        return [word]
    if re.search(r"(?:^|\s)[0-9]+\s*[^0-9.\s]|[a-z]\s+[0-9]", content):
        raise Unparsable(f"{content[:20]!a} is no unit")
    if content in RESERVED:
        raise Unparsable(f"{content} is a reserved word")
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", content):
        return [Token("num", content)]
    if len(content) == 1 and content.isalpha() and not text.startswith("\\text"):
        return [Token("letter", content)]
    return [Token("text", content)] if content else []


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, an `end` token last. Raises Unparsable and TooLarge."""
    if len(text) > MAX_CHARS:
        raise TooLarge(f"longer than {MAX_CHARS} characters")
    if "," in text:
        text = _join_thousands(text)
    if "\\" in text or "{," in text:
        text = _THIN.sub("", text)
    tokens: list[Token] = []
    spaced = False  # whether a space stands right before
    for match in _LEXER.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "space":
            spaced = True
            continue
        if kind == "num" or kind == "rep":
            tokens.append(Token(kind, piece))
        elif kind == "op":
            tokens.append(Token("op", _OPERATORS.get(piece, piece)))
        elif kind == "word":
            unit = piece in _SHORT_UNITS and spaced and tokens and tokens[-1].kind == "num"
            found = [Token("text", piece)] if unit else _word(piece)
            glued = not spaced and tokens and tokens[-1].kind in ("num", "letter")
            if found[0].kind == "text" and (glued or (tokens and _NUMERALS.fullmatch(piece))):
                raise Unparsable(f"{piece} is no unit")
            tokens += found
        elif kind == "command":
            token = _command(piece[1:])
            if token:
                tokens.append(token)
        elif kind == "styled":
            tokens += _styled(piece)
        elif kind == "begin" or kind == "end":
            tokens.append(Token("cmd", "begin" if kind == "begin" else "endmatrix"))
        elif kind == "blackboard":
            tokens.append(Token("cmd", "R"))
        else:
            raise Unparsable(f"{piece!a} is not known here")
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise TooLarge(f"more than {MAX_TOKENS} tokens")
    tokens.append(END)
    return tokens
