"""A plain kube-inject goes past click, and means the same as through it."""

import subprocess
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import start
from lab.kube_inject import cli
from lab.kube_inject.run import KubeInjectRequest

words = st.lists(
    st.sampled_from(
        [*start.FLAGS, *start.VALUES, *start.FILES, "a", "-", "--", "-h", "--help", "-fa", "-v",
         "--filename=a", "--un", "", "b.yaml", "-x"]
    ), max_size=8,
)  # fmt: skip


@given(words)
def test_what_is_read_here_is_what_click_reads(arguments: list[str]) -> None:
    fields = start.plain(["kube-inject", *arguments])
    if fields is None:
        return
    context = cli.kube_inject.make_context("kube-inject", list(arguments))
    assert KubeInjectRequest(**fields) == KubeInjectRequest(**context.params)


@pytest.mark.parametrize("arguments", [["-f", "a"], ["-f", "a", "--native", "-f", "b", "-o", "c"]])
def test_plain_lines_are_read_here(arguments: list[str]) -> None:
    assert start.plain(["kube-inject", *arguments]) is not None


@pytest.mark.parametrize(
    "arguments", [[], ["up"], ["-v", "kube-inject"], ["kube-inject"], ["kube-inject", "-h"]]
)
def test_all_else_is_for_click(arguments: list[str]) -> None:
    assert start.plain(arguments) is None


def test_both_ways_tell_a_mistake_alike() -> None:
    def told(*arguments: str) -> tuple[int, bytes]:
        argv = [sys.executable, "-m", "lab", "kube-inject", *arguments]
        done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
        return done.returncode, done.stderr

    assert told("-f", "no-such.yaml") == told("--filename=no-such.yaml")
    assert told("-f", "no-such.yaml")[0] == 1
    assert b"hint: " in told("-f", "no-such.yaml")[1]


def test_every_option_of_click_is_known_here() -> None:
    options = {
        name
        for parameter in cli.kube_inject.params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {*start.FLAGS, *start.VALUES, *start.FILES} == options
