# What ./run and ./test need on a machine; sourced by both. Installs what it may, else says what is missing.

fail() {
    echo "error: $*" >&2
    exit 1
}

# The oldest compiler that is good enough stands in Cargo.toml.
require_rust() {
    # rustup puts cargo here; a shell that was open before does not know yet.
    [ -d "$HOME/.cargo/bin" ] && PATH="$HOME/.cargo/bin:$PATH"
    local needed have
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || fail "Rust $needed or newer is needed: see https://rustup.rs"
    have=$(cargo --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$needed" "$have" | sort -V | head -n1)" != "$needed" ]; then
        fail "Rust $needed or newer is needed, this is $have: run 'rustup update stable' (https://rustup.rs)"
    fi
}

# SQLite and the cryptography library are compiled from C.
require_c_compiler() {
    if [ -n "${CC:-}" ] && command -v "$CC" >/dev/null; then
        return
    fi
    if command -v cc >/dev/null && echo 'int main(void){return 0;}' | cc -x c -include stdlib.h -o /dev/null - 2>/dev/null; then
        return
    fi
    install_packages gcc libc6-dev || fail "a C compiler is needed: install gcc and the C library's headers
  Debian, Ubuntu: apt-get install gcc libc6-dev    Fedora: dnf install gcc    macOS: xcode-select --install"
}

# require_programs PROGRAM:PACKAGE...
require_programs() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    install_packages "${missing[@]}" || fail "the tests need these packages: ${missing[*]}"
}

# Debian keeps a part of Python's venv in a package of its own.
require_python_venv() {
    python3 -c 'import ensurepip, venv' 2>/dev/null && return
    install_packages python3-venv || fail "the tests need python's venv: install python3-venv"
}

# require_component NAME COMMAND...
require_component() {
    local name=$1
    shift
    # shellcheck disable=SC2086
    $* --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null || fail "'$*' is missing: install Rust's $name"
    rustup component add "$name"
}

# install_packages PACKAGE...: what of them is a service is not started.
install_packages() {
    command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ] || return 1
    echo "installing: $*"
    (
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod +x "$policy"
        fi
        apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    )
}
