"""Every kind of file that is read, made on the spot by those who write them."""

from .beside import BESIDE
from .distributed import DISTRIBUTED
from .frameworks import FRAMEWORKS
from .kind import Kind, Written, data, small
from .plain import PLAIN
from .traps import TRAPS

KINDS: dict[str, Kind] = PLAIN | BESIDE | TRAPS | FRAMEWORKS | DISTRIBUTED

__all__ = ["KINDS", "Kind", "Written", "data", "small"]
