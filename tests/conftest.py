"""One torch thread per test process and its children: pytest-xdist already runs one process a core."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported, which is after this file
