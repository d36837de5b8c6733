#!/bin/sh
# Makes .venv-newer: the development packages under a Python newer than the one of .venv, to compare what both derive.
# A second run finds its stamp and needs no network. Set NEWER_PYTHON to name the program.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
venv=.venv-newer

say() { printf '%s\n' "$*" >&2; }

ours=$(.venv/bin/python -c 'import sys; print(sys.version_info.minor)')
is_newer() { "$1" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, $ours + 1))" >/dev/null 2>&1; }

find_newer() {
    versions=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python 2>/dev/null | sort -rV)
    for candidate in ${NEWER_PYTHON:-} python3.14 python3.13 python3.12 python3 $versions; do
        if is_newer "$candidate"; then
            printf '%s' "$candidate"
            return 0
        fi
    done
    return 0
}

python=$(find_newer)
if [ -z "$python" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq >&2 || true
    for version in 3.14 3.13 3.12; do
        if apt-cache show "python$version-venv" >/dev/null 2>&1; then
            say "installing python$version"
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "python$version-venv" >&2 &&
                break
        fi
    done
    python=$(find_newer)
fi
if [ -z "$python" ]; then
    say "This compares Python 3.$ours with a newer one, and there is none. Install one with its venv module, such as"
    say "  apt-get install python3.13-venv    or    pyenv install 3.13"
    say "or name one: NEWER_PYTHON=/path/of/python make determinism"
    exit 2
fi

# The stamp holds what the environment was made from.
wanted=$("$python" -V; cat pyproject.toml constraints.txt | cksum)
if [ ! -f "$venv/.made" ] || [ "$(cat "$venv/.made")" != "$wanted" ]; then
    say "making $venv with $("$python" -V) (about a minute the first time)"
    "$python" -m venv --clear $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]" >&2
    printf '%s\n' "$wanted" >"$venv/.made"
fi
