"""Cases that are wrong today, by the kind of the issue that they belong to: a kind that is mended leaves the list."""

_BY_KIND = {
    "3 another function's gradient": ("parametrizations/spectral_norm in train",),
}
KNOWN_WRONG = {name: kind for kind, names in _BY_KIND.items() for name in names}
