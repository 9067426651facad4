#!/bin/sh
# Finds what a build needs by running it: a name on PATH may be a shim that starts nothing.
#
#   toolchain.sh python [CANDIDATE]   prints the first Python that runs, is new enough and can make an environment
#   toolchain.sh missing [CANDIDATE]  prints one line that says what to install, or nothing
#
# With CANDIDATE no other Python is tried. Called from the root of the project.
set -u

rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
python_wanted=$(sed -n 's/^requires-python = ">=\(.*\)"$/\1/p' pyproject.toml)

python_suits() {
    "$1" -c "
import sys
import ensurepip, venv
sys.exit(sys.version_info < tuple(map(int, '$python_wanted'.split('.'))))" >/dev/null 2>&1
}

find_python() {
    if [ -n "${1:-}" ]; then
        set -- "$1"
    else
        set -- python3 python3.13 python3.12 python3.11 python3.14 python
    fi
    for candidate in "$@"; do
        if python_suits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

# Both must run: pyo3 asks rustc, and an older one would fail in the middle of the build.
rust_suits() {
    cargo --version >/dev/null 2>&1 || return 1
    found=$(rustc --version 2>/dev/null | cut -d ' ' -f 2 | cut -d - -f 1)
    [ -n "$found" ] || return 1
    [ "$(printf '%s\n%s\n' "$rust_wanted" "$found" | sort -V | head -n 1)" = "$rust_wanted" ]
}

missing() {
    line=""
    rust_suits || line="Rust $rust_wanted or newer (https://rustup.rs)"
    if [ -z "$(find_python "${1:-}")" ]; then
        line="${line:+$line and }Python $python_wanted or newer with its venv module (https://www.python.org/downloads, or make PYTHON=/path/to/python3)"
    fi
    [ -z "$line" ] || echo "jobq needs $line: please install and run make again"
}

case "${1:-}" in
    python) find_python "${2:-}" ;;
    missing) missing "${2:-}" ;;
    *)
        echo "usage: toolchain.sh python|missing [CANDIDATE]" >&2
        exit 2
        ;;
esac
