import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import landscape

ROOT = Path(__file__).parent.parent
PACKAGES = {"landscape": "landscape", "cli": "landscape_cli"}  # folder -> installed name
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*args: str, cwd: Path, **env: str) -> str:
    done = subprocess.run([sys.executable, *args], cwd=cwd, env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of an sdist of a copy of the sources: what `python -m build` gives, with nothing left in the tree."""
    source = tmp_path_factory.mktemp("with a space") / "source"
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    run("-m", "build", "--no-isolation", "--outdir", "dist", cwd=source)
    (path,) = (source / "dist").glob("*.whl")
    return path


def test_wheel_holds_every_file_of_the_packages(wheel):
    on_disk = {
        f"{name}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, name in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())
    assert in_wheel == on_disk


def test_wheel_works_away_from_the_sources(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import landscape_cli.main, landscape.data as d; print(d.__file__); print(len(d.load_data('digits').train))"
    expected = f"{tmp_path / 'landscape' / 'data' / '__init__.py'}\n1437\n"
    assert run("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path)) == expected


def test_version_is_the_installed_one(wheel):
    assert wheel.name.startswith(f"landscape_geometry-{landscape.__version__}-")


def test_public_names_resolve():
    assert sorted(landscape.__all__) == landscape.__all__
    for name in landscape.__all__:
        assert getattr(landscape, name) is not None
    with pytest.raises(AttributeError, match="module 'landscape' has no attribute 'nothing'"):
        landscape.__getattr__("nothing")


def test_importing_landscape_does_not_import_torch():
    run("-c", "import landscape, sys; assert 'torch' not in sys.modules", cwd=ROOT)


def test_every_dependency_is_pinned():
    def normalized(requirement: str) -> str:
        return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)  # no build labels such as +cpu
    needed = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert {normalized(requirement) for requirement in needed} <= {normalized(line) for line in lines}


def test_the_quick_tests_are_there():
    quick = re.search(r"^QUICK := (.*?[^\\])\n", (ROOT / "Makefile").read_text(), re.DOTALL | re.MULTILINE)[1]
    paths = quick.replace("\\\n", " ").split()
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
