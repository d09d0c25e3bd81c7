"""Text to tokens, for plain and LaTeX mathematics alike. What is not on the lists below is refused."""

import re
from typing import NamedTuple

from shuhari.rewards.math.node import MAX_CHARS, MAX_TOKENS, TooLarge, Unparsable
from shuhari.rewards.math.units import UNITS, read


class Token(NamedTuple):
    """`kind` is num, rep, letter, const, fn, op, cmd, text or end; `text` is the canonical spelling."""

    kind: str
    text: str


END = Token("end", "")
RESERVED = frozenset({"nan", "zoo", "oo", "inf", "None", "True", "False", "NaN", "Infinity"})
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh arsinh arcosh artanh "
    "coth sech csch arccot arcsec arccsc arcoth arsech arcsch "
    "ln log lg exp sqrt cbrt abs floor ceil gcd lcm min max sign binom factorial erf erfc".split()
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
    "tg": "tan",
    "ctg": "cot",
    "cotg": "cot",
    "cosec": "csc",
    "arctg": "arctan",
    "arcctg": "arccot",
    "acot": "arccot",
    "asec": "arcsec",
    "acsc": "arccsc",
    "arccoth": "arcoth",
    "arcsech": "arsech",
    "arccsch": "arcsch",
}
GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar".split()
)
# Units that are no longer than a product of variables: read as units only behind a number and a space.
_SHORT_UNITS = frozenset(name for name in UNITS if len(name) in (2, 3)) - {"ms", "ha", "sr"}
_SHORT_UNITS |= {"sq", "cu", "per", "pct"}
_OF_NUMBERS = frozenset({"num", "rep", "op", "cmd", "const"})
_JOINING = frozenset({"and", "or"})
# A whole answer of this form is a length, or a multiple of a variable.
_NUMBER = r"[-+]?[0-9][0-9.,]*(?:/[0-9]+)?"
METRES = re.compile(_NUMBER + r"[ ~]*m(?: *\^ *\{?[23]\}?)?(?: */ *s(?: *\^ *\{?2\}?)?)?")
_GLUED = "|".join(sorted(_SHORT_UNITS - {"in", "per", "sq", "cu", "pct"}))
GLUED = re.compile(rf"({_NUMBER})(?:{_GLUED})(?:\^\{{?[23]\}}?)?")
# What stands over or before a name, and belongs to it.
FIGURES = {
    **{name: name for name in "overline vec hat tilde angle triangle overleftrightarrow".split()},
    "bar": "overline",
    "overrightarrow": "vec",
    "widehat": "hat",
    "widetilde": "tilde",
    "measuredangle": "angle",
}
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
    **dict.fromkeys(
        ("to", "rightarrow", "Rightarrow", "longrightarrow", "Longrightarrow"), Token("cmd", "to")
    ),
    **dict.fromkeys(("setminus", "backslash", "smallsetminus"), Token("cmd", "setminus")),
    **dict.fromkeys(("approx", "thickapprox"), Token("op", "\\approx")),
    "partial": Token("letter", "d"),
    "equiv": Token("op", "="),
    "colon": Token("op", ":"),
    **dict.fromkeys(("bmod", "mod"), Token("cmd", "mod")),
    **dict.fromkeys(("land", "wedge"), Token("text", "and")),
    **dict.fromkeys(("lor", "vee"), Token("text", "or")),
    **dict.fromkeys(("nicefrac", "sfrac"), Token("cmd", "frac")),
    **dict.fromkeys(("downarrow", "searrow"), Token("cmd", "down")),
    **dict.fromkeys(("uparrow", "nearrow"), Token("cmd", "up")),
    **{name: Token("cmd", FIGURES[name]) for name in FIGURES},
    **dict.fromkeys(("emptyset", "varnothing"), Token("cmd", "emptyset")),
    **dict.fromkeys(("circ", "degree"), Token("cmd", "circ")),
    **dict.fromkeys(("infty",), Token("cmd", "infty")),
    **dict.fromkeys(("lor",), Token("text", "or")),
    **dict.fromkeys(("land",), Token("text", "and")),
    **{
        name: Token("cmd", name)
        for name in ("sqrt int sum prod lim in lfloor rfloor lceil rceil choose over R cup cap pmod").split()
    },
    "pi": Token("const", "pi"),
    "imath": Token("const", "i"),
}
_IGNORED = frozenset(
    "left right mleft mright big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr quad qquad displaystyle "
    "textstyle limits nolimits thinspace medspace enspace nobreak bf rm it sf tt boldsymbol underline".split()
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
    "mod": Token("cmd", "mod"),
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
  | (?P<styled>\\(?:text(?:bf|it|rm|normal|up|sf|tt)?|math(?:rm|bf|it)|mbox|operatorname)\*?\ ?\{[^{}]*\})
  | (?P<blackboard>\\mathbb\ ?\{?[RZNQC]\}?|\\mathbf\ ?\{?R\}?)
  | (?P<begin>\\begin\ ?\{(?:[pbBv]?matrix|cases)\}|\\begin\ ?\{array\}\ ?\{[clr|]*\})
  | (?P<end>\\end\ ?\{(?:[pbBv]?matrix|cases)\}|\\end\ ?\{array\})
  | (?P<command>\\[a-zA-Z]+)
  | (?P<word>[A-Za-z]+)
  | (?P<op>\*\*|<=|>=|=<|!=|==|\\[{}%|_\\]|[-+*/^_=<>(){}\[\],;:!|&'%])
  | (?P<bad>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
# Within a number: `1{,}234`, `1,\!234`, `1\,234`, and `1 234` where it is no mixed number.
_THIN = re.compile(
    r"(?<![0-9.,A-Za-z_^])[0-9]{1,3}(?:(?:\{ ?, ?\}|\\! ?,|, ?\\!|\\[,;:! ]|[~ ]) ?[0-9]{3})+(?![0-9]| ?/)"
)
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


def _styled(text: str, *, behind_number: bool) -> list[Token]:
    """`\\text{...}` and its kin: a function, a letter, or words."""
    content = text[text.index("{") + 1 : -1].replace("~", " ").replace("\\ ", " ")
    behind_number |= content[:1] == " "  # `\\mathrm{~m}` is a unit wherever it stands
    content = content.strip()
    word = _WORDS.get(content)
    known = word and (word.kind in ("fn", "const", "text") or word.text in ("%", "circ", "mod"))
    if word and known and not (content == "min" and text.startswith("\\text")):
        return [word]
    if re.fullmatch(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?", content):
        return [Token("num", content.replace(",", ""))]
    if re.search(r"(?:^|\s)[0-9]+\s*[^0-9.\s]|[a-z]\s+[0-9]", content):
        raise Unparsable(f"{content[:20]!a} is no unit")
    if content in RESERVED:
        raise Unparsable(f"{content} is a reserved word")
    if (
        len(content) == 1
        and content.isalpha()
        and not text.startswith("\\text")
        and not (behind_number and content in UNITS)
    ):
        return [Token("letter", content)]
    parts = re.split(r"\b(and|or)\b", content)
    if len(parts) == 3 and all(not part.strip() or read(part) for part in parts[::2]):
        return [Token("text", part.strip()) for part in parts if part.strip()]
    return [Token("text", content)] if content else []


def _words_token(piece: str, before: list[Token], *, spaced: bool, short: bool, ends: bool) -> list[Token]:
    """A word of several letters: among words one more, behind a number perhaps a unit."""
    last = before[-1] if before else END
    if spaced and before:
        if last.kind == "text" and last.text not in _JOINING and piece not in _JOINING:
            return [Token("text", piece)]
        if short and (last.kind == "num" or (ends and all(token.kind in _OF_NUMBERS for token in before))):
            return [Token("text", piece)]
    found = _word(piece)
    if found[0].kind == "text" and not spaced and last.kind in ("num", "letter"):
        raise Unparsable(f"{piece} is no unit")
    return found


def tokenize(text: str, *, units: bool = True) -> list[Token]:
    """The tokens of `text`, an `end` token last. Raises Unparsable and TooLarge.

    `units`: `5 cm` is a length, and no product; `5\\text{ cm}` always is.
    """
    if len(text) > MAX_CHARS:
        raise TooLarge(f"longer than {MAX_CHARS} characters")
    if "," in text:
        text = _join_thousands(text)
    if "\\" in text or " " in text or "{," in text or "~" in text:
        text = _THIN.sub(lambda found: re.sub("[^0-9]", "", found.group()), text)
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
            if len(piece) == 1:
                tokens += _word(piece)
            else:
                ends = match.end() == len(text)
                short = units and piece in _SHORT_UNITS
                tokens += _words_token(piece, tokens, spaced=spaced, short=short, ends=ends)
        elif kind == "command":
            token = _command(piece[1:])
            if token:
                tokens.append(token)
        elif kind == "styled":
            tokens += _styled(piece, behind_number=bool(tokens) and tokens[-1].kind == "num")
        elif kind == "begin" or kind == "end":
            cases = next(name for name in ("cases", "vmatrix", "matrix", "array") if name in piece)
            cases = "matrix" if cases == "array" else cases
            tokens.append(Token("cmd", cases if kind == "begin" else f"end{cases}"))
        elif kind == "blackboard":
            letter = piece.strip("}")[-1]
            tokens.append(Token("cmd", "R") if letter == "R" else Token("letter", f"\\mathbb{letter}"))
        else:
            raise Unparsable(f"{piece!a} is not known here")
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise TooLarge(f"more than {MAX_TOKENS} tokens")
    tokens.append(END)
    return tokens
