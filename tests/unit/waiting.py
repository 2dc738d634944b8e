"""Waiting for what another process does."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T | None], within: float = 15.0) -> T:
    """Ask `probe` until it gives something true; the failure carries what it gave last."""
    deadline = time.monotonic() + within
    while True:
        last = probe()
        if last:
            return last
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {within} s; last seen: {last!r}")
        time.sleep(0.02)
