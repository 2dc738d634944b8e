"""Behind a proxy that looks into TLS, with an authority that only the system trusts.

In a mount namespace of its own the system's bundle holds that authority; the machine's own bundle
is not touched. pip, uv, Go and apt fetch from where this machine's clients are set up to.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import kept_settings, package_clients
from lab.paths import PACKAGE
from tests.live.inspecting import InspectingProxy

pytestmark = pytest.mark.live
TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
ROOT = PACKAGE.parent
IN_NAMESPACE = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


class Company:
    """A machine behind the proxy: commands run there see the bundle with its authority."""

    def __init__(self, proxy: InspectingProxy, bundle: Path, changed: Path, folder: Path) -> None:
        self.proxy, self._bundle, self._changed = proxy, bundle, changed
        # pip's files may name the system's bundle already: only the rest of them comes along.
        files, _ = package_clients._ask_pip(sys.executable)
        plain = {name: value for name, value in files.items() if name != "cert"}
        outside = {name: one for name, one in os.environ.items() if name not in TRUST}
        pip = kept_settings.for_pip(outside, plain, (99, 0), sys.platform)
        self.environment = {
            **{name: one for name, one in pip.items() if name not in TRUST},
            **proxy.environment(),
            "UV_CACHE_DIR": str(folder / "uv"),
            "PIP_NO_CACHE_DIR": "1",
            "SIDECAR_LAB_CACHE": str(folder / "cache"),
        }

    def run(self, *argv: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_NAMESPACE, "sh"]
        return subprocess.run(
            [*words, self._changed, self._bundle, *argv],
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    bundle = kept_settings.system_bundle({})
    assert bundle is not None, "this system keeps its authorities in no single file"
    hosts = frozenset(one.partition("/")[0] for one in mirrors("http"))
    with InspectingProxy(tmp_path, bundle.resolve(), hosts) as proxy:
        changed = tmp_path / "bundle.pem"
        changed.write_text(bundle.read_text() + "\n" + proxy.authority)
        yield Company(proxy, bundle.resolve(), changed, tmp_path)


def mirrors(scheme: str) -> list[str]:
    """What follows the scheme in this machine's sources of Debian packages."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)/$(RELEASE)", "Identifier: Packages"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {line for line in asked.stdout.split() if line.startswith(f"{scheme}://")}
    return sorted(one.partition("://")[2] for one in found)


def test_the_environment_is_made_and_programs_fetched_through_it(
    company: Company, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".nox", ".lab", ".git", "*_cache", "__pycache__")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    made = company.run(sys.executable, "noxfile.py", "-l", cwd=checkout)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "environment ready" in made.stdout
    by_clients = set(company.proxy.asked)
    assert by_clients

    # Without the setting, uv sees an authority that it does not know: the proxy does look in.
    python = checkout / ".nox" / "env" / "bin" / "python"
    lock = ["--require-hashes", "--no-cache", "--target", str(tmp_path / "t")]
    lock += ["-r", str(PACKAGE / "locks" / "observer.txt")]
    alone = company.run(python, "-m", "uv", "pip", "install", *lock)
    assert alone.returncode != 0
    assert "UnknownIssuer" in alone.stderr

    wheels = (
        "from lab.cluster.build import python_wheels\n"
        "from lab.cluster.images import lab_images\nfrom lab.progress import Quiet\n"
        "with Quiet().task('x') as task:\n"
        "    where = python_wheels.image_platform('amd64')\n"
        "    print(python_wheels.install(lab_images.LOCKS / 'observer.txt', where, task).facts)\n"
    )
    fetched = company.run(python, "-c", wheels, cwd=checkout)
    assert fetched.returncode == 0, fetched.stderr
    assert "pyroute2" in fetched.stdout

    before = len(company.proxy.asked)
    modules = (
        "from lab.cluster.build import go_programs\nfrom lab.cluster.versions import DEFAULT\n"
        "from lab.progress import Quiet\n"
        "with Quiet().task('x') as task:\n"
        "    kind = go_programs.kind(DEFAULT)\n"
        "    print(go_programs.module_folder(kind, 'sigs.k8s.io/kind', DEFAULT.kind, task))\n"
    )
    fetched = company.run(python, "-c", modules, cwd=checkout)
    assert fetched.returncode == 0, fetched.stderr
    assert Path(fetched.stdout.strip(), "images").is_dir()
    assert len(company.proxy.asked) > before
    assert not [one for one in company.proxy.errors if "CERTIFICATE" in one.upper()]


def test_debian_packages_are_listed_by_https_through_it(company: Company, tmp_path: Path) -> None:
    sources = tmp_path / "sources.list"
    site = next(one for one in mirrors("http") if "security" not in one and "updates" not in one)
    place, suite = site.rsplit("/", 1)
    sources.write_text(f"deb https://{place} {suite} main\n")
    options = [f"Dir::Etc::sourcelist={sources}", "Dir::Etc::sourceparts=-"]
    options += [f"Dir::State::lists={tmp_path}/lists", "APT::Sandbox::User=root"]
    options += [f"Dir::Cache={tmp_path}/cache", "Acquire::Languages=none"]
    words = [word for one in options for word in ("-o", one)]
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    listed = company.run("apt-get", *words, "update")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "W:" not in listed.stderr
    assert company.proxy.asked
