"""Recipes by name: the protocols of the papers, and small ones for a laptop, as TOML files in ``recipes/``.

The first line of each says what it is, the comments where its values come from.
"""

import os
import tomllib
from pathlib import Path

from landscape.training.recipe import Recipe

_FOLDER = Path(__file__).parent / "recipes"


def recipe_names() -> dict[str, str]:
    """Return the named recipes with a line on each.

    Example:
        >>> recipe_names()["digits-sam"]
        'SAM on the digits: an MLP, one minute at most'
    """
    return {
        file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        for file in sorted(_FOLDER.glob("*.toml"))
    }


def load_recipe(name: str | os.PathLike[str]) -> Recipe:
    """Return a named recipe, or the one of a TOML file.

    Raises:
        ValueError: There is neither; the file is no TOML, or no recipe.
        OSError: The file cannot be read.

    Example:
        >>> load_recipe("digits-sam").optimizer
        'sam'
    """
    file = _FOLDER / f"{name}.toml" if str(name) in recipe_names() else Path(name)
    if file.suffix != ".toml" and not file.exists():
        raise ValueError(f"recipe '{name}' is unknown. Expected a TOML file, or one of: {', '.join(recipe_names())}.")
    try:
        return Recipe.from_toml(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: is no TOML file: {error}.") from error
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
