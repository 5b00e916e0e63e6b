# PostgreSQL, from Debian's binaries; sourced by servers. Its one role is postgres, without a password.

postgres_stop_signal() { echo INT; } # does not wait for clients to go

postgres_require() {
    bin=$(postgres_bin)
    if [ -z "$bin" ]; then
        once packages install_packages postgresql || fail "PostgreSQL 15 or newer is needed: install postgresql"
        bin=$(postgres_bin)
    fi
    local version
    version=$("$bin/postgres" --version | grep -oE '[0-9]+' | head -n1)
    [ "$version" -ge 15 ] || fail "PostgreSQL 15 or newer is needed, this is $version"
}

# The newest of those that are installed.
postgres_bin() {
    local newest
    newest=$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n1)
    [ -n "$newest" ] || newest=$(command -v postgres || true)
    [ -z "$newest" ] || dirname "$(readlink -f "$newest")"
}

# It refuses to run as root; then it runs as the user that its package has made.
postgres_as() {
    as=()
    [ "$(id -u)" -eq 0 ] || return 0
    id postgres >/dev/null 2>&1 || fail "PostgreSQL does not run as root, and there is no user postgres"
    as=(setpriv --reuid postgres --regid postgres --clear-groups)
    chown postgres: "$1"
    # A checkout in a folder of root's alone: the one right that leads through it.
    if ! "${as[@]}" stat "$1" >/dev/null 2>&1; then
        as+=(--inh-caps +dac_override --ambient-caps +dac_override)
        "${as[@]}" stat "$1" >/dev/null || fail "user postgres cannot reach $1: choose another folder with --dir"
    fi
}

postgres_launch() {
    local home as
    home=$(home_of postgres "$1")
    postgres_as "$home/data"
    if [ ! -f "$home/data/cluster/PG_VERSION" ]; then
        rm -rf "$home/data/new"
        (cd "$home/data" && "${as[@]}" "$bin/initdb" --pgdata new --no-sync --username postgres --auth trust \
            --encoding UTF8 --locale C {lock}>&-) >>"$home/log" 2>&1 </dev/null ||
            { tail -n 20 "$home/log" >&2; fail "initdb failed; its words stand above"; }
        # Whole or not there.
        mv "$home/data/new" "$home/data/cluster"
    fi
    # PostgreSQL takes a process that has ended, but still stands in the system's list, for one that runs.
    if [ -f "$home/data/cluster/postmaster.pid" ] && ! lives "$(head -n1 "$home/data/cluster/postmaster.pid")"; then
        rm "$home/data/cluster/postmaster.pid"
    fi
    # Durable, as the promises are; all else is small. No socket file: its path might be too long.
    spawn postgres "$1" "${as[@]}" "$bin/postgres" -D "$home/data/cluster" -p "$port" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=on -c synchronous_commit=on \
        -c max_connections=500 -c shared_buffers=64MB -c max_wal_size=256MB -c jit=off -c log_timezone=UTC
}

postgres_answers() {
    [ "$(PGCONNECT_TIMEOUT=2 "$(postgres_bin)/psql" -X -h 127.0.0.1 -p "$port" -U postgres -d postgres \
        -tAc 'SELECT 1' 2>/dev/null)" = 1 ]
}
