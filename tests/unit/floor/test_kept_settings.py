"""Which settings of the user reach pip, uv, Go and Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab import kept_settings, package_clients
from lab.errors import HostError
from lab.kept_settings import KEPT, for_go, for_pip, for_uv, kept, session

NEW = (25, 0)
INDEX = "https://index.example/simple"
NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=24)


@given(st.sampled_from(sorted(KEPT)), NAMES)
def test_of_the_tools_variables_only_those_in_the_table_are_kept(prefix: str, end: str) -> None:
    name = f"{prefix}{end}"
    credential = kept_settings._UV_CREDENTIALS.fullmatch(name) is not None
    assert (name in kept({name: "x"})) == (end in KEPT[prefix] or credential)


@given(st.dictionaries(NAMES.filter(lambda name: not name.startswith(tuple(KEPT))), st.text()))
def test_every_other_variable_is_kept(environ: dict[str, str]) -> None:
    assert kept(environ) == environ


MOVING = """
PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PIP_NO_DEPS PIP_CONSTRAINT
PIP_PYTHON PIP_NO_BINARY PIP_DRY_RUN PIP_BREAK_SYSTEM_PACKAGES UV_TARGET UV_PREFIX UV_PYTHON
UV_SYSTEM_PYTHON UV_NO_BINARY UV_EXCLUDE_NEWER UV_PROJECT_ENVIRONMENT UV_WORKING_DIR
UV_CONSTRAINT UV_OVERRIDE UV_NO_CONFIG PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONSAFEPATH
PYTHONWARNINGS PYTHONPLATLIBDIR PYTHONUSERBASE PYTEST_ADDOPTS PYTEST_PLUGINS MYPYPATH
"""


@pytest.mark.parametrize("moving", MOVING.split())
def test_what_would_move_or_change_the_environment_is_left_out(moving: str) -> None:
    assert moving not in session({moving: "1"})
    assert moving not in for_uv({moving: "1"}, {}, own=False, system="linux")


def test_settings_of_pips_files_are_kept_by_the_same_table() -> None:
    listed = (
        "global.index-url='https://index.example/simple'\nglobal.user='true'\n"
        "global.timeout='3'\ninstall.timeout='9'\ninstall.target='/elsewhere'\n"
        "global.extra-index-url='\\nhttps://a.example\\nhttps://b.example'\n"
        ":env:.find-links='/opt/wheels'\nfreeze.timeout='1'\nnonsense\n"
    )
    files = package_clients.pip_config(listed)
    env = for_pip({"HOME": "/home/u"}, files, NEW, "linux")
    assert env == {
        "HOME": "/home/u",
        "PIP_INDEX_URL": INDEX,
        "PIP_EXTRA_INDEX_URL": "\nhttps://a.example\nhttps://b.example",
        "PIP_TIMEOUT": "9",
        "PIP_CONFIG_FILE": os.devnull,
    }


def test_the_environment_beats_pips_files() -> None:
    assert for_pip({"PIP_INDEX_URL": "x"}, {"index-url": "y"}, NEW, "linux")["PIP_INDEX_URL"] == "x"


def test_an_old_pip_is_told_of_the_systems_authorities(tmp_path: Path) -> None:
    bundle = tmp_path / "roots.pem"
    bundle.write_text("x")
    here = {"SSL_CERT_FILE": str(bundle)}
    assert for_pip(here, {}, (23, 2), "linux")["PIP_CERT"] == str(bundle)
    assert "PIP_CERT" not in for_pip(here, {}, NEW, "linux")
    assert for_pip(here, {"cert": "own"}, (23, 2), "linux")["PIP_CERT"] == "own"
    assert "PIP_CERT" not in for_pip({**here, "REQUESTS_CA_BUNDLE": "own"}, {}, (23, 2), "linux")
    assert for_pip({}, {}, (24, 0), "darwin")["PIP_USE_FEATURE"] == "truststore"


def test_uv_looks_where_pip_does_unless_it_was_told_itself(tmp_path: Path) -> None:
    bundle = tmp_path / "roots.pem"
    bundle.write_text("x")
    pip = {
        "PIP_INDEX_URL": INDEX,
        "PIP_EXTRA_INDEX_URL": "\nhttps://a.example\nhttps://b.example",
        "PIP_FIND_LINKS": f"{tmp_path} /not/there https://links.example",
        "PIP_TRUSTED_HOST": "a.example\nb.example",
        "PIP_PROXY": "proxy.example:3128",
        "PIP_CERT": str(bundle),
        "PIP_TIMEOUT": "2.5",
    }
    env = for_uv({}, pip, own=False, system="linux")
    assert env == {
        "UV_DEFAULT_INDEX": INDEX,
        "UV_INDEX": "https://a.example https://b.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path},https://links.example",
        "UV_INSECURE_HOST": "a.example b.example",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "HTTP_PROXY": "http://proxy.example:3128",
        "SSL_CERT_FILE": str(bundle),
        "UV_HTTP_TIMEOUT": "2",
        "UV_SYSTEM_CERTS": "true",
    }
    told = {"UV_DEFAULT_INDEX": "https://mine.example", "UV_INDEX_MINE_PASSWORD": "s"}
    env = for_uv(told, pip, own=False, system="linux")
    assert told.items() <= env.items()
    assert not {"UV_INDEX", "UV_FIND_LINKS"} & set(env)
    assert "UV_DEFAULT_INDEX" not in for_uv({}, pip, own=True, system="linux")


def test_pip_looks_where_only_uv_was_told_to() -> None:
    env = for_pip({"UV_DEFAULT_INDEX": f"mine={INDEX}?a=b"}, {}, NEW, "linux")
    assert env["PIP_INDEX_URL"] == f"{INDEX}?a=b"
    assert for_pip({"UV_INDEX_URL": INDEX}, {}, NEW, "linux")["PIP_INDEX_URL"] == INDEX


def test_uv_files_are_found_and_kept_in_part(tmp_path: Path) -> None:
    checkout = tmp_path / "a" / "checkout"
    checkout.mkdir(parents=True)
    (checkout / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.uv.index]]\nname = "corp"\nurl = "https://corp.example"\ndefault = true\n'
        '[tool.uv]\nno-build = true\n[tool.uv.pip]\ntarget = "/elsewhere"\nno-index = false\n'
    )
    users = tmp_path / "config" / "uv" / "uv.toml"
    users.parent.mkdir(parents=True)
    users.write_text(
        'native-tls = true\npython-preference = "system"\n[[index]]\nurl = "https://u"\n'
    )
    files = package_clients.uv_files(
        {"XDG_CONFIG_HOME": str(tmp_path / "config")}, checkout, "linux"
    )
    assert files[:2] == [tmp_path / "pyproject.toml", users]
    settings = package_clients.uv_settings([package_clients._read(one) for one in files[:2]])
    assert settings == {
        "index": [
            {"name": "corp", "url": "https://corp.example", "default": True},
            {"url": "https://u"},
        ],
        "no-index": False,
        "native-tls": True,
    }
    text = "".join(f"{key} = {package_clients.toml(one)}\n" for key, one in settings.items())
    import tomllib

    assert tomllib.loads(text) == settings
    assert package_clients.uv_files({"UV_CONFIG_FILE": "/x"}, checkout, "linux") == [Path("/x")]
    assert package_clients.uv_files({"UV_NO_CONFIG": "1"}, checkout, "linux") == []


WORDS = st.text(st.characters(exclude_categories=["Cs"]))
TOML = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(TOML)
@example("\x7f")
@example({"\x7f": 1, "😀": "😀"})
def test_what_is_written_as_toml_is_read_as_the_same(value: object) -> None:
    import tomllib

    assert tomllib.loads(f"key = {package_clients.toml(value)}")["key"] == value


def test_a_settings_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "uv.toml"
    file.write_text("= broken")
    monkeypatch.setenv("UV_CONFIG_FILE", str(file))
    with pytest.raises(HostError, match=r"uv\.toml cannot be read"):
        package_clients.clients(sys.executable, tmp_path).__enter__()


def test_go_is_given_where_from_and_nothing_else() -> None:
    environ = {
        "GOFLAGS": "-mod=mod", "GOAMD64": "v3", "CGO_CFLAGS": "-O0", "GOPROXY": "https://p",
        "GOMAXPROCS": "2", "GOOGLE_APPLICATION_CREDENTIALS": "/c", "GO_EXTLINK_ENABLED": "0",
    }  # fmt: skip
    listed = {"GOPROXY": "https://p", "GOFLAGS": "-mod=mod", "GOSUMDB": "off", "GOAMD64": "v3"}
    assert for_go(environ, listed) == {
        "GOPROXY": "https://p",
        "GOSUMDB": "off",
        "GOMAXPROCS": "2",
        "GOOGLE_APPLICATION_CREDENTIALS": "/c",
        "GOENV": "off",
    }


def test_an_editable_install_below_other_letters_starts_in_a_c_locale(tmp_path: Path) -> None:
    checkout = tmp_path / "mit Ümlaut und 'quote'"
    (checkout / "there").mkdir(parents=True)
    (checkout / "there" / "__init__.py").write_text("")
    made = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    site = next(made.glob("**/site-packages"))
    pth = site / "_editable_impl_there.pth"
    pth.write_text(str(checkout), encoding="utf-8")
    package_clients.name_in_ascii(made, checkout)
    assert pth.read_bytes().isascii()
    python = next(made.glob("bin/python")) if os.name != "nt" else made / "Scripts" / "python.exe"
    env = {**kept(os.environ), "LC_ALL": "C"}
    subprocess.run([python, "-c", "import there"], check=True, env=env, cwd=tmp_path)
