"""Text that comes from outside: names of layers, splits, runs and files, and what others wrote in them."""

from collections.abc import Collection
from itertools import islice
from unicodedata import category

_ACTS = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control codes, marks that turn text around, halves of pairs, line breaks


def reason_of(error: Exception) -> str:
    r"""The message of an error in one line, without its full stop; its kind where it has none.

    Example:
        >>> reason_of(ValueError("no such\n  name.")), reason_of(KeyError())
        ('no such name', 'KeyError')
    """
    return " ".join(str(error).removesuffix(".").split()) or type(error).__name__


def first_few(names: Collection[object], limit: int = 3) -> str:
    """The first of the names, and how many more there are.

    Example:
        >>> first_few("abcde"), first_few("ab"), first_few("")
        ('a, b, c and 2 more', 'a, b', '')
    """
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, islice(names, limit))) + more


def printable(text: str) -> str:
    r"""The text in one line, where what a terminal or a page would obey, instead of showing it, is spelled out.

    Example:
        >>> print(printable("conv\x1b[2J\n1"), printable("Größe × 2"))
        conv\x1b[2J\n1 Größe × 2
    """
    return text if text.isprintable() else "".join(ascii(c)[1:-1] if category(c) in _ACTS else c for c in text)
