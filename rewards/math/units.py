"""The known units and their dimensions. Any other word after a number is not a unit.

A unit is a product of powers of base quantities and a factor, so `100 cm` equals `1 m`, and 36 degrees
are not 36 dollars. A unit without a fixed size in another unit (a month in days, a gallon in litres, a euro
in dollars) is a base quantity of its own.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Unit(NamedTuple):
    """`powers` of base quantities, sorted by name, and the `factor` relative to their base units (SI)."""

    powers: tuple[tuple[str, int], ...]
    factor: Fraction


SCALES = {
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
PERCENT = frozenset({"percent", "per cent", "percents", "percentage", "pct"})
# name(s), size in base units, base quantities
_TABLE = """
m metre metres meter meters | 1 | length
km kilometre kilometres kilometer kilometers kms | 1000 | length
dm decimetre decimetres decimeter decimeters | 1/10 | length
cm centimetre centimetres centimeter centimeters cms | 1/100 | length
mm millimetre millimetres millimeter millimeters | 1/1000 | length
nm nanometre nanometres nanometer nanometers | 1/1000000000 | length
in inch inches | 254/10000 | length
ft foot feet | 3048/10000 | length
yd yds yard yards | 9144/10000 | length
mi mile miles | 1609344/1000 | length
furlong furlongs | 201168/1000 | length
g gram grams gramme grammes | 1/1000 | mass
kg kgs kilogram kilograms kilo kilos | 1 | mass
mg milligram milligrams | 1/1000000 | mass
t tonne tonnes | 1000 | mass
ton tons | 1 | ton
lb lbs pound pounds | 45359237/100000000 | mass
oz ounce ounces | 45359237/1600000000 | mass
s sec secs second seconds | 1 | time
ms millisecond milliseconds | 1/1000 | time
min mins minute minutes | 60 | time
h hr hrs hour hours | 3600 | time
day days | 86400 | time
week weeks | 604800 | time
month months | 1 | month
year years yr yrs | 12 | month
decade decades | 120 | month
century centuries | 1200 | month
L l litre litres liter liters | 1/1000 | length 3
ml mL millilitre millilitres milliliter milliliters | 1/1000000 | length 3
cl cL centilitre centilitres centiliter centiliters | 1/100000 | length 3
dl dL | 1/10000 | length 3
cc | 1/1000000 | length 3
gal gallon gallons | 1 | gallon
qt quart quarts | 1/4 | gallon
pt pint pints | 1/8 | gallon
cup cups | 1/16 | gallon
tbsp tablespoon tablespoons | 1/256 | gallon
tsp teaspoon teaspoons | 1/768 | gallon
ha hectare hectares | 10000 | length 2
acre acres | 1 | acre
mph | 1609344/3600000 | length time -1
kph kmph | 10/36 | length time -1
knot knots | 1 | knot
$ dollar dollars usd USD buck bucks | 1 | dollar
cent cents ¢ | 1/100 | dollar
dime dimes | 1/10 | dollar
nickel nickels | 1/20 | dollar
penny pennies | 1/100 | dollar
pence | 1/100 | sterling
euro euros EUR | 1 | euro
sterling GBP | 1 | sterling
rupee rupees Rs | 1 | rupee
yen JPY | 1 | yen
yuan RMB CNY | 1 | yuan
peso pesos | 1 | peso
won wons | 1 | won
rad radian radians | 1 | angle
sr steradian steradians | 1 | solidangle
rev revolution revolutions | 1 | revolution
celsius | 1 | celsius
fahrenheit | 1 | fahrenheit
K kelvin kelvins | 1 | kelvin
N newton newtons | 1 | mass length time -2
kN | 1000 | mass length time -2
J joule joules | 1 | mass length 2 time -2
kJ kilojoule kilojoules | 1000 | mass length 2 time -2
MJ | 1000000 | mass length 2 time -2
cal calorie calories | 1 | calorie
kcal | 1000 | calorie
eV | 1 | electronvolt
keV | 1000 | electronvolt
MeV | 1000000 | electronvolt
W watt watts | 1 | mass length 2 time -3
mW milliwatt milliwatts | 1/1000 | mass length 2 time -3
kW kilowatt kilowatts | 1000 | mass length 2 time -3
MW megawatt megawatts | 1000000 | mass length 2 time -3
kWh | 3600000 | mass length 2 time -2
Pa pascal pascals | 1 | mass length -1 time -2
kPa | 1000 | mass length -1 time -2
atm | 1 | atmosphere
Hz hertz | 1 | time -1
kHz | 1000 | time -1
MHz | 1000000 | time -1
V volt volts | 1 | volt
mV | 1/1000 | volt
kV | 1000 | volt
A amp amps ampere amperes | 1 | ampere
mA | 1/1000 | ampere
ohm ohms | 1 | ohm
C coulomb coulombs | 1 | coulomb
T tesla teslas | 1 | tesla
mol mole moles | 1 | mole
bit bits | 1 | bit
byte bytes B | 8 | bit
KB kB kilobyte kilobytes | 8000 | bit
MB megabyte megabytes | 8000000 | bit
GB gigabyte gigabytes | 8000000000 | bit
unit units | 1 | unit
people person persons | 1 | person
"""
# Things that are counted: each word is a base quantity of its own.
_COUNTED = (
    "student child boy girl man woman player teacher worker member friend coin ticket card ball marble "
    "apple orange egg book page car point game vote seat room bag box bottle piece item way square "
    "solution root triangle diagonal side vertex edge face"
)
_IRREGULAR = {"child": "children", "man": "men", "woman": "women", "box": "boxes", "vertex": "vertices"}


def _listed() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for line in _TABLE.strip().splitlines():
        names, size, quantities = (part.split() for part in line.split("|"))
        powers: list[tuple[str, int]] = []
        for word in quantities:
            if word.lstrip("-").isdigit():
                powers[-1] = (powers[-1][0], int(word))
            else:
                powers.append((word, 1))
        for name in names:
            units[name] = Unit(tuple(sorted(powers)), Fraction(size[0]))
    for word in _COUNTED.split():
        for name in (word, _IRREGULAR.get(word, word + "s")):
            units[name] = Unit(((word, 1),), Fraction(1))
    return units


UNITS = _listed()
# Longer names are words, which may be in upper case; in symbols, M and m differ.
_WORDS = {name.lower(): unit for name, unit in UNITS.items() if len(name) > 3}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_BEHIND = {"squared": 2, "cubed": 3}
_PIECE = re.compile(r"[A-Za-z$¢]+|\^-?[0-9]+|[0-9]+|[/*]|\S")


class Phrase(NamedTuple):
    """The words after a number: a scale such as a million, and a unit or a percent sign if there is one."""

    scale: int
    unit: Unit | None
    percent: bool


@lru_cache(maxsize=4096)
def read_unit(text: str) -> Phrase | None:
    """The words after a number as scale and unit; None if they are neither."""
    words = " ".join(text.replace("\\cdot", "*").replace(".", " ").replace("^ ", "^").split()).strip(" .")
    words = re.sub(r"^degrees? (?=celsius|fahrenheit)", "", words, flags=re.IGNORECASE)
    scale = 1
    while found := re.match(r"([a-z]+)s?(?:\s+(?:of\s+)?|$)", words, re.IGNORECASE):
        size = SCALES.get(found.group(1).lower()) or SCALES.get(found.group(1).lower().removesuffix("s"))
        if not size:
            break
        scale *= size
        words = words[found.end() :]
    if not words:
        return Phrase(scale, None, False) if scale > 1 else None
    if words.lower() in PERCENT:
        return Phrase(scale, None, True)
    unit = _product(words)
    return Phrase(scale, unit, False) if unit else None


def _product(words: str) -> Unit | None:
    powers: dict[str, int] = {}
    factor, sign, ahead, expected = Fraction(1), 1, 1, True
    last: tuple[Unit, int] | None = None

    def put(unit: Unit, times: int) -> None:
        nonlocal factor
        for name, power in unit.powers:
            powers[name] = powers.get(name, 0) + power * times
        factor *= unit.factor**times

    for piece in _PIECE.findall(words):
        lower = piece.lower()
        if piece in ("/", "*") or lower == "per":
            if expected and lower != "per":
                return None
            sign, ahead, expected = (1 if piece == "*" else -1), 1, True
        elif lower in _POWERS and expected:
            ahead = _POWERS[lower]
        elif (lower in _BEHIND or piece[0] == "^" or piece.isdigit()) and last and not expected:
            digits = piece.lstrip("^")
            if lower not in _BEHIND and not digits.lstrip("-").isdigit():
                return None
            power = _BEHIND.get(lower) or int(digits)
            if abs(power) > 9:
                return None
            put(last[0], last[1] * (power - 1))
            last = None
        else:
            unit = UNITS.get(piece) or _WORDS.get(lower)
            if unit is None or (not expected and unit == UNITS["unit"]):
                return None
            put(unit, sign * ahead)
            last, ahead, expected = (unit, sign * ahead), 1, False
    if expected:
        return None
    return Unit(tuple(sorted((name, power) for name, power in powers.items() if power)), factor)
