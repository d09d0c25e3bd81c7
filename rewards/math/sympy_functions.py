"""Functions that use sympy, run in a worker process. Expressions are built from trees, never from text."""

from fractions import Fraction
from typing import Any

from shuhari.rewards.math.node import Node, Undefined, Unparsable, number

_SAME_NAME = frozenset(
    "sin cos tan cot sec csc sinh cosh tanh coth sech csch exp floor sign binom factorial gcd lcm min max "
    "abs gamma zeta erf erfc".split()
)
_RENAMED = {
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arsinh": "asinh",
    "arcosh": "acosh",
    "artanh": "atanh",
    "arccot": "acot",
    "arcsec": "asec",
    "arccsc": "acsc",
    "arcoth": "acoth",
    "arsech": "asech",
    "arcsch": "acsch",
    "mod": "Mod",
    "ceil": "ceiling",
    "ln": "log",
    "abs": "Abs",
    "fact": "factorial",
    "binom": "binomial",
    "min": "Min",
    "max": "Max",
    "inf": "oo",
}


def to_sympy(node: Node) -> Any:
    """The sympy expression of a tree; variables are real."""
    import sympy

    op, args = node
    if op == "num":
        return sympy.Integer(args[0])
    if op == "dec":
        return sympy.Rational(args[0].numerator, args[0].denominator)
    if op == "var":
        return sympy.Symbol(args[0], real=True)
    if op == "const":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}[args[0]]
    if op == "inf":
        return sympy.oo
    if op == "int" or op == "diff":
        body, variable, *bounds = map(to_sympy, args)
        if op == "diff":
            return sympy.Derivative(body, variable)
        return sympy.Integral(body, (variable, *bounds) if bounds else variable)
    if op in ("sum", "prod"):
        index, low, high, body = map(to_sympy, args)
        return (sympy.Sum if op == "sum" else sympy.Product)(body, (index, low, high))
    if op == "lim":
        variable, point, side, body = args
        sides = (to_sympy(body), to_sympy(variable), to_sympy(point))
        return sympy.Limit(*sides, side or "+-") if point.op != "inf" else sympy.Limit(*sides)
    if op == "call" or op == "sub":
        return sympy.Function(f"{op} {args[0]}", real=True)(*map(to_sympy, args[1:]))
    values = [to_sympy(arg) for arg in args if isinstance(arg, Node)]
    if op in ("+", "mixed"):
        return sympy.Add(*values)
    if op == "*":
        return sympy.Mul(*values)
    x: Any = values[0] if values else None
    match op:
        case "neg":
            return -x
        case "inv":
            return 1 / x
        case "/":
            return x / values[1]
        case "^":
            return _power(*values)
        case "sqrt":
            return sympy.sqrt(x)
        case "root":
            return _power(x, 1 / values[1])
        case "percent":
            return x / 100
        case "deg":
            return x * sympy.pi / 180
    if op in _RENAMED or op in _SAME_NAME:
        return getattr(sympy, _RENAMED.get(op, op))(*values)
    raise Unparsable(f"{op} is not an expression")


def _power(base: Any, exponent: Any) -> Any:
    """A power. Odd roots of negative numbers are real, as everywhere in this verifier."""
    if base.is_number and base.is_negative and exponent.is_Rational and exponent.q % 2:
        return (-1) ** exponent.p * (-base) ** exponent
    return base**exponent


def from_sympy(expression: Any) -> Node | None:
    """The tree of a sympy expression, or None if trees have no node for it."""
    import sympy

    if expression.is_Integer:
        return number(int(expression))
    if expression.is_Rational:
        return number(Fraction(int(expression.p), int(expression.q)))
    if expression.is_Symbol:
        return Node("var", (expression.name,))
    constants = {sympy.pi: "pi", sympy.E: "e", sympy.I: "i"}
    if expression in constants:
        return Node("const", (constants[expression],))
    if expression in (sympy.oo, -sympy.oo):
        infinity = Node("inf", ())
        return infinity if expression is sympy.oo else Node("neg", (infinity,))
    if expression.is_number and expression.has(sympy.nan, sympy.zoo):
        raise Undefined("no value")
    args = [from_sympy(arg) for arg in expression.args]
    if any(arg is None for arg in args):
        return None
    nodes = tuple(arg for arg in args if arg is not None)
    if expression.is_Add:
        return Node("+", nodes)
    if expression.is_Mul:
        return Node("*", nodes)
    if expression.is_Pow:
        return Node("^", nodes)
    name = type(expression).__name__
    kind, _, letter = name.partition(" ")
    if kind in ("call", "sub"):
        return Node(kind, (letter, *nodes))
    back = {sympy_name: ours for ours, sympy_name in _RENAMED.items()}
    if name in back or name in _SAME_NAME:
        return Node(back.get(name, name), nodes)
    return None


def closed_form(node: Node) -> Node | None:
    """The tree with its integrals, sums, limits and derivatives computed, or None if sympy cannot."""
    import sympy

    try:
        worked = to_sympy(node).doit()
    except (MemoryError, Undefined, Unparsable):
        raise
    except Exception:  # sympy may raise anything
        return None
    if worked.has(sympy.nan, sympy.zoo):
        raise Undefined("no value")
    if worked.has(sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit, sympy.Derivative):
        return None
    return from_sympy(worked)


def provably_equal(left: Node, right: Node) -> bool | None:
    """Whether the sides are equal, if sympy proves it; else None."""
    import sympy

    try:
        difference = sympy.simplify(to_sympy(left) - to_sympy(right))
    except (MemoryError, Unparsable):
        raise
    except Exception:  # sympy may raise anything
        return None
    if difference.has(sympy.nan, sympy.zoo):
        return None
    zero = difference.is_zero
    return None if zero is None else bool(zero)


def is_factored(node: Node) -> bool:
    """Whether the polynomial has no further factor over the rationals, also no whole number."""
    import sympy

    expression = to_sympy(node)
    if not expression.free_symbols:
        return True
    try:
        content, factors = sympy.factor_list(expression)
    except sympy.PolynomialError:  # not a polynomial, such as sin(x)
        return True
    irreducible = len(factors) == 1 and factors[0][1] == 1
    # A content such as 1/2 only clears denominators. Any other is a factor that was not taken out.
    return irreducible and abs(sympy.Rational(content).p) == 1
