"""Bounds of numbers, as policies write them: ``3``, ``">= 1"``, ``"<= 64 MiB"``, ``"<= 90%"``."""

from __future__ import annotations

from pybpftool.records import Record

_UNITS = {
    "": 1,
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
}
_SIGNS = ("<=", ">=", "==", "!=", "<", ">")


class Bound(Record):
    """A comparison; a per cent is of a whole that is known where the number is."""

    sign: str
    number: float
    is_per_cent: bool = False
    unit: str = ""

    def holds(self, value: float, whole: float = 0) -> bool:
        """Whether a value is as wished."""
        limit = self.limit(whole)
        if self.sign == "<=":
            return value <= limit
        if self.sign == ">=":
            return value >= limit
        if self.sign == "<":
            return value < limit
        if self.sign == ">":
            return value > limit
        return (value == limit) == (self.sign == "==")

    def limit(self, whole: float = 0) -> float:
        """The number that values are compared with."""
        return whole * self.number / 100 if self.is_per_cent else self.number * _UNITS[self.unit]

    def __str__(self) -> str:
        number = f"{self.number:g}" if self.number < 1e6 else f"{self.number:.0f}"
        unit = "%" if self.is_per_cent else f" {self.unit}" if self.unit else ""
        sign = "" if self.sign == "==" else f"{self.sign} "
        return f"{sign}{number}{unit}"


def bound_of(value: object) -> Bound | str:
    """The bound that a policy's value means, or what it should have been."""
    wanted = 'is a number, or text like ">= 1", "<= 64 MiB" or "< 90%"'
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return wanted
    if isinstance(value, (int, float)):
        return Bound("==", value) if 0 <= value < 1 << 64 and value == int(value) else wanted
    text = value.strip()
    sign = next((sign for sign in _SIGNS if text.startswith(sign)), "")
    text = text[len(sign) :].strip()
    digits = text.rstrip("%abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text[len(digits) :].strip()
    number = _number(digits)
    if number is None or (unit != "%" and unit not in _UNITS):
        return wanted
    if not unit and number != int(number):  # nothing that is counted has a fraction
        return wanted
    return Bound(sign or "==", number, unit == "%", "" if unit == "%" else unit)


def _number(digits: str) -> float | None:
    plain = digits.replace("_", "").replace(",", "")
    whole, point, fraction = plain.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(plain) < 24):
        return None
    if not point:
        return int(whole)
    return float(plain) if fraction.isascii() and fraction.isdigit() else None
