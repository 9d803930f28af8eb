#!/bin/sh
# Build .venv with the pinned packages and the folders of Dagster's history; the second time, nothing.
# `make setup` runs it, as does `sh setup.sh`; PYTHON names the interpreter.
set -eu
cd "$(dirname "$0")"
python=.venv/bin/python

main() {
    if [ ! -x "$python" ] || [ "$(state)" != "$(cat .venv/.ready 2> /dev/null)" ]; then
        build
    fi
    for home in "${DAGSTER_HOME:-var/dagster}" var/demo/dagster; do
        [ -f "$home/dagster.yaml" ] || {
            mkdir -p "$home"
            cp deploy/local/dagster.yaml "$home"
        }
    done
}

# A .venv works for one folder, one lock and one list of dependencies
state() {
    pwd -P
    cksum requirements.lock pyproject.toml
}

build() {
    base=$(interpreter)
    echo "Setting up .venv with $("$base" --version) ..."
    "$base" -m venv --clear .venv # also what an interrupted run has left
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0
    packages > .venv/setup.log 2>&1 || {
        tail -n 5 .venv/setup.log >&2
        fail "The packages of requirements.lock cannot be installed: .venv/setup.log says why." \
            "Behind a proxy, set HTTPS_PROXY; with a package index of your own, PIP_INDEX_URL."
    }
    state > .venv/.ready
}

# The first Python that fits; PYTHON, if it names one
interpreter() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11
    fi
    tried=
    for each in "$@"; do
        if reason=$("$each" -c "$CHECK" 2> /dev/null); then
            echo "$each"
            return
        fi
        [ -z "$reason" ] || tried="$tried $each $reason;"
    done
    fail "feed_assets needs Python 3.11 to 3.14 with venv and pip;${tried:- found none of $*;}" \
        "install one (Debian: apt-get install python3 python3-venv, macOS: brew install python)," \
        "or name it: make PYTHON=/path/to/python3"
}
CHECK='
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    print("is Python %d.%d.%d" % sys.version_info[:3])
    sys.exit(1)
for name in ("ensurepip", "sqlite3", "ssl", "venv"):
    try:
        __import__(name)
    except ImportError:
        print("has no " + name)
        sys.exit(1)
'

# uv takes seconds. It reads none of pip's settings: where it cannot install, pip does
packages() {
    install pip --retries 1 || return # at once if there is no way to an index
    { install uv && with_uv; } || with_pip || return
    "$python" -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
}

install() {
    name=$1 && shift
    pinned "$name" > ".venv/$name.txt"
    "$python" -m pip install --quiet --require-hashes --requirement ".venv/$name.txt" "$@"
}

with_uv() (
    index=$(pip_setting index-url) cert=$(pip_setting cert)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    [ -z "$cert" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$cert}"
    .venv/bin/uv pip install --quiet --python "$python" --require-hashes \
        --requirement requirements.lock
)

with_pip() {
    awk '/^[^ ]/ {on = !/^uv==/} on' requirements.lock > .venv/lock.txt # without uv
    "$python" -m pip install --quiet --require-hashes --requirement .venv/lock.txt
}

# A package of the lock, with its hashes
pinned() {
    awk -v start="$1==" 'index($0, start) == 1 {on = 1} on {print} on && !/\\$/ {exit}' \
        requirements.lock
}

pip_setting() {
    "$python" -m pip config list | sed -n "s/^[^=]*[.]$1='\(.*\)'\$/\1/p" | tail -n 1
}

fail() {
    echo "$*" >&2
    exit 1
}

main
