"""Scenarios: what a chapter is written with. See docs/architecture.md.

A chapter imports from here: Chapter, World, Seen, expect, eventually, consistently.
"""

from lab.scenario.expectation import ExpectationFailed, consistently, eventually, expect
from lab.scenario.model import Break, Chapter, Step
from lab.scenario.seen import Output, Seen
from lab.scenario.world import World

__all__ = [
    "Break",
    "Chapter",
    "ExpectationFailed",
    "Output",
    "Seen",
    "Step",
    "World",
    "consistently",
    "eventually",
    "expect",
]
