#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's servers with native threads against the same under corun, interleaved.

    make perf-servers [SERVERS="microsocks nbdkit"] [ROUNDS=3] [LOAD_SECONDS=5]

The server runs on core 0, the load on core 1. Each round starts each server twice, natively and
under corun, first one, then the other; the table has the medians. Memory is what came with the
connections: they are held, nothing has been asked yet but a first request, and that three seconds
ago. Slab is the whole machine's, mostly sockets, which any server pays. Answers are compared byte for byte; a row with an
error says so. What it needs and how a server is started: tests/servers/head.py.
"""
import os
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "servers"))
from head import CORUN, LOAD, Server, command, file_of, free_port, scratch, shutil, skip, write

LEGEND = (
    "corun/native: of the medians. (>1.1), (<0.6): what is promised, at least and at most; a ! behind it: missed.\n"
    "starved: connections without an answer in the whole time. slab: of the whole machine, and in no ratio.\n"
    "memory: RSS, kernel stacks and page tables together; like them, what the connections added.")


def whole_number(name, otherwise):
    text = os.environ.get(name, otherwise)
    if not text.isdecimal() or int(text) == 0:
        refuse(f"{name}={text} is not a number from 1 on")
    return int(text)


def refuse(why):
    shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(f"perf-servers: {why}")


ROUNDS = whole_number("ROUNDS", "3")
SECONDS = str(whole_number("LOAD_SECONDS", "5"))
os.environ.pop("LD_PRELOAD", None)


def microsocks():
    return Server("microsocks", ["microsocks", "-i", "127.0.0.1", "-p", "{port}"])


def nbdkit():
    return Server("nbdkit", ["nbdkit", "-f", "-i", "127.0.0.1", "-p", "{port}", "memory", "8M"])


def python():
    return Server("Python http.server", [
        "/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", scratch,
        "--protocol", "HTTP/1.1", "{port}"])


def tinyproxy():
    port = free_port()
    write("tinyproxy.conf", f'Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 1000\nAllow 127.0.0.0/8\n'
          f'LogLevel Error\nPidFile "{scratch}/pid"\n')
    server = Server("tinyproxy GET", ["tinyproxy", "-d", "-c", f"{scratch}/tinyproxy.conf"])
    server.port = port
    return server


def mariadbd():
    user = ["--user=root"] if os.getuid() == 0 else []
    data = f"{scratch}/data"
    if not os.path.exists(data):
        why = command("mariadb-install-db", "--no-defaults", *user, f"--datadir={data}",
                      "--auth-root-authentication-method=normal", "--skip-test-db", seconds=100)
        if why:
            skip(why)
    return Server("mariadbd", [
        "mariadbd", "--defaults-file=/etc/mysql/my.cnf", *user, f"--datadir={data}", f"--socket={scratch}/socket",
        "--port={port}", "--bind-address=127.0.0.1", f"--pid-file={scratch}/pid", "--max-connections=1200",
        "--thread-handling=one-thread-per-connection"], start_seconds=60, end_seconds=20)


LONGEST_CALL_MS = 20
BODY = file_of(1000, "body")
WEB = ["--path", "/body", "--body", BODY]
# server: how, corun's options, held, active, load, and what is promised: req/s at least, p99 and memory at
# most. Stacks of 8 MiB, of which two pages are touched, cost a page of page table each; smaller ones share it.
ROWS = {
    "microsocks": (microsocks, [], 5000, 100, ["socks", "--backend", "--size", "64"], 1.1, 0.6, 0.35),
    "nbdkit": (nbdkit, ["--stack=64K"], 800, 100, ["nbd"], 4, None, 0.35),
    "python": (python, ["--stack=256K"], 5000, 5000, ["http-kept", *WEB, "--openings", "4"], 2.5, None, 0.6),
    "tinyproxy": (tinyproxy, [], 100, 100, ["http", "--backend", *WEB], 1.2, None, None),
    "mariadbd": (mariadbd, [], 1000, 100, ["mysql"], 1.0, None, None),
}


def memory(pid):
    """Megabytes: rss, kernel stacks, page tables, slab of the machine; and threads."""
    def field(path, key):
        with open(path) as f:
            return next((int(line.split()[1]) for line in f if line.startswith(key)), 0) / 1024
    threads = len(os.listdir(f"/proc/{pid}/task"))
    return [field(f"/proc/{pid}/smaps_rollup", "Rss:"), threads * 16 / 1024,
            field(f"/proc/{pid}/status", "VmPTE:"), field("/proc/meminfo", "Slab:"), threads]


def measure(make, held, active, load, before):
    """The fields of load_prog's result, and mb: what the connections cost."""
    server = make()
    why = server.start(["taskset", "-c", "0", *before])
    if why:
        return {"why": why}
    job = None
    try:
        time.sleep(0.5)
        idle = memory(server.child.pid)
        job = subprocess.Popen(
            [LOAD, "--protocol", load[0], *load[1:], "--port", str(server.port), "--connections", str(held),
             "--active", str(active), "--seconds", SECONDS, "--warmup", "1", "--cpu", "1", "--pause"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if "--backend" in load:
            job.stdout.readline()
            print("", file=job.stdin, flush=True)
        said = [job.stdout.readline()]
        while said[-1] and said[-1] != "connected\n":
            said.append(job.stdout.readline())
        time.sleep(3)
        full = memory(server.child.pid) if said[-1] else idle
        if said[-1]:
            print("", file=job.stdin, flush=True)
        while said[-1] and not said[-1].startswith("result"):
            said.append(job.stdout.readline())
        got = dict(word.split("=") for word in said[-1].split()[1:])
        if not got or got["errors"] != "0":
            got["why"] = "".join(said)
        got["mb"] = [b - a for a, b in zip(idle, full)]
        job.communicate("\n", timeout=20)
        return got
    finally:
        if job:
            job.kill()
            job.wait()
        server.end(seconds=20)


def median(runs, key):
    return statistics.median(float(run[key]) for run in runs)


def ratio(value, wanted, at_least):
    if value is None:
        return f"{'':14}"
    if wanted is None:
        return f"{value:5.2f}x        "
    good = value >= wanted if at_least else value <= wanted
    return f"{value:5.2f}x ({'>' if at_least else '<'}{wanted:4}{' ' if good else '!'})"


def show(name, native, corun):
    _, options, held, active, _, least, p99, most = ROWS[name]
    print(f"\n{' '.join(['corun', *options, name])}, {held:,} connections, {active:,} active")
    for side, runs in (("native", native["runs"]), ("corun", corun["runs"])):
        mb = [statistics.median(run["mb"][i] for run in runs) for i in range(5)]
        rates = [float(run["requests_per_s"]) for run in runs]
        print(f"  {side:7} {statistics.median(rates):9,.0f} req/s ({min(rates):,.0f} to {max(rates):,.0f})   p99 {median(runs, 'p99_us') / 1000:8.1f} ms"
              f"   starved {median(runs, 'starved'):5.0f}   {mb[4]:6.0f} threads   MB: {mb[0]:6.1f} RSS "
              f"{mb[1]:6.1f} kernel stacks {mb[2]:5.1f} page tables, {mb[3]:6.1f} slab")
    of = lambda side, key: median(side["runs"], key)
    held_mb = lambda side: statistics.median(sum(run["mb"][:3]) for run in side["runs"])
    print(f"  corun/native: req/s {ratio(of(corun, 'requests_per_s') / max(of(native, 'requests_per_s'), 1), least, True)}"
          f"  p99 {ratio(of(corun, 'p99_us') / max(of(native, 'p99_us'), 1), p99, False)}"
          f"  memory {ratio(held_mb(corun) / max(held_mb(native), 0.1), most, False)}", flush=True)
    if "longest_call" in corun:
        ms, call = corun["longest_call"]
        print(f"  the longest call that let no other thread run: {call}, {ms:.1f} ms (<{LONGEST_CALL_MS}{' ' if ms < LONGEST_CALL_MS else '!'})",
              flush=True)


def longest_call(table):
    """Of what --stats wrote last: the longest time, in ms, that a call let no other thread run, and its name."""
    with open(table) as f:
        calls = f.read().rpartition("\n  call ")[2].partition("\n  thread ")[0]
    rows = re.findall(r"^  (\w+) +\d+ +\d+ +\d+ +\d+ +([\d.]+) ms$", calls, re.MULTILINE)
    return max((float(ms), name) for name, ms in rows if name != "all")


def main():
    names = sys.argv[1:] or list(ROWS)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        refuse(f"no server {', '.join(unknown)}; there are {' '.join(ROWS)}")
    found = {}
    for round_number in range(ROUNDS):
        for name in names:
            make, options, held, active, load, *_ = ROWS[name]
            table = f"{scratch}/{name}.stats"
            if round_number == ROUNDS - 1: # taking the times costs 20 ns a call
                options = [f"--stats={table}", *options]
            for side, before in (("native", []), ("corun", [*CORUN, *options]))[::1 if round_number % 2 == 0 else -1]:
                run = measure(make, held, active, load, before)
                if "mb" not in run or "requests_per_s" not in run:
                    print(f"  {name} {side}: {run.get('why', 'no result')}", flush=True)
                    continue
                if "why" in run:
                    print(f"  {name} {side}: with errors: {run['why'].strip()}", flush=True)
                entry = found.setdefault((name, side), {"runs": []})
                entry["runs"].append(run)
                if side == "corun" and os.path.exists(table):
                    entry["longest_call"] = longest_call(table)
    for name in names:
        if (name, "native") in found and (name, "corun") in found:
            show(name, found[name, "native"], found[name, "corun"])
    print(f"\n{LEGEND}")
    shutil.rmtree(scratch, ignore_errors=True)


main()
