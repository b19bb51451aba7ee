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
        AmbiguousPrefixError: they fit under several prefixes, and are not there as they are.

    Example:
        >>> match_names(["net.module.w", "net.module.b", "loss.w"], ["w", "b"], lambda found: len(found) == 2)
        Match(found={'w': 'net.module.w', 'b': 'net.module.b'}, prefix='net.module.', inside=[], outside=['loss.w'])
    """
    found, expected = list(found), list(expected)
    fitting: list[Match] = []
    twice = False
    asis: Match | None = None  # with the names as they are
    others = [Match({}, "", found, [])]
    for dropped in (frozenset(), _WRAPPERS, _WRAPPERS | {"module"}):
        theirs, ours = _bare(found, dropped), _bare(expected, dropped)
        if len(theirs) < len(found) or len(ours) < len(expected):
            twice = twice or len(theirs) < len(found)
            continue  # two names would be one
        for prefix, stem in _prefixes(theirs, ours):
            match = _under(prefix, theirs, stem, ours)
            if not fits(match.found) or (prefix and stem and match.outside):
                others.append(match)
            else:
                fitting.append(match)
                asis = asis or (match if not prefix and not stem and "module" not in dropped else None)
    used = [frozenset(match.found.values()) for match in fitting]
    largest = {names for names in used if not any(names < other for other in used)}
    if asis and frozenset(asis.found.values()) in largest:
        return asis
    if len(largest) > 1:
        prefixes = sorted({match.prefix for match, names in zip(fitting, used, strict=True) if names in largest})
        raise AmbiguousPrefixError(
            f"its names fit under several prefixes: {', '.join(map(repr, prefixes))}: choose one as --key"
        )
    match = max(fitting or others, key=lambda match: (len(match.found), -len(match.inside)))
    if fitting and twice and match.outside:
        raise AmbiguousPrefixError("it has names twice, but for wrappers")
    return match


def _bare(names: Iterable[str], dropped: frozenset[str]) -> dict[str, str]:
    """The names by what they are without these segments."""
    if not dropped:
        return {name: name for name in names}
    return {".".join(part for part in name.split(".") if part not in dropped): name for name in names}


def _prefixes(theirs: dict[str, str], ours: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What may be before the file's names, and what before the model's."""
    deepest = sorted(ours, key=lambda name: (-name.count("."), name))
    anchors = deepest[:: max(len(deepest) // _ANCHORS, 1)]  # some of them may be missing
    ends = (name.removesuffix(anchor) for anchor in anchors for name in theirs if name.endswith(anchor))
    yield from ((prefix, "") for prefix in dict.fromkeys(ends) if not prefix or prefix.endswith("."))
    parts = deepest[0].split(".")[:-1] if deepest else []
    for stem in (".".join(parts[: n + 1]) + "." for n in range(len(parts))):
        rest = deepest[0].removeprefix(stem)
        before = (name.removesuffix(rest) for name in theirs if name.endswith(rest))
        yield from ((prefix, stem) for prefix in dict.fromkeys(["", *before]) if not prefix or prefix.endswith("."))


def _under(prefix: str, theirs: dict[str, str], stem: str, ours: dict[str, str]) -> Match:
    found = {own: theirs[key] for name, own in ours.items() if (key := prefix + name.removeprefix(stem)) in theirs}
    used = set(found.values())
    inside = [name for bare, name in theirs.items() if bare.startswith(prefix) and name not in used]
    outside = [name for bare, name in theirs.items() if not bare.startswith(prefix)]
    return Match(found, prefix, inside, outside)
