"""Bring different spellings of the same text into one: Unicode into LaTeX, and text without layout."""

import re
import unicodedata

from shuhari.rewards.math.node import Unparsable

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho . sigma tau "
    "upsilon phi chi psi omega"
)
_BIG_GREEK = frozenset("Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split())
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱᵃᵇᵏᵐˣ", "0123456789+-=()niabkmx", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₒₓₕₖₗₘₙₚₛₜᵢⱼ", "0123456789+-=()aeoxhklmnpstij", strict=True))
_SYMBOLS = {
    "×": "\\times ",
    "✕": "\\times ",
    "∗": "*",
    "·": "\\cdot ",
    "⋅": "\\cdot ",
    "∙": "\\cdot ",
    "÷": "\\div ",
    "∕": "/",
    "⁄": "/",
    **dict.fromkeys("−‐‑‒–—﹣", "-"),
    "±": "\\pm ",
    "∓": "\\mp ",
    "√": "\\sqrt ",
    "∛": "\\sqrt[3] ",
    "∜": "\\sqrt[4] ",
    "∞": "\\infty ",
    "≤": "\\le ",
    "⩽": "\\le ",
    "≦": "\\le ",
    "≥": "\\ge ",
    "⩾": "\\ge ",
    "≧": "\\ge ",
    "≠": "\\ne ",
    "≈": "\\approx ",
    "≅": "\\approx ",
    "≡": "\\equiv ",
    "∪": "\\cup ",
    "∩": "\\cap ",
    "∖": "\\setminus ",
    "∈": "\\in ",
    "∅": "\\emptyset ",
    "ø": "\\emptyset ",
    "Ø": "\\emptyset ",
    "°": "^\\circ ",
    "º": "^\\circ ",
    "∘": "\\circ ",
    "∠": "\\angle ",
    "△": "\\triangle ",
    "∑": "\\sum ",
    "∏": "\\prod ",
    "∫": "\\int ",
    "→": "\\to ",
    "⌊": "\\lfloor ",
    "⌋": "\\rfloor ",
    "⌈": "\\lceil ",
    "⌉": "\\rceil ",
    "⟨": "\\langle ",
    "⟩": "\\rangle ",
    "ℝ": "\\mathbb{R}",
    "ℤ": "\\mathbb{Z}",
    "ℕ": "\\mathbb{N}",
    "ℚ": "\\mathbb{Q}",
    "ℂ": "\\mathbb{C}",
    "…": "\\ldots ",
    "⋯": "\\ldots ",
    **dict.fromkeys("′’‘ʹ", "'"),
    **dict.fromkeys("″”“", "''"),
    "∣": "|",
    "ϕ": "\\phi ",
    "ϵ": "\\epsilon ",
    "ϑ": "\\vartheta ",
    "µ": "\\mu ",
    "ς": "\\sigma ",
    "€": "\\text{ euros}",
    "£": "\\text{ sterling}",
    "￥": "\\text{ yen}",
    "¥": "\\text{ yen}",
    "∂": "\\partial ",
    "。": ".",
    "、": ",",
}
for _index, _name in enumerate(_GREEK.split()):
    if _name == ".":
        continue
    _SYMBOLS.setdefault(chr(0x3B1 + _index), "o" if _name == "omicron" else f"\\{_name} ")
    _title = _name.title()
    if _title in _BIG_GREEK:
        _SYMBOLS.setdefault(chr(0x391 + _index), f"\\{_title} ")
_MONEY = re.compile("([€£¥￥])\\s*([0-9][0-9,]*(?:\\.[0-9]+)?)")
_SUPER = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_SUB = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")


def ascii_mathematics(text: str) -> str:
    """The text with Unicode mathematics as LaTeX: `x²` is `x^{2}`, `½` is `\\frac{1}{2}`, `−` is `-`.

    Other letters stay as they are. Raises Unparsable for invisible characters, which can hide what the text
    says.
    """
    if text.isascii():
        return text
    text = _MONEY.sub(r"\2\1", text)
    text = _SUPER.sub(lambda m: f"^{{{''.join(map(_SUPERSCRIPTS.__getitem__, m.group()))}}}", text)
    text = _SUB.sub(lambda m: f"_{{{''.join(map(_SUBSCRIPTS.__getitem__, m.group()))}}}", text)
    return "".join(map(_character, text))


def _character(char: str) -> str:
    if char.isascii():
        return char
    if char in _SYMBOLS:
        return _SYMBOLS[char]
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    if category == "Cf":
        raise Unparsable(f"an invisible character, U+{ord(char):04X}")
    plain = unicodedata.normalize("NFKC", char)
    if plain.isascii():  # full-width and mathematical letters, digits and brackets
        return plain
    if len(plain) == 3 and plain[1] == "⁄":
        return f"\\frac{{{plain[0]}}}{{{plain[2]}}}"
    return _SYMBOLS.get(plain, char)


_RARE = re.compile(r"[\\_'\[\]]")  # every rare notation below contains one of these
_TWICE = re.compile(r"\\\\(?=[A-Za-z{}])")  # a backslash that was escaped twice
_PRIMES = re.compile(r"\^\s*(?:\{\s*)?((?:\\prime\s*)+|'+)\}?")
_ROMAN_COUNT = re.compile(r"\\(?:mathrm|text)\{([CP])\}_\{?(\w+)\}?\^\{?(\w+)\}?")
_COUNT = re.compile(
    r"(?:\{\s*\}\s*|(?<![\w}\])]))[_^]\s*\{?(\w+)\}?\s*(?:\\(?:mathrm|text)\s*)?\{?([CP])\}?\s*_\s*\{?(\w+)\}?"
)
_SUBSCRIPT_LAST = re.compile(r"((?<![A-Za-z\\])[A-Za-z]|\\[a-zA-Z]+ ?|\})\^(\{[^{}]*\}|\w)_(\{[^{}]*\}|\w)")
_LOOKS = re.compile(r"\\(?:[hv]space|[hv]?phantom|color|textcolor)\*?\s*\{[^{}]*\}")
_ROMAN = re.compile(r"\{\s*\\(?:rm|bf|it|sf|tt)\s+([A-Za-z]+)\s*\}")
_OUTWARD = re.compile(r"([\[\]])([^\[\]]+,[^\[\]]+)([\[\]])")  # `]2,3[`, as the French write it
_DOTTED = re.compile(r"(\.[0-9]*)\\dot\s*\{?([0-9])\}?(?:([0-9]*)\\dot\s*\{?([0-9])\}?)?")


def _counted(found: re.Match[str]) -> str:
    n, name, k = found.groups()
    return _counting(name, n, k)


def _counting(name: str, n: str, k: str) -> str:
    return f"\\binom{{{n}}}{{{k}}}" if name == "C" else f"\\frac{{({n})!}}{{({n}-{k})!}}"


def usual_latex(text: str) -> str:
    """The text with rare notations replaced: `z^{\\prime}`, `{}_5C_2` (choose), `0.\\dot{3}` (repeating)."""
    if not _RARE.search(text):
        return text
    if "\\\\" in text and "\\begin" not in text:
        text = _TWICE.sub(r"\\", text)
    if "prime" in text or "^'" in text or "^{'" in text:
        text = _PRIMES.sub(lambda m: "'" * (m.group(1).count("\\") or m.group(1).count("'")), text)
    if "C_" in text or "P_" in text or "C}_" in text or "P}_" in text:
        text = _COUNT.sub(_counted, text)
    if "{C}_" in text or "{P}_" in text:
        text = _ROMAN_COUNT.sub(lambda m: _counting(m[1], m[2], m[3]), text)
    if "_" in text and "^" in text:
        text = _SUBSCRIPT_LAST.sub(r"\1_\3^\2", text)
    if "{\\" in text:
        text = _ROMAN.sub(r"\\mathrm{\1}", text)
    if "color" in text or "phantom" in text or "space" in text:
        text = _LOOKS.sub(" ", text)
    if text[:1] == "]" or text[-1:] == "[":
        text = _OUTWARD.sub(
            lambda m: f"{'[' if m[1] == '[' else '('}{m[2]}{']' if m[3] == ']' else ')'}", text
        )
    text = text.replace("\\text{,}", ",")
    if text.startswith("\\text") and (found := _STYLE.fullmatch(text)) and any(map(str.isdigit, found[1])):
        text = found[1]  # all of it is styled: \\text{12 cm}
    if "\\dot" in text:
        text = _DOTTED.sub(lambda m: f"{m[1]}\\overline{{{m[2]}{m[3] or ''}{m[4] or ''}}}", text)
    return text


_LAYOUT = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|q?quad)(?![a-zA-Z])|\\[,;:! ]|[\s~$]+"
)
STYLES = "text|textnormal|textup|textrm|textbf|textit|textsf|texttt|mathrm|mathbf|mathit|mbox"
_STYLE = re.compile(rf"\\(?:{STYLES})\s*\{{([^{{}}]*)\}}")
_FRACTION = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_DOTS = re.compile(r"\\[lc]?dots(?![a-zA-Z])")
_BLACKBOARD = re.compile(r"\\mathbb\s*([A-Z])")
_HOUR = re.compile(r"(?<=[0-9])\s*([ap])\.?m\b\.?", re.IGNORECASE)
_END = re.compile(r"(?<!\.)[.,;]$")  # one mark, but not the last of several dots
_WORDLIKE = re.compile("[A-Za-z0-9.]")


def without_layout(text: str) -> str:
    """The text without spaces, styles and sizes, so that differences in layout disappear.

    A space stays if it separates two words, two numbers, or a command and its argument.
    """
    text = _FRACTION.sub(r"\\frac", _HOUR.sub(lambda m: f" {m[1].lower()}m", _STYLE.sub(r"\1", text)))
    text = _DOTS.sub("...", text)
    text = _BLACKBOARD.sub(r"\\mathbb{\1}", text)

    def kept(found: re.Match[str]) -> str:
        before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
        return " " if _WORDLIKE.match(before) and _WORDLIKE.match(after) else ""

    return _END.sub("", _LAYOUT.sub(kept, text.strip()))


def is_readable(text: str) -> bool:
    """Whether the text contains anything besides brackets and names of commands."""
    said = re.sub(r"\\[A-Za-z]+|[\s()\[\]{}]", "", text)
    return any(char.isascii() or char.isalpha() for char in said)


def normalized_words(text: str) -> str:
    """The text in lower case, without punctuation at its ends and without extra spaces."""
    return " ".join(text.casefold().strip(" .,;:!?()'\"").split())
