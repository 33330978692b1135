"""The nodes of the compose testnet: who they are, how they are asked, cut off and shown.

Everything is asked of the nodes themselves (`hive … --json` inside their containers) and of Docker.
Nothing is believed to have happened because some time has passed: `until` waits for a fact and, at its
deadline, says which fact did not come.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import time

PROJECT = "hive-testnet"
USER = "4483:4483"
DEADLINE = float(os.environ.get("HIVE_TESTNET_SECONDS", "120"))
PAUSE = 0.5  # between two looks at the same fact

# name: (address on the internet, router)
NODES = {
    "vps": ("192.88.99.10", None),
    "provider-1": ("192.88.99.21", None),
    "provider-2": ("192.88.99.22", None),
    "provider-3": ("192.88.99.23", None),
    "reader": ("192.88.99.30", None),
    "laptop-1": ("192.88.99.41", "router-1"),
    "laptop-2": ("192.88.99.42", "router-2"),
}
# What `partition` cuts off: two of three providers are on the other side of the reader and a laptop.
HALF = ["provider-3", "reader", "laptop-2"]

# In one's own network namespace, or the router's. Packets vanish without a word, as on a broken line.
CUT = """
table ip cut
delete table ip cut
table ip cut {{
    counter dropped {{}}
    set far {{ type ipv4_addr; elements = {{ {far} }} }}
    chain arriving {{
        type filter hook prerouting priority raw
        ip saddr @far counter name dropped drop
        ip daddr @far counter name dropped drop
    }}
    chain leaving {{
        type filter hook output priority raw
        ip daddr @far counter name dropped drop
    }}
}}
"""


class Failure(Exception):
    """What went wrong, in words for the person who called."""


def say(text):
    print(f"testnet: {text}", file=sys.stderr, flush=True)


def docker(*args, **options):
    return subprocess.run(["docker", *args], capture_output=True, text=True, **options)


def containers():
    """Service name to container id, of those that run."""
    form = '{{.Label "com.docker.compose.service"}} {{.ID}}'
    found = docker("ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", form)
    if found.returncode != 0:
        raise Failure(found.stderr.strip())
    return dict(line.split() for line in found.stdout.splitlines())


class Testnet:
    def __init__(self):
        self.ids = containers()
        missing = [name for name in NODES if name not in self.ids]
        if missing:
            raise Failure(f"{', '.join(missing)}: not running; `scripts/testnet.sh up` starts the testnet")

    def command(self, name, *args):
        return ["docker", "exec", "--user", USER, self.ids[name], "hive", *args]

    def hive(self, name, *args):
        """What `hive … --json` says on a node, one object a line."""
        done = subprocess.run(self.command(name, *args, "--json"), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"`hive {args[0]}` on {name}: {words(done.stderr)}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ask_all(self, *args):
        """The same of every node at once: name to answer, or to None where it fails."""

        def one(name):
            try:
                return self.hive(name, *args)[-1]
            except (Failure, IndexError, ValueError):
                return None

        with concurrent.futures.ThreadPoolExecutor(len(NODES)) as pool:
            return dict(zip(NODES, pool.map(one, NODES)))

    def nft(self, name, *args, rules=None):
        """nftables where the packets of a node pass: its own namespace, or its router's."""
        gate = self.ids[NODES[name][1] or name]
        return docker("exec", "--user", "0:0", "--interactive", gate, "nft", *args, input=rules)

    def dropped(self, name):
        """Packets that the cut has kept from a node so far; None if it is not cut off."""
        told = self.nft(name, "--json", "list", "counter", "ip", "cut", "dropped")
        if told.returncode != 0:
            return None
        return next(item["counter"]["packets"] for item in json.loads(told.stdout)["nftables"] if "counter" in item)


def words(stderr):
    """The messages of an error of hive."""
    for line in reversed(stderr.strip().splitlines()):
        try:
            return ": ".join(json.loads(line)["error"]["messages"])
        except (ValueError, KeyError, TypeError):
            continue
    return stderr.strip() or "no word"


def until(what, fact):
    """Waits until `fact()` holds; a text says what is still missing."""
    end = time.monotonic() + DEADLINE
    while (missing := fact()) is not None:
        if time.monotonic() > end:
            raise Failure(f"waited {DEADLINE:.0f} s for {what}: {missing}")
        time.sleep(PAUSE)


def size(n):
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000


def table(head, rows):
    rows = [head, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


# --- who is there ------------------------------------------------------------------------------


def joined(net):
    """Waits until every node has somebody, and shows them."""

    def lonely():
        answers = net.ask_all("status")
        late = [name for name in NODES if not (answers[name] and answers[name]["connected"])]
        return None if not late else f"{', '.join(late)} know nobody (`docker logs`)"

    until("every node to join", lonely)
    show(net)


def show(net):
    answers, peers = net.ask_all("status"), net.ask_all("peers")
    rows = []
    for name, (address, router) in NODES.items():
        answer = answers[name]
        where = f"behind {router}" if router else "internet"
        if answer is None:
            rows.append([name, address, where, "does not answer", "", "", "", ""])
            continue
        fetching = [
            f"fetching, {100 * f['bytes'] // f['size']} %" if f["size"] else "looking for a model" for f in answer["fetches"]
        ]
        cut = net.dropped(name)
        now = [*([] if cut is None else [f"cut off, {cut} packets lost"]), *fetching]
        rows.append([
            name, address, where, f"{answer['uptime']:.0f} s", answer["connected"], answer["models"],
            size(answer["uploaded"]), "; ".join(now) or "-",
        ])
    table(["NODE", "ADDRESS", "WHERE", "UP", "PEERS", "MODELS", "SENT", "NOW"], rows)
    print()
    table(["SEES", *NODES], [[a, *[way(peers[a], a, b) for b in NODES]] for a in NODES])


def way(peers, a, b):
    """How one node is connected to another: its transports, `relay`, or a dot."""
    if a == b:
        return ""
    for peer in peers or []:
        if peer.get("name") == b and peer["connected"]:
            return "relay" if peer.get("path") == "relayed" else "+".join(peer["transports"]) or "yes"
    return "·"


# --- cutting -----------------------------------------------------------------------------------


def partition(net, names):
    names = names or HALF
    if unknown := [name for name in names if name not in NODES]:
        raise Failure(f"{', '.join(unknown)}: not a node; nodes are {', '.join(NODES)}")
    rest = [name for name in NODES if name not in names]
    if not rest:
        raise Failure("nobody is left on the other side")
    far = ", ".join(NODES[name][0] for name in rest)
    for name in names:
        done = net.nft(name, "--file", "-", rules=CUT.format(far=far))
        if done.returncode != 0:
            raise Failure(f"{name} could not be cut off: {done.stderr.strip() or done.stdout.strip()}")
    say(f"cut: {', '.join(names)} | {', '.join(rest)}")


def heal(net):
    """Ends every cut; returns how many packets were lost, once the sides see each other again."""
    lost = {name: packets for name in NODES if (packets := net.dropped(name)) is not None}
    for name in lost:
        net.nft(name, "delete", "table", "ip", "cut")
    if not lost:
        say("nothing is cut")
        return 0
    say(f"healed; lost meanwhile: {', '.join(f'{packets} packets of {name}' for name, packets in lost.items())}")
    begun = time.monotonic()

    def apart():
        peers = net.ask_all("peers")
        rest = [name for name in NODES if name not in lost]
        late = [name for name in lost if all(way(peers[name], name, other) == "·" for other in rest)]
        return None if not late else f"{', '.join(late)} see nobody of the other side"

    until("the sides to meet", apart)
    say(f"every node sees the other side again, {time.monotonic() - begun:.0f} s later")
    return sum(lost.values())
