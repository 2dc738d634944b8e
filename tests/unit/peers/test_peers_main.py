"""What the comparisons print, and when they fail."""

import os

import pytest

from tests.peers import __main__ as peers
from tests.peers.result import Accepted, Result
from tests.probers import compare

GOOD = Result("manifests", 9, (Accepted("images", "another one", 3),), ())
BAD = Result("flows", 2, (), ("a to b: captured, Istio's not",))


@pytest.mark.parametrize(("results", "code"), [([GOOD, GOOD], 0), ([GOOD, BAD], 1)])
def test_an_unexplained_difference_fails_and_everything_is_told(
    results: list[Result], code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made = iter(results)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(peers, "istio_binaries", lambda progress: None)
    monkeypatch.setattr(peers, "_comparison", lambda name: lambda *given: next(made))
    assert peers.main(["injection", "flows"]) == code
    out = capsys.readouterr().out
    assert "manifests: 9 compared, 3 differences accepted (reasons: 1), 0 unexplained" in out
    assert "    3  images: another one" in out
    assert ("unexplained: a to b: captured, Istio's not" in out) is bool(code)


def test_the_comparison_with_kubelet_builds_nothing_of_istio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "istio_binaries", lambda progress: pytest.fail("Istio was built"))
    outcome = compare.Outcome(3, 4, ("LF alone: kubelet success, the agent failure",))
    monkeypatch.setattr(compare, "compare", lambda progress: outcome)
    assert peers.main(["probers"]) == 1
    out = capsys.readouterr().out
    assert "probes and hooks (3 servers, 4 Locations): 10 compared, 0 differences accepted" in out
    assert "1 unexplained\n  unexplained: LF alone: kubelet success, the agent failure" in out


def test_without_root_what_needs_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(peers, "istio_binaries", lambda progress: pytest.fail("Istio was built"))
    assert peers.main([]) == 1
    told = capsys.readouterr().err
    assert "rules, flows, flows-real: network namespaces are made there, which needs root" in told
    assert "nox -s peers -- injection probers" in told


def test_an_unknown_comparison_is_a_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["injections"]) == 2
    told = capsys.readouterr().err
    for name in peers.COMPARISONS:
        assert f"'{name}'" in told


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["--help"]) == 0
    assert "nox -s peers -- injection" in capsys.readouterr().out
