"""What scripts/testnet.sh does with nodes that run; see there."""

import argparse
import json
import os
import sys

from testnet_fetch import fetch
from testnet_nodes import NODES, Failure, Testnet, heal, joined, partition, show


def status(net, arguments):
    args = argparse.ArgumentParser(prog="scripts/testnet.sh status")
    args.add_argument("--json", action="store_true")
    if args.parse_args(arguments).json:
        print(json.dumps({"status": net.ask_all("status"), "peers": net.ask_all("peers")}))
    else:
        show(net)


def execute(net, arguments):
    if not arguments or arguments[0] not in NODES:
        raise Failure(f"exec NODE ARGUMENT…; NODE is one of {', '.join(NODES)}")
    command = net.command(arguments[0], *arguments[1:])
    if sys.stdin.isatty() and sys.stdout.isatty():
        command[2:2] = ["--interactive", "--tty"]
    os.execvp(command[0], command)


def main(command, arguments):
    net = Testnet()
    match command:
        case "joined":
            joined(net)
        case "status":
            status(net, arguments)
        case "exec":
            execute(net, arguments)
        case "partition":
            partition(net, arguments)
        case "heal":
            heal(net)
        case "fetch":
            fetch(net, arguments)
        case _:
            raise Failure(f"no such command: {command}")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except Failure as failure:
        sys.exit(f"testnet: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
