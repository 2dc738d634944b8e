"""The API for authors of chapters, and the programs that run chapters.

A chapter imports from here: Chapter, World, Seen, expect, eventually, consistently.
"""

from lab.scenario.chapter import Break, Chapter, Step
from lab.scenario.claims import ExpectationFailed
from lab.scenario.expectation import expect
from lab.scenario.seen import Output, Seen
from lab.scenario.waiting import consistently, eventually
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
