"""``landscape doctor``: what this installation consists of, and whether it measures right.

The check is a linear regression, whose Hessian is 2/n XᵀX whatever the weights: its trace and largest eigenvalue are
measured on every device and compared with that.
"""

import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import typer

from .console import print_json
from .options import Json, devices, find_device

_DISTRIBUTION = "landscape-geometry"
_PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "typer", "safetensors")


def doctor(json: Json = False) -> None:
    """Say what is installed, and check that a known curvature is measured right.

    [bold]landscape doctor[/]
    [bold]landscape doctor --json[/]
    """
    report = _installation()
    report["checks"] = [check for name in devices() for check in _checks(name)]
    report["passed"] = all(check["passed"] for check in report["checks"])
    if json:
        print_json(report)
    else:
        _print(report)
    if not report["passed"]:
        raise typer.Exit(1)


def _installation() -> dict[str, Any]:
    import os
    import platform

    import torch

    from landscape import __version__
    from landscape.measure.analysis import device_name
    from landscape.memory import available_bytes

    found = [find_device(name) for name in devices()]
    return {
        "landscape": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "torch_build": {"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip},
        "devices": [
            {"name": str(device), "model": device_name(device), "free_bytes": available_bytes(device)}
            for device in found
        ],
        "num_threads": torch.get_num_threads(),
        "num_cores": os.cpu_count(),
        "extras": _extras(),
    }


def _extras() -> dict[str, dict[str, str | None]]:
    """The packages of each optional extra with their versions, None where missing."""
    try:
        requirements = requires(_DISTRIBUTION) or []
    except PackageNotFoundError:  # run from the sources, without being installed
        return {}
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        if match := re.match(r"([\w.-]+).*extra == [\"'](\w+)[\"']", requirement):
            package, extra = match.groups()
            extras.setdefault(extra, {})[package] = _version(package)
    return extras


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _checks(name: str) -> list[dict[str, Any]]:
    import torch
    from torch import nn

    from landscape import Objective
    from landscape.measure import lambda_max, trace

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 12, generator=generator)
    hessian = 2 / len(inputs) * inputs.double().T @ inputs.double()
    batch = (inputs, torch.zeros(len(inputs), 1))
    objective = Objective(nn.Linear(12, 1, bias=False), nn.MSELoss(), [batch], device=find_device(name))
    estimate, largest = trace(objective, rel_error=0.02), lambda_max(objective, rel_error=1e-3)
    expected = {"trace": hessian.trace().item(), "lambda_max": torch.linalg.eigvalsh(hessian)[-1].item()}
    # Chance alone exceeds four standard errors once in ten thousand; an eigenvalue's error never exceeds its residual.
    # What is exact is so to the rounding of float32.
    allowed = {"trace": 4 * estimate.std_error, "lambda_max": largest.std_error}
    return [
        {
            "device": name,
            "metric": m.name,
            "value": m.value,
            "std_error": m.std_error,
            "expected": expected[m.name],
            "passed": m.converged and abs(m.value - expected[m.name]) <= max(allowed[m.name], 1e-5 * expected[m.name]),
        }
        for m in (estimate, largest)
    ]


def _print(report: dict[str, Any]) -> None:
    from landscape.results.measurement import quantity

    build = report["torch_build"]
    backend = f"CUDA {build['cuda']}" if build["cuda"] else f"ROCm {build['hip']}" if build["hip"] else "CPU only"
    print(f"landscape {report['landscape']}, Python {report['python']}, {report['platform']}")
    print("packages   " + ", ".join(f"{name} {found or 'MISSING'}" for name, found in report["packages"].items()))
    print(f"torch      {build['version']} ({backend}), {report['num_threads']} threads on {report['num_cores']} cores")
    for device in report["devices"]:
        print(f"device     {device['name']}: {device['model']}, {device['free_bytes'] / 2**30:.1f} GiB free")
    for extra, packages in report["extras"].items():
        missing = [name for name, found in packages.items() if found is None]
        print(f"extra      {extra}: {'missing ' + ', '.join(missing) if missing else 'present'}")
    for check in report["checks"]:
        measured = quantity(check["value"], check["std_error"])
        verdict = "ok" if check["passed"] else "WRONG"
        print(f"check      {check['device']} {check['metric']}: {measured}, exactly {check['expected']:.6g}: {verdict}")
    print(
        "All is well." if report["passed"] else "A known curvature was measured wrong: do not trust this installation."
    )
