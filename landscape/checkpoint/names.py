"""Whose names are whose: of a file's tensors and of a model's, which wrappers have put prefixes before.

DataParallel puts "module." before names, ``torch.compile`` "_orig_mod.", a LightningModule the name of its attribute;
in any order, at any depth, on either side. So names are matched up to the segments that wrappers are known to add, and
to one common prefix.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

_WRAPPERS = frozenset({"_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_ANCHORS = 8  # names of the model that are looked for in the file


class Match(NamedTuple):
    """The names of a file for those of a model.

    Attributes:
        found: the file's name of each of the model's that it has.
        prefix: what is before all of them in the file, beyond what is before the model's.
        inside: the file's other names under that prefix.
        outside: the file's names elsewhere.
    """

    found: dict[str, str]
    prefix: str
    inside: list[str]
    outside: list[str]


class AmbiguousPrefixError(ValueError):
    """The model's names are in the file under several prefixes; the message names them."""


def match_names(found: Iterable[str], expected: Iterable[str], fits: Callable[[dict[str, str]], bool]) -> Match:
    """The file's name for each of the model's; where they do not fit, the match that leaves the fewest without.

    Args:
        found: the file's names.
        expected: the model's.
        fits: whether a match, the file's name by the model's, is all that the model needs.

    Raises:
        AmbiguousPrefixError: they fit under several prefixes, of which none is empty.

    Example:
        >>> match_names(["net.module.w", "net.module.b", "loss.w"], ["w", "b"], lambda found: len(found) == 2)
        Match(found={'w': 'net.module.w', 'b': 'net.module.b'}, prefix='net.module.', inside=[], outside=['loss.w'])
    """
    found, expected = list(found), list(expected)
    best: list[Match] = []
    for dropped in (frozenset(), _WRAPPERS, _WRAPPERS | {"module"}):
        theirs, ours = _bare(found, dropped), _bare(expected, dropped)
        if len(theirs) < len(found) or len(ours) < len(expected):
            continue  # two names would be one
        matches = [_under(prefix, theirs, stem, ours) for prefix, stem in _prefixes(theirs, ours)]
        fitting = {match.prefix: match for match in matches if fits(match.found)}
        if len(fitting) > 1 and "" not in fitting:
            raise AmbiguousPrefixError(f"its names fit under several prefixes: {', '.join(sorted(fitting))}")
        best += [fitting[""]] if "" in fitting else fitting.values() or matches
    none = Match({}, "", found, [])
    return max(best, key=lambda match: (fits(match.found), len(match.found), -len(match.inside)), default=none)


def _bare(names: Iterable[str], dropped: frozenset[str]) -> dict[str, str]:
    """The names by what they are without these segments."""
    if not dropped:
        return {name: name for name in names}
    return {".".join(part for part in name.split(".") if part not in dropped): name for name in names}


def _prefixes(theirs: dict[str, str], ours: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What may be before the file's names; or, where that is nothing, what before the model's."""
    deepest = sorted(ours, key=lambda name: (-name.count("."), name))
    anchors = deepest[:: max(len(deepest) // _ANCHORS, 1)]  # some of them may be missing
    ends = (name.removesuffix(anchor) for anchor in anchors for name in theirs if name.endswith(anchor))
    yield from ((prefix, "") for prefix in dict.fromkeys(ends) if not prefix or prefix.endswith("."))
    parts = _common(ours).split(".")[:-1]
    yield from (("", ".".join(parts[: n + 1]) + ".") for n in range(len(parts)))


def _common(names: Iterable[str]) -> str:
    """The prefix of whole segments, with its dot, that all names share and none is."""
    names = list(names)
    if not names:
        return ""
    low, high = min(names).split(".")[:-1], max(names).split(".")[:-1]
    num = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return ".".join(low[:num]) + "." if num else ""


def _under(prefix: str, theirs: dict[str, str], stem: str, ours: dict[str, str]) -> Match:
    found = {own: theirs[key] for name, own in ours.items() if (key := prefix + name.removeprefix(stem)) in theirs}
    used = set(found.values())
    inside = [name for bare, name in theirs.items() if bare.startswith(prefix) and name not in used]
    outside = [name for bare, name in theirs.items() if not bare.startswith(prefix)]
    return Match(found, prefix, inside, outside)
