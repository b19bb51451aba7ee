"""transformers without reports and progress bars, and never on the network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest


@pytest.fixture(autouse=True, scope="session")
def _quiet():
    logging = pytest.importorskip("transformers").utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
