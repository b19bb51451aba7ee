"""Cases that are wrong today, by the kind of the issue that they belong to: a kind that is mended leaves the list."""

_BY_KIND = {
    "3 another function's gradient": ("parametrizations/spectral_norm in train",),
    "6 rounding": (
        "dtypes/bfloat16",
        "dtypes/bfloat16 relu",
        "dtypes/bfloat16 linear",
        "dtypes/bfloat16 batch norm",
        "dtypes/bfloat16 MSE",
        "dtypes/float16 relu",
        "dtypes/float32 measured in bfloat16",
        "dtypes/one layer in bfloat16",
        "dtypes/one layer in bfloat16, relu",
        "dtypes/middle in bfloat16",
        "dtypes/middle in bfloat16, float64 around",
        "dtypes/autocast inside",
        "dtypes/autocast inside, relu",
    ),
}
KNOWN_WRONG = {name: kind for kind, names in _BY_KIND.items() for name in names}
