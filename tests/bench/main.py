# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of tools/bench, which has built the tree and says where."""

import argparse
import os
import resource
import sys

import compare
import enclosure
import hotspots
import scale
import soak
import starts
import vm
from child import Failed, end_all

HELP = """\
tools/bench [compare] [--quick]    us and our peers side by side, in interleaved rounds
tools/bench scale [--images N,...] 1, 10, 100, 500 images: memory, attach time, idle CPU, cost of a request
tools/bench starts [--images N,...] images started by systemd, 1, 10, 50, 100 at once, natively in a container
tools/bench soak [--minutes N]     memory and descriptors at start and end; fails when they have grown
tools/bench vm                     the kernel device in a virtual machine, beside nbd-client's; attaching many images at once
tools/bench profile                where the time of our two processes goes
tools/bench render FILE            shows, or writes into a document, what an earlier comparison has saved

--document FILE puts the tables of compare, scale, starts, soak and vm between their marks in a Markdown file, such as docs/performance.md.

Needs root, and two processors without other work for figures that mean anything. Everything runs in namespaces of its own
and ends with it; nothing is left behind."""


def key_value(text):
    """An image's setting: true, false and numbers are what JSON takes them for."""
    key, _, value = text.partition("=")
    return key, {"true": True, "false": False}.get(value, int(value) if value.isdigit() else value)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tools/bench", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", nargs="?", default="compare", choices=("compare", "scale", "starts", "soak", "vm", "profile", "render"))
    parser.add_argument("file", nargs="?", help="of render")
    parser.add_argument("--quick", action="store_true", help="short runs and few rounds: under 3 minutes")
    parser.add_argument("--json", metavar="FILE", help="all figures, and every sample")
    parser.add_argument("--document", metavar="FILE", help="write the tables (and the chart) into this Markdown file")
    parser.add_argument("--works", metavar="NAME,...", help="only these")
    parser.add_argument("--contestants", metavar="NAME,...", help="only these")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of a run")
    parser.add_argument("--size", type=int, default=512, metavar="MIB", help="of the image (512)")
    parser.add_argument("--set", type=key_value, action="append", metavar="KEY=VALUE", help="a setting of our image, such as retain=always")
    parser.add_argument("--no-strace", action="store_true", help="no round with system calls counted")
    parser.add_argument("--images", metavar="N,...", help="of scale and starts; how many at once, of vm")
    parser.add_argument("--minutes", type=float, default=10, help="of soak (10)")
    parser.add_argument("--limit", type=float, default=3600, metavar="SECONDS", help="everything is ended after that (3600)")
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--commit", default="?", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def say(line):
    print(line, file=sys.stderr, flush=True)


def deliver(options, result):
    if options.json:
        scale.save(options.json, result)
    if options.document and "contestants" in result:
        compare.write_document(options.document, result)
    elif options.document and "text" in result:
        about = f"`{result['command']}`, commit {result['commit']}, {result['where']}:\n\n"
        compare.write_between(options.document, options.verb, about + result["text"])


def main(arguments):
    options = parse(arguments)
    if options.verb == "render":
        result = compare.read(options.file)
        compare.show(result)
        deliver(options, result)
        return 0
    for path in filter(None, (options.json, options.document)):
        if os.path.realpath(path).startswith("/run/"):
            raise Failed(f"{path}: /run is covered while a benchmark runs; choose another directory")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    where = compare.where()
    directory = enclosure.enter(options.limit, "6g" if options.verb in ("vm", "starts") else f"{options.size + 1024}m")
    try:
        result = {"compare": compare.run, "scale": scale.run, "starts": starts.run, "soak": soak.run, "vm": vm.run, "profile": hotspots.run}[options.verb](options, directory, say)
    except Failed as failure:
        if len(failure.args) > 1:  # measured, and not good enough
            deliver(options, {**failure.args[1], "where": where})
        raise
    finally:
        end_all()
    if options.verb == "compare":
        compare.show(compare.conclude(result))
    deliver(options, {"where": where, **result})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as failure:
        print(f"bench: {failure.args[0]}", file=sys.stderr)
        sys.exit(1)
