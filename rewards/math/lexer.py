"""Text to tokens, for plain and LaTeX mathematics alike. Text that no rule covers is refused."""

import re

from shuhari.rewards.math.node import MAX_CHARS, MAX_TOKENS, TooLarge, Unparsable
from shuhari.rewards.math.units import UNITS, read_unit
from shuhari.rewards.math.vocabulary import (
    COMMANDS,
    END,
    FUNCTIONS,
    IGNORED,
    OPERATORS,
    RESERVED,
    WORDS,
    Token,
)

# Units that could be products of variables. They are units only after a number and a space.
_SHORT_UNITS = frozenset(name for name in UNITS if len(name) in (2, 3)) - {"ms", "ha", "sr"}
_SHORT_UNITS |= {"sq", "cu", "per", "pct"}
_OF_NUMBERS = frozenset({"num", "rep", "op", "cmd", "const"})
_JOINING = frozenset({"and", "or"})
# A whole answer of this form is a length, or a multiple of the variable m.
_NUMBER = r"[-+]?[0-9][0-9.,]*(?:/[0-9]+)?"
METRES = re.compile(_NUMBER + r"[ ~]*m(?: *\^ *\{?[23]\}?)?(?: */ *s(?: *\^ *\{?2\}?)?)?")
_GLUED = "|".join(sorted(_SHORT_UNITS - {"in", "per", "sq", "cu", "pct"}))
GLUED = re.compile(rf"({_NUMBER})(?:{_GLUED})(?:\^\{{?[23]\}}?)?")
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
# Other separators of thousands: `1{,}234`, `1,\!234`, `1\,234`, and `1 234` if it is no mixed number.
_THIN = re.compile(
    r"(?<![0-9.,A-Za-z_^])[0-9]{1,3}(?:(?:\{ ?, ?\}|\\! ?,|, ?\\!|\\[,;:! ]|[~ ]) ?[0-9]{3})+(?![0-9]| ?/)"
)
_OPEN, _CLOSE = re.compile(r"[(\[{]"), re.compile(r"[)\]}]")


def _join_thousands(text: str) -> str:
    """The text with `1,234` as a number. Inside brackets the comma stays: `(1,234)` is a pair."""

    def join(found: re.Match[str]) -> str:
        before = text[: found.start()]
        inside = len(_OPEN.findall(before)) > len(_CLOSE.findall(before))
        return found.group() if inside else found.group().replace(",", "")

    return _THOUSANDS.sub(join, text)


def _word(text: str) -> list[Token]:
    if known := WORDS.get(text):
        return [known]
    if text in RESERVED:
        raise Unparsable(f"{text} is a reserved word")
    if len(text) == 1:
        return [Token("letter", text)]
    if len(text) > 3:
        # Letters are often joined with a function or constant: xsin, pix, xcos.
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
    return [WORDS.get(letter, Token("letter", letter)) for letter in text]


def _command(name: str) -> Token | None:
    if name in COMMANDS:
        return COMMANDS[name]
    if name in IGNORED:
        return None
    word = WORDS.get(name)
    if word and word.kind in ("fn", "letter"):
        return word
    raise Unparsable(f"the command \\{name} is not known")


def _styled(text: str, *, after_number: bool) -> list[Token]:
    """The tokens of `\\text{...}` and similar commands: a function, a letter, or words."""
    content = text[text.index("{") + 1 : -1].replace("~", " ").replace("\\ ", " ")
    after_number |= content[:1] == " "  # `\\mathrm{~m}` is always a unit
    content = content.strip()
    word = WORDS.get(content)
    known = word and (word.kind in ("fn", "const", "text") or word.text in ("%", "circ", "mod"))
    if word and known and not (content == "min" and text.startswith("\\text")):
        return [word]
    if re.fullmatch(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?", content):
        return [Token("num", content.replace(",", ""))]
    if re.search(r"(?:^|\s)[0-9]+\s*[^0-9.\s]|[a-z]\s+[0-9]", content):
        raise Unparsable(f"{content[:20]!a} is not a unit")
    if content in RESERVED:
        raise Unparsable(f"{content} is a reserved word")
    if (
        len(content) == 1
        and content.isalpha()
        and not text.startswith("\\text")
        and not (after_number and content in UNITS)
    ):
        return [Token("letter", content)]
    parts = re.split(r"\b(and|or)\b", content)
    if len(parts) == 3 and all(not part.strip() or read_unit(part) for part in parts[::2]):
        return [Token("text", part.strip()) for part in parts if part.strip()]
    return [Token("text", content)] if content else []


def _words_token(piece: str, before: list[Token], *, spaced: bool, short: bool, ends: bool) -> list[Token]:
    """The tokens of several letters: a word after other words, or a unit after a number."""
    last = before[-1] if before else END
    if spaced and before:
        if last.kind == "text" and last.text not in _JOINING and piece not in _JOINING:
            return [Token("text", piece)]
        if short and (last.kind == "num" or (ends and all(token.kind in _OF_NUMBERS for token in before))):
            return [Token("text", piece)]
    found = _word(piece)
    if found[0].kind == "text" and not spaced and last.kind in ("num", "letter"):
        raise Unparsable(f"{piece} is not a unit")
    return found


def tokenize(text: str, *, units: bool = True) -> list[Token]:
    """The tokens of `text`, an `end` token last. Raises Unparsable and TooLarge.

    `units`: `5 cm` is a length and not a product. `5\\text{ cm}` is always a length.
    """
    if len(text) > MAX_CHARS:
        raise TooLarge(f"longer than {MAX_CHARS} characters")
    if "," in text:
        text = _join_thousands(text)
    if "\\" in text or " " in text or "{," in text or "~" in text:
        text = _THIN.sub(lambda found: re.sub("[^0-9]", "", found.group()), text)
    tokens: list[Token] = []
    spaced = False  # whether a space is before the present token
    for match in _LEXER.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "space":
            spaced = True
            continue
        if kind == "num" or kind == "rep":
            tokens.append(Token(kind, piece))
        elif kind == "op":
            tokens.append(Token("op", OPERATORS.get(piece, piece)))
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
            tokens += _styled(piece, after_number=bool(tokens) and tokens[-1].kind == "num")
        elif kind == "begin" or kind == "end":
            cases = next(name for name in ("cases", "vmatrix", "matrix", "array") if name in piece)
            cases = "matrix" if cases == "array" else cases
            tokens.append(Token("cmd", cases if kind == "begin" else f"end{cases}"))
        elif kind == "blackboard":
            letter = piece.strip("}")[-1]
            tokens.append(Token("cmd", "R") if letter == "R" else Token("letter", f"\\mathbb{letter}"))
        else:
            raise Unparsable(f"{piece!a} is not known")
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise TooLarge(f"more than {MAX_TOKENS} tokens")
    tokens.append(END)
    return tokens
