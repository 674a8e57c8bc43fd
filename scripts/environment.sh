# Sourced by ./demo and ./check: makes .venv, or brings it up to date, with the tested versions of constraints.txt.

unset PYTHONDONTWRITEBYTECODE # compiled modules are kept: without, every process compiles hundreds of them anew

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

make_venv() {
    if "$python" -m venv --clear .venv >.venv.log 2>&1; then
        rm -f .venv.log
        return
    fi
    # Debian splits ensurepip off; its own pip can fill a virtual environment that has none.
    if "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --clear --without-pip .venv >>.venv.log 2>&1; then
        rm -f .venv.log
        return
    fi
    cat .venv.log >&2
    rm -f .venv.log
    fail "$python cannot make a virtual environment; install its venv module (Debian, Ubuntu: apt-get install python3-venv)"
}

# Modules are compiled when they are first imported, not all of them here: a quarter of the time.
pip_install() {
    if .venv/bin/python -m pip --version >/dev/null 2>&1; then
        .venv/bin/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt "$@"
    else
        "$python" -m pip --python .venv/bin/python install -qq --disable-pip-version-check --no-compile -c constraints.txt "$@"
    fi
}

# environment [EXTRA]: leaves a .venv that holds the package (editable), the tested versions and the named extra.
environment() {
    extra=${1:-}
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null 2>&1 || fail "no $python found; install Python 3.11 or newer, or name one: PYTHON=/path/to/python $0"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail \
        "$("$python" --version) is too old; install Python 3.11 or newer, or name one: PYTHON=/path/to/python $0"
    here=$("$python" -c 'import hashlib, os, sys
files = b"".join(open(name, "rb").read() for name in ("pyproject.toml", "constraints.txt"))
print(hashlib.sha256(files).hexdigest(), sys.version.split()[0], os.getcwd())')
    place=${here#* }
    if [ ! -x .venv/bin/python ] || [ "$(cat .venv/place 2>/dev/null)" != "$place" ]; then
        make_venv
        printf '%s\n' "$place" >.venv/place
    fi
    [ "$(cat ".venv/ready$extra" 2>/dev/null)" = "$here" ] && return
    printf 'Installing the tested versions into .venv (once, some minutes) ...\n' >&2
    pip_install "$(grep '^torch==' constraints.txt)" || fail "installing torch failed; the lines above say why"
    pip_install --editable ".${extra:+[$extra]}" || fail "installing ase_mlx failed; the lines above say why"
    printf '%s\n' "$here" | tee ".venv/ready$extra" >.venv/ready
}
