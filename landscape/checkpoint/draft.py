"""Draft the problem file that a checkpoint needs, from the names and shapes of its weights.

Where the names are those of a family of models, or tell a chain of plain layers, the draft builds that model; the data
and what no name tells (activations, padding) are left to fill in, and say so when the file is run unfilled.
"""

import re
from itertools import takewhile
from os.path import commonprefix
from pathlib import Path
from typing import Any

from landscape.checkpoint.families import ours, transformers_or_timm
from landscape.files import whole
from landscape.reading import FileError

_HEAD = '''"""What the weights of {path} are of: drafted from their names. Look at every line marked TODO."""

import torch
{imports}

def problem():
{model}
    # TODO the data that the weights were trained on or are judged by, as a fixed list of batches
    inputs, targets = None, None
    if inputs is None:
        raise NotImplementedError("say in problem() what the inputs and the targets are")
    return model, torch.nn.CrossEntropyLoss(), {{"train": [(inputs, targets)]}}
'''


def write_draft(path: Path, facts: dict[str, Any]) -> None:
    """Write the file.

    Args:
        path: where; a file that is there is not replaced.
        facts: of ``describe``.

    Raises:
        FileError: there is a file already.
    """
    if path.exists():
        raise FileError(f"{path}: is there already. Give another name, or remove it.")
    with whole(path) as part:
        part.write_text(draft(facts), encoding="utf-8")


def draft(facts: dict[str, Any]) -> str:
    """The text of a problem file for what ``describe`` found.

    Example:
        >>> shapes = {"0.weight": [3, 4], "0.bias": [3]}
        >>> facts = {"path": "w.pt", "tensors": [{"name": name, "shape": shape} for name, shape in shapes.items()]}
        >>> print(draft(facts).splitlines()[6].strip())
        model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    """
    shapes = _without_prefix({one["name"]: tuple(one["shape"]) for one in facts["tensors"]})
    for guess in (_configured, _chain, _residual, _family):
        if found := guess(shapes, facts):
            break
    else:
        found = (
            "",
            _lines(
                "# TODO build the model that has these weights:",
                *(f"#   {_quoted(name)} {shape}" for name, shape in list(shapes.items())[:40]),
                *(["#   ..."] if len(shapes) > 40 else []),
                'raise NotImplementedError("say in problem() which model it is")',
                "model = torch.nn.Module()",
            ),
        )
    imports, model = found
    return _HEAD.format(path=_quoted(facts["path"]), imports=imports, model=model)


def _configured(_shapes: dict[str, tuple[int, ...]], facts: dict[str, Any]) -> tuple[str, str] | None:
    """A folder whose config.json names its class, of transformers or diffusers, or its model of timm."""
    said = facts.get("model")
    name = str(said[0]) if isinstance(said, list) and said else said
    if not isinstance(name, str):
        return None
    library, _, name = name.rpartition(".")
    if library == "timm" and re.fullmatch(r"\w+", name):
        sizes = next(
            (f", num_classes={one['shape'][0]}" for one in reversed(facts["tensors"]) if len(one["shape"]) > 1), ""
        )
        return "import timm\n", _lines(f'model = timm.create_model("{name}"{sizes})')
    if not name.isidentifier() or library not in ("", "diffusers"):
        return None
    if library:
        return "import diffusers\n", _lines(
            f"config = diffusers.{name}.load_config({facts['path']!r})", f"model = diffusers.{name}.from_config(config)"
        )
    return "import transformers\n", _lines(
        f"config = transformers.AutoConfig.from_pretrained({facts['path']!r})", f"model = transformers.{name}(config)"
    )


def _without_prefix(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The names without what wrappers put before all of them, which loading does without too."""
    *common, _ = commonprefix(list(shapes)).split(".")  # noqa: RUF071  (up to a dot)
    words = takewhile(lambda word: not word.isdigit(), common)
    prefix = "".join(f"{word}." for word in words)
    return {name.removeprefix(prefix): shape for name, shape in shapes.items()}


def _chain(shapes: dict[str, tuple[int, ...]], _: dict[str, Any]) -> tuple[str, str] | None:
    """Layers of a ``Sequential``, which are called 0, 1, ...; between those with weights, activations."""
    if len(shapes) < 3 and "weight" in shapes and shapes.keys() <= {"weight", "bias"}:
        layer = _layer(shapes, 2)
        return ("", _lines(f"model = {layer}")) if layer else None
    layers: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        match = re.fullmatch(r"(\d{1,4})\.(weight|bias|running_mean|running_var|num_batches_tracked)", name)
        if not match:
            return None
        layers.setdefault(int(match[1]), {})[match[2]] = shape
    made, axes = [], 2  # of the weight of the layer before
    for place in range(max(layers, default=-1) + 1):
        layer = _layer(layers[place], axes) if place in layers else "torch.nn.ReLU()"
        if layer is None:
            return None
        made.append(layer)
        if len(weight := layers.get(place, {}).get("weight", ())) > 1:
            axes = len(weight)
    if not made:
        return None
    unknown = len(made) - len(layers)
    note = ["# TODO the names do not tell which layers without weights these are (ReLU is a guess)"] if unknown else []
    if len(made) == 1 and "#" not in made[0]:
        return "", _lines(f"model = torch.nn.Sequential({made[0]})")
    return "", _lines(*note, "model = torch.nn.Sequential(", *(f"    {_with_comma(one)}" for one in made), ")")


def _with_comma(line: str) -> str:
    code, mark, note = line.partition("  #")
    return f"{code},{mark}{note}"


def _layer(parts: dict[str, tuple[int, ...]], axes: int) -> str | None:
    """The plain layer that has parameters of these shapes, after one whose weight has so many axes."""
    bias = "" if "bias" in parts else ", bias=False"
    if "running_mean" in parts:
        affine = "" if "weight" in parts else ", affine=False"
        return f"torch.nn.BatchNorm{max(axes - 2, 1)}d({parts['running_mean'][0]}{affine})"
    weight = parts.get("weight", ())
    match len(weight):
        case 1 if weight == (1,) and bias:
            return "torch.nn.PReLU()"
        case 2 if parts.get("bias") == weight:
            return f"torch.nn.LayerNorm({weight})"
        case 1:
            return f"torch.nn.LayerNorm({weight[0]}{bias})"
        case 2:
            return f"torch.nn.Linear({weight[1]}, {weight[0]}{bias})"
        case 3 | 4 | 5:
            padding, kind = weight[2] // 2, f"torch.nn.Conv{len(weight) - 2}d"
            return f"{kind}({weight[1]}, {weight[0]}, {weight[2:]}, padding={padding}{bias})  # TODO stride"
    return None


def _residual(shapes: dict[str, tuple[int, ...]], _: dict[str, Any]) -> tuple[str, str] | None:
    """The names of torchvision's and timm's ResNets, or of ours."""
    if "layer1.0.conv1.weight" not in shapes:
        return None
    firsts = [re.fullmatch(r"layer(\d)\.\d+\.conv1\.weight", name) for name in shapes]
    blocks = "".join(str(sum(first[1] == n for first in firsts if first)) for n in "1234")
    wide = "layer1.0.conv3.weight" in shapes
    depth = {"2222": 18, "3463": 50 if wide else 34, "34233": 101, "38363": 152}.get(blocks)
    if depth is None:
        return None
    num_classes = next((shape[0] for name, shape in shapes.items() if name in ("fc.weight", "linear.weight")), 10)
    if shapes.get("conv1.weight", (0,) * 4)[2:] == (7, 7):
        made = f'model = timm.create_model("resnet{depth}", num_classes={num_classes})'
        return "import timm  # or torchvision.models\n", _lines(made)
    return "from landscape.models import build_model\n", _lines(
        "# TODO a ResNet for small images; its variant is a guess",
        f'model = build_model("resnet{depth}", input_shape=(3, 32, 32), num_classes={num_classes})',
    )


def _family(shapes: dict[str, tuple[int, ...]], _: dict[str, Any]) -> tuple[str, str] | None:
    if lines := ours(shapes):
        return "from landscape.models import build_model\n", _lines(*lines)
    found = transformers_or_timm(shapes)
    return (f"{found[0]}\n", _lines(*found[1])) if found else None


def _lines(*lines: str) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _quoted(path: str) -> str:
    return ascii(path)[1:-1].replace('"', "'")
