"""What the pages are made of: their assets, their policy, and how numbers, names and specifications are written."""

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from landscape.figures.kinds.style import SUPERSCRIPTS
from landscape.results import Measurement
from landscape.text import printable

_SHORT = 0.01  # seconds


def render(template: str, *, scripts: Sequence[str] = (), **values: Any) -> str:
    """A template of ours with these scripts, in which all that is not markup already is escaped."""
    environment = Environment(autoescape=True, finalize=_shown, undefined=StrictUndefined, loader=FunctionLoader(asset))
    environment.filters |= {"number": number, "breakable": breakable}
    environment.tests |= {"finite": math.isfinite}
    assets = {"css": Markup(asset("page.css")), "policy": _policy(scripts), "scripts": list(map(Markup, scripts))}
    return environment.get_template(template).render(**assets, **values)


def asset(name: str) -> str:
    """The text of a file that lies beside this one."""
    return (files("landscape.figures.page") / name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


def _policy(scripts: Sequence[str]) -> str:
    """No script but these, by their hash, and no request at all."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def cell(m: Measurement) -> dict[str, Any]:
    """What a table says of a measurement."""
    text = number(m.text)
    value = text.partition(" × " if text.startswith("(") else " ±")[0]  # a narrow column may break the line here
    return {
        "value": value,
        "rest": text.removeprefix(value).strip(),
        "converged": m.converged,
        "reason": m.reason,
        "num_matvecs": m.num_matvecs,
        "num_gradients": m.num_gradients,
        "seconds": f"{m.seconds:.2f}" if m.seconds >= _SHORT else f"< {_SHORT}",
    }


def spec(spec: Mapping[str, Any]) -> str:
    """A model or data with its arguments."""
    args = ", ".join(f"{key} {value}" for key, value in (spec.get("args") or {}).items())
    return f"{spec['name']} ({args})" if args else str(spec["name"])


def code(text: str) -> Markup:
    """As the machine spells it."""
    return Markup("<code>{}</code>").format(_shown(text))


def number(text: str | Markup) -> Markup:
    """Powers of ten, signs and percentages as they are printed."""
    printed = re.sub(
        r"(?<=[\d)])e([+-]\d+)\b",
        lambda found: f" × 10{str(int(found[1])).translate(SUPERSCRIPTS)}",
        str(escape(_shown(text))).replace("+-", "±"),
    )
    return Markup(re.sub(r"(?<![\w&;.])-(?=\d)", "−", printed).replace(" %", "\N{NO-BREAK SPACE}%"))


def short(value: float) -> str:
    """In a sentence."""
    return f"{value:.3g}"


def breakable(name: str) -> Markup:
    """A long name may be broken after its underscores."""
    return Markup(str(escape(_shown(name))).replace("_", "_<wbr>"))
