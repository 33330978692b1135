"""Corpora of scripts/fuzz.sh as they are committed: a file for each target, a line of hexadecimal for
each input. Standard library only.

    fuzz_corpus.py unpack FILE DIRECTORY      writes a file for each input
    fuzz_corpus.py pack FILE DIRECTORY        the other way round, keeping what FILE has by name
    fuzz_corpus.py table WORK [DOC] SECONDS TARGET…    prints what the runs did

A line `# …` names the input below it; such inputs were put there by a person and are always kept.
"""

import hashlib
import pathlib
import re
import sys

# Bytes that all inputs of one target may have, so that all corpora stay under a megabyte.
BUDGET = 16_000
CORPUS = pathlib.Path(__file__).parent.parent / "testnet" / "fuzz" / "corpus"
BEGIN, END = "<!-- hive-fuzz: begin -->", "<!-- hive-fuzz: end -->"


def read(path):
    """The inputs that have a name, and those that have none."""
    named, others, name = [], [], None
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            name = line
        elif name:
            named.append((name, bytes.fromhex(line)))
            name = None
        else:
            others.append(bytes.fromhex(line))
    return named, others


def unpack(path, directory):
    directory.mkdir(parents=True, exist_ok=True)
    named, others = read(path)
    for data in [data for _, data in named] + others:
        (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def pack(path, directory):
    named, _ = read(path)
    have = {data for _, data in named}
    found = {file.read_bytes() for file in directory.iterdir()} - have
    left = BUDGET - sum(map(len, have))
    lines = [f"{name}\n{data.hex()}" for name, data in named]
    # Short ones first: each stands for branches that no other takes, so more of them is more.
    for data in sorted(found, key=lambda data: (len(data), data)):
        left -= len(data)
        if left < 0:
            break
        lines.append(data.hex())
    path.write_text("\n".join(lines) + "\n")


def figure(log, pattern):
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


def table(work, doc, seconds, targets):
    rows = ["| target | inputs tried | branches reached | inputs kept |", "|---|---|---|---|"]
    for target in targets:
        log = (work / target / "log").read_text(errors="replace")
        tried = figure(log, r"stat::number_of_executed_units:\s*(\d+)")
        reached = figure(log, r"cov: (\d+)")
        kept = sum(map(len, read(CORPUS / f"{target}.hex")))
        if any((work / target).glob("broken-*")):
            kept = "**broken**"
        rows.append(f"| `{target}` | {tried:,} | {reached:,} | {kept} |")
    text = "\n".join(rows)
    print(text)
    if doc:
        before, _, rest = doc.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        said = f"`scripts/fuzz.sh {seconds}`: {seconds} s for each target that was built, two at a time."
        doc.write_text(f"{before}{BEGIN}\n{said}\n\n{text}\n{END}{after}")


def main(words):
    match words:
        case ["unpack", path, directory]:
            unpack(pathlib.Path(path), pathlib.Path(directory))
        case ["pack", path, directory]:
            pack(pathlib.Path(path), pathlib.Path(directory))
        case ["table", work, *rest]:
            doc = None if rest[0].isdigit() else pathlib.Path(rest.pop(0))
            table(pathlib.Path(work), doc, rest[0], rest[1:])
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
