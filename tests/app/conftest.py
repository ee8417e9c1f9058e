"""What the tests of the window share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def collect_in_the_gui_thread() -> Iterator[None]:
    """As `app.collector` does it in the program: no worker may destroy GUI objects of old tests.

    Python collects cycles in whichever thread happens to allocate, and Qt objects that are
    destroyed in another thread than theirs bring the interpreter down now and then.
    """
    gc.disable()
    yield
    gc.collect()
    gc.enable()
