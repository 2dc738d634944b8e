"""Real `istioctl kube-inject`, without a cluster: configured from its own charts."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.mesh.manifest import yaml_reader
from tests.peers.cases import Case

SETTINGS: Final = ("profile=default", "meshConfig.enablePrometheusMerge=true")
"""Istio's defaults. The lab installs it without the merging of metrics, which its vanilla Envoy
lacks a filter for; what the injector makes of it is compared all the same.
"""
TIMEOUT: Final = 60.0
"""Seconds for one run, which takes a quarter of one."""


@dataclass(frozen=True)
class Answer:
    """What a program said: its output, or why it refused (then `output` is no use)."""

    output: str
    refusal: str | None


class Injector:
    """istioctl with the three files that it needs, kept in `folder`."""

    def __init__(self, istioctl: Path, folder: Path) -> None:
        self.istioctl, self.folder = istioctl, folder
        # Its own HOME: a kubeconfig of the user is none of its business.
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        sets = [part for setting in SETTINGS for part in ("--set", setting)]
        charts = self._run(["manifest", "generate", *sets]).stdout
        maps = {}
        for text in pieces(charts.decode()):
            if "\nkind: ConfigMap\n" in text:
                found = yaml_reader.read(text).value
                maps[found["metadata"]["name"]] = found["data"]
        wanted = {
            "injectConfigFile": maps["istio-sidecar-injector"]["config"],
            "valuesFile": maps["istio-sidecar-injector"]["values"],
            "meshConfigFile": maps["istio"]["mesh"],
        }
        # Without a revision it would wait for a cluster to tell one.
        self.arguments = ["kube-inject", "--revision", "default"]
        for flag, text in wanted.items():
            (folder / flag).write_text(text)
            self.arguments += [f"--{flag}", str(folder / flag)]

    def inject(self, text: bytes) -> Answer:
        """One manifest, through stdin."""
        done = self._run([*self.arguments, "-f", "-"], text)
        refusal = done.stderr.decode().strip() if done.returncode else None
        return Answer(done.stdout.decode(), refusal)

    def inject_all(self, cases: Sequence[Case]) -> Iterable[Answer]:
        """Each case's answer, in order; as many at once as there are CPUs."""
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            yield from pool.map(self.inject, [case.text for case in cases])

    def _run(
        self, arguments: Sequence[str], text: bytes = b""
    ) -> "subprocess.CompletedProcess[bytes]":
        argv = [str(self.istioctl), *arguments]
        done = subprocess.run(
            argv, input=text, capture_output=True, timeout=TIMEOUT, check=False,
            env=self.environment, cwd=self.folder,
        )  # fmt: skip
        if arguments[0] != "kube-inject":
            done.check_returncode()
        return done


def pieces(text: str) -> list[str]:
    """The documents of a stream that istioctl wrote."""
    return [piece for piece in f"\n{text}".split("\n---\n") if piece.strip()]
