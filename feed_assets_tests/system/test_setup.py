"""`make` on any machine: a bad state is one sentence before work starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server

import pytest

from feed_assets.demo import crm
from feed_assets.demo.__main__ import _free_port
from feed_assets.demo.server import HOST, PASSWORD, PORT, USERNAME, serving
from feed_assets_tests.support.dagster.browser import (
    APPLICATIONS,
    NAMES,
    NoBrowser,
    installed,
    provide,
)
from feed_assets_tests.support.project_copy import PROJECT, copy_project, start_command

NONE = "/nonexistent/python"
SCRIPTS = ("Makefile", "setup.sh", ".ci/run")
CURL = PROJECT / "feed_assets_tests" / "system" / "docs" / "curl.py"


@pytest.fixture(params=["project", "a company's #1 $HOME 100% project"])
def project_copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A clone that is set up, in a folder whose name is plain or is not."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    copy_project(folder)
    return folder


def make(target: str, folder: Path, **environment: str) -> tuple[int, str]:
    """The exit status and the output of a make target."""
    with start_command(f"make {target}", folder, environment) as process:
        printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_setup_is_done_once_and_writes_only_inside_the_checkout(project_copy: Path) -> None:
    before = files(project_copy.parent)
    assert make("setup", project_copy, PYTHON=NONE) == (0, "")
    assert {
        path.removeprefix(project_copy.name) for path in files(project_copy.parent) - before
    } == {
        "/var/dagster/dagster.yaml",
        "/var/demo/dagster/dagster.yaml",
    }
    configured = project_copy / "var" / "dagster" / "dagster.yaml"
    configured.write_text("a user's own")
    assert make("setup", project_copy, PYTHON=NONE) == (0, "")
    assert configured.read_text() == "a user's own"


def test_setup_uses_the_folder_that_dagster_home_names(project_copy: Path) -> None:
    home = project_copy.parent / "a home"
    assert make("setup", project_copy, DAGSTER_HOME=str(home)) == (0, "")
    assert (home / "dagster.yaml").exists()
    assert not (project_copy / "var" / "dagster").exists()


def interrupted(project_copy: Path) -> Path:
    (project_copy / ".venv" / ".ready").unlink()
    return project_copy


def changed(project_copy: Path) -> Path:
    with (project_copy / "requirements.lock").open("a") as lock:
        lock.write("# another version\n")
    return project_copy


def moved(project_copy: Path) -> Path:
    return project_copy.rename(project_copy.parent / "elsewhere")


def without_interpreter(project_copy: Path) -> Path:
    programs = project_copy / ".venv" / "bin"
    programs.unlink()
    programs.mkdir()
    (programs / "python").symlink_to(NONE)
    return project_copy


@pytest.mark.parametrize("state", [interrupted, changed, moved, without_interpreter])
def test_an_incomplete_or_moved_environment_is_built_again(
    state: object, project_copy: Path
) -> None:
    assert callable(state)
    status, printed = make("setup", state(project_copy), PYTHON=NONE)
    assert status != 0
    assert f"found none of {NONE}; install one" in printed


OLD = "import sys\nsys.version_info = (3, 10, 13, 'final', 0)\n"
NEW = "import sys\nsys.version_info = (3, 15, 0, 'final', 0)\n"
MISSING = "raise ImportError\n"


@pytest.mark.parametrize(
    ("module", "text", "reason"),
    [
        ("sitecustomize", OLD, "is Python 3.10.13;"),
        ("sitecustomize", NEW, "is Python 3.15.0;"),
        ("ensurepip", MISSING, "has no ensurepip;"),
        ("sqlite3", MISSING, "has no sqlite3;"),
    ],
)
def test_an_unsuitable_python_is_named_with_the_reason_in_one_line(
    module: str, text: str, reason: str, tmp_path: Path
) -> None:
    copy_project(tmp_path)
    (tmp_path / ".venv" / ".ready").unlink()
    (tmp_path / "python" / module).parent.mkdir()
    (tmp_path / "python" / f"{module}.py").write_text(text)
    python = os.path.realpath(sys.executable)
    environment = {"PYTHON": python, "PYTHONPATH": str(tmp_path / "python")}
    status, printed = make("setup", tmp_path, **environment)
    assert status != 0
    sentence, *rest = printed.splitlines()
    assert f"needs Python 3.11 to 3.14 with venv and pip; {python} {reason} install one" in sentence
    assert all(line.startswith("make: ") for line in rest)


def test_setup_accepts_the_python_versions_of_the_package() -> None:
    (lowest, beyond) = re.findall(r'requires-python = ">=(\S+),<(\S+)"', pyproject())[0]
    script = (PROJECT / "setup.sh").read_text()
    last = f"3.{int(beyond.removeprefix('3.')) - 1}"
    assert f"needs Python {lowest} to {last} " in script
    assert f"({lowest.replace('.', ', ')}) <= sys.version_info[:2]" in script
    assert f"sys.version_info[:2] <= ({last.replace('.', ', ')})" in script


def pyproject() -> str:
    return (PROJECT / "pyproject.toml").read_text()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The URL of a package index without packages, and the paths that were requested of it."""
    requested: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}/simple", requested
        server.shutdown()
        thread.join()


def test_packages_missing_in_a_private_index_end_setup_with_one_sentence(
    index: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, requested = index
    copy_project(tmp_path)
    shutil.rmtree(tmp_path / ".venv")
    status, printed = make("setup", tmp_path, PIP_INDEX_URL=url, PIP_FIND_LINKS="")
    assert status != 0
    assert "cannot be installed: .venv/setup.log says why. Behind a proxy" in printed
    assert "Traceback" not in printed
    assert "/simple/pip/" in requested
    assert not (tmp_path / ".venv" / ".ready").exists()


UNKNOWN_TO_MAKE_3_81 = (r"\.ONESHELL", r"\$\(file ", "!=\n", "!= *\\$", "::=", r"\.SHELLFLAGS")
UNKNOWN_TO_BSD = (
    *(r"sed -i", r"sed -[a-z]*r", r"readlink -f", r"realpath", r"date -d", r"grep -[a-zA-Z]*P"),
    *(r"stat -c", r"xargs -r", r"cp -[a-zA-Z]*t", r"mktemp --", r"gensub|strftime|systime"),
    *(r"sort -V", r"head -n -", r"\btimeout ", r"\bnproc\b", r"sha256sum|md5sum", r"tac\b"),
)
UNKNOWN_TO_BASH_3_2 = (r"declare -A", r"mapfile|readarray", r"\$\{\w+,,", r"\$\{\w+\^\^", r"\|&")


@pytest.mark.parametrize(
    "construct", [*UNKNOWN_TO_MAKE_3_81, *UNKNOWN_TO_BSD, *UNKNOWN_TO_BASH_3_2]
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_use_only_tools_of_macos(script: str, construct: str) -> None:
    """Imitate macOS by its documentation: GNU make 3.81, BSD tools and bash 3.2."""
    assert not re.search(construct, (PROJECT / script).read_text())


@pytest.mark.parametrize("script", ["setup.sh", ".ci/run"])
def test_scripts_are_valid_shell(script: str) -> None:
    subprocess.run(["sh" if script == "setup.sh" else "bash", "-n", PROJECT / script], check=True)


def test_the_lock_has_a_hash_of_each_package_and_no_address() -> None:
    lock = (PROJECT / "requirements.lock").read_text()
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock
    assert not re.search(r"^\s*-", lock.replace("    --hash=sha256:", ""), re.MULTILINE)


def test_a_taken_port_of_the_example_ends_the_demo_with_one_sentence(tmp_path: Path) -> None:
    port = int(copy_project(tmp_path)[str(PORT)])
    with create_server((HOST, port)):
        status, printed = make("demo", tmp_path)
    assert status != 0
    assert f"The example CRM cannot be served on {HOST}:{port}: Address already in use." in printed
    assert "Traceback" not in printed


def test_the_ui_uses_another_port_if_its_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("feed_assets.demo.__main__.UI_PORT", port)
        other = _free_port()
    assert other != port
    assert _free_port() == port


def test_the_error_of_a_browser_that_does_not_start_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FEED_ASSETS_TEST_BROWSER", str(tmp_path / "none"))
    with pytest.raises(NoBrowser) as refused:
        provide()
    assert "apt-get install chromium" in str(refused.value)
    assert f"{tmp_path / 'none'} does not open a browser: " in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_browser_is_found_under_each_name(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FEED_ASSETS_TEST_BROWSER", raising=False)
    assert installed() in {None, *map(str, APPLICATIONS)}
    (tmp_path / name).touch(mode=0o755)
    assert installed() == str(tmp_path / name)


def test_the_replacement_of_curl_downloads_the_example() -> None:
    with serving() as url:
        command = [sys.executable, str(CURL), "-s", "--compressed"]
        printed = subprocess.run(
            [*command, "-u", f"{USERNAME}:{PASSWORD}", f"{url}/feed.ndjson"],
            capture_output=True,
            check=True,
        ).stdout
    assert [json.loads(line) for line in printed.splitlines()] == crm.now()
