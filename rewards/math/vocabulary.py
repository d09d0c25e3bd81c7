"""What the lexer knows: tokens, function names, units, Greek letters and LaTeX commands."""

from typing import NamedTuple


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
# Marks over or before a name, which belong to the name.
FIGURES = {
    **{name: name for name in "overline vec hat tilde angle triangle overleftrightarrow".split()},
    "bar": "overline",
    "overrightarrow": "vec",
    "widehat": "hat",
    "widetilde": "tilde",
    "measuredangle": "angle",
}
# LaTeX commands as tokens.
COMMANDS = {
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
IGNORED = frozenset(
    "left right mleft mright big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr quad qquad displaystyle "
    "textstyle limits nolimits thinspace medspace enspace nobreak bf rm it sf tt boldsymbol underline".split()
)
WORDS = {
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
OPERATORS = {
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
