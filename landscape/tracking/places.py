"""Where checkpoints lie in the folder of a run, and of which step a name says that they are.

    epoch-0003.pt  step=400.ckpt  epoch=3-step=400-v1.ckpt    files; of torch, also model_3.bin and model_3.pth.tar
    checkpoint-500/                                           weights of a Trainer, of accelerate, of an adapter
    step-100/  iter_0000100/                                  of torch.distributed.checkpoint: with .metadata
    step-100/model.pt                                         a file alone in a folder with a number
    checkpoints/                                              all of these in there, as Lightning has them

What a Trainer leaves in its folder at the end is a checkpoint too: the folder itself.
"""

import re
from contextlib import suppress
from pathlib import Path

_OF_TORCH_OR_NOT = (".bin", ".tar", ".pkl")
SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", *_OF_TORCH_OR_NOT)
_WEIGHTS: tuple[str, ...] = ("model.safetensors", "model.safetensors.index.json")
_WEIGHTS += ("pytorch_model.bin", "pytorch_model.bin.index.json")
_ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
_BESIDE = (".", "optimizer", "scheduler", "scaler", "rng_state", "random_states", "training_args", "custom_checkpoint")
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_SHARD = re.compile(r"-\d+-of-\d+\.")
_STEP = re.compile(r"(step|iter|checkpoint|ckpt|epoch)s?[-_= ]?\d+", re.IGNORECASE)
_INSIDE = ("checkpoints", "checkpoint")

_DEPTH, _WIDTH = 4, 1000  # of folders below

_COUNTS = ("step|iteration|iter|update", "(?<![a-z])ba", "(?<![a-z])(?:epoch|ep)")  # the first that a name has
_NUMBER = r"(\d+)((?:[kM](?![a-z]))?)"
_TIMES = {"": 1, "k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6}
_VERSION, _RANK = re.compile(r"-v\d+$"), re.compile(r"[-_]rank[-_]?\d+", re.IGNORECASE)


def step_in(path: Path) -> int | None:
    """The step that a name says, or the epoch, or its last whole number; None where it has none.

    The last number counts of a file, and of a folder that is called checkpoint-3, say: a run is called anything.

    Example:
        >>> names = "epoch=3-step=400.ckpt", "step=400-epoch=3-v1.ckpt", "epoch=2-loss=0.31.pt", "iter_00010", "3.tar"
        >>> [step_in(Path(name)) for name in names]
        [400, 400, 2, 10, 3]
    """
    stem = path.stem.removesuffix(".pth").removesuffix(".pt")  # model.pth.tar
    name = _RANK.sub("", stem if path.suffix in SUFFIXES else path.name)
    bare = _VERSION.sub("", name)  # of Lightning's, where a file of that name was there
    name = bare if re.search(r"\d", bare) or bare == "last" else name
    for count in _COUNTS:
        before = rf"(?:{count})s?[-_= ]*{_NUMBER}(?!\.?\d)"
        after = rf"(?<![\d.]){_NUMBER}[-_ ]?(?:{count})s?(?![a-z\d])"
        for pattern in (before, after):
            if found := re.findall(pattern, name, re.IGNORECASE):
                number, thousands = found[-1]
                return int(number) * _TIMES[thousands]
    if path.suffix not in SUFFIXES and not name.isdigit() and not _STEP.search(name):
        return None
    whole = [number for number in re.findall(r"\d+(?:\.\d+)*", name) if "." not in number]
    return int(whole[-1]) if whole else None


def all_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, files and folders, and the folder itself where it is one."""
    if (folder / ".metadata").is_file() or _holds_one(folder):
        return [folder]
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith((".", "tmp-"))]
    found = [*_files_in(folder), *(path for path in inside if _is_checkpoint(path))]
    found += [folder] if _has_weights(folder) else []
    for path in inside:
        if not found and path.name in _INSIDE:
            return all_in(path)
    return found


def runs_below(folder: Path) -> list[Path]:
    """The folders of runs further down, those that lie highest.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     run = Path(root, "lightning_logs", "version_0")
        ...     (run / "checkpoints").mkdir(parents=True)
        ...     (run / "checkpoints" / "step=5.ckpt").touch()
        ...     runs_below(Path(root)) == [run]
        True
    """
    runs: list[Path] = []
    level = [folder]
    for _ in range(_DEPTH):
        inside: list[Path] = []
        for some in level[:_WIDTH]:
            with suppress(OSError):  # not ours to look into
                inside += [one for one in sorted(some.iterdir()) if one.is_dir() and one.name[0] != "."]
        level = []
        for one in inside:
            with suppress(OSError):
                (runs if all_in(one) else level).append(one)
    return runs


def is_of_a_step(folder: Path) -> bool:
    """Whether a folder is one checkpoint and its name says of which step."""
    return bool(_STEP.search(folder.name)) and _is_checkpoint(folder)


def _is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one checkpoint, all there as far as the names of its files tell."""
    return (folder / ".metadata").is_file() or _has_weights(folder) or _holds_one(folder)


def _has_weights(folder: Path) -> bool:
    names = _WEIGHTS + (_ADAPTER if (folder / "adapter_config.json").is_file() else ())
    return any((folder / name).is_file() for name in names)


def _holds_one(folder: Path) -> bool:
    """Whether it is of a step, by its name, and holds a single file."""
    return bool(_STEP.search(folder.name)) and len(_files_in(folder)) == 1


def _files_in(folder: Path) -> list[Path]:
    """The files that may each be a checkpoint."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in SUFFIXES
        and not path.name.startswith(_BESIDE)
        and path.name not in (*_WEIGHTS, *_ADAPTER)
        and not _SHARD.search(path.name)
        and path.is_file()
        and (path.suffix not in _OF_TORCH_OR_NOT or _is_of_torch(path))
    ]


def _is_of_torch(path: Path) -> bool:
    """Whether its first bytes are those that ``torch.save`` writes, zip or legacy."""
    with path.open("rb") as file:
        head = file.read(256)
    first_name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head.startswith(_LEGACY) or (head.startswith(b"PK\x03\x04") and first_name.endswith(b"/data.pkl"))
