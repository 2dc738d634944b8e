"""Tools from Debian packages: what is missing, and what is said where it cannot be installed."""

import os

import pytest

from lab.errors import HostError
from lab.progress import Quiet
from tests.dataplane import host_packages


def test_what_is_there_is_not_installed() -> None:
    assert host_packages.ensure({"sh": "dash"}, Quiet()) == []


def test_each_missing_package_is_named_once() -> None:
    tools = {"no-such-tool": "b", "nor-this-one": "b", "nothing-at-all": "a", "sh": "dash"}
    assert host_packages.missing(tools) == ["a", "b"]


def test_without_apt_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    with pytest.raises(HostError) as caught:
        host_packages.ensure({"no-such-tool": "iptables"}, Quiet())
    assert "iptables" in caught.value.message
    assert "sudo apt-get install iptables" in caught.value.hint
