"""Numbers for people: bytes in decimal units, nouns in singular or plural."""


def human_bytes(count: float | None, short: bool = False) -> str:
    """A number of bytes to three digits, in decimal units; `short` drops trailing zeros.

    >>> human_bytes(999), human_bytes(240123), human_bytes(2e6), human_bytes(2e6, short=True)
    ('999 B', '240 kB', '2.00 MB', '2 MB')
    """
    if count is None:
        return "-"
    units = ("B", "kB", "MB", "GB", "TB")
    place = 0
    # 999.5 would be shown as 1000.
    while count >= 999.5 and place < len(units) - 1:
        count, place = count / 1000, place + 1
    digits = 0 if place == 0 or count >= 99.95 else 1 if count >= 9.995 else 2
    number = f"{count:.3g}" if short else f"{count:.{digits}f}"
    return f"{number} {units[place]}"


def amount(value: float | None, unit: str, short: bool = False) -> str:
    """A figure of any unit to three digits; `short` drops trailing zeros.

    >>> amount(240123, "B"), amount(7322.0, "s"), amount(0.0512, "J"), amount(4567.0, "J"), amount(2.0, "")
    ('240 kB', '2.03 h', '0.0512 J', '4.57 kJ', '2')
    """
    if value is None:
        return "-"
    if unit == "B":
        return human_bytes(value, short)
    if unit == "s" and value >= 100:
        value, unit = (value / 60, "min") if value < 3600 else (value / 3600, "h")
    if unit == "J" and value >= 1e3:
        value, unit = (value / 1e3, "kJ") if value < 1e6 else (value / 1e6, "MJ")
    return f"{value:.3g} {unit}".rstrip()


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun; `many` is the plural if it is not `one` with an s.

    >>> count(1, "seed"), count(2, "seed"), count(2, "reply", "replies")
    ('1 seed', '2 seeds', '2 replies')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
