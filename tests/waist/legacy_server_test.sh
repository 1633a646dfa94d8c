#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# example/legacy_server natively: its protocol, several clients at once, a wait that somebody ends,
# and a clean end on SIGTERM with connections open. $RUN in front of it: the same, run by something.
set -u
cd "${SRC_DIR:-.}" || exit 1
command -v python3 >/dev/null || { echo 'no python3'; exit 77; }
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
exec python3 - "$B/example/legacy_server" ${RUN:-} <<'END'
import os, re, signal, socket, subprocess, sys, tempfile, threading, time

server, before = sys.argv[1], sys.argv[2:]
failed = 0


def verdict(what, good, found=""):
    global failed
    failed += not good
    print(f"ok - {what}" if good else f"# {found!r}\nnot ok - {what}", flush=True)


class Client:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.file = self.socket.makefile("rwb")

    def ask(self, line):
        self.file.write(line.encode() + b"\n")
        self.file.flush()
        return self.file.readline().decode()

    def expect(self, what, *dialogue):
        found = [(line, self.ask(line)) for line, _ in dialogue]
        verdict(what, found == [(line, answer + "\n") for line, answer in dialogue], found)


def start(*options):
    global port
    child = subprocess.Popen([*before, server, "--port", "0", *options], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    greeting = child.stdout.readline()
    match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", greeting)
    if not match:
        child.kill()
        verdict("it listens", False, greeting + child.stderr.read())
        sys.exit(1)
    port = int(match[1])
    return child


def end(child, what, connections, number=signal.SIGTERM):
    begin = time.monotonic()
    child.send_signal(number)
    try:
        said = child.communicate(timeout=20)[1]
    except subprocess.TimeoutExpired:
        child.kill()
        said = "it did not end"
    verdict(what, child.returncode == 0 and f"legacy_server: {connections} connections, " in said,
            (child.returncode, said, time.monotonic() - begin))


log = tempfile.mkdtemp() + "/log"
child = start("--log", log)
one = Client()
one.expect("keys are put, read and deleted", ("get a", "no such key"), ("put a hello  world", "ok"),
           ("get a", "ok hello  world"), ("count", "ok 1"), ("put a x", "ok"), ("get a", "ok x"),
           ("del a", "ok"), ("del a", "no such key"), ("count", "ok 0"))
one.expect("what is wrong is said", ("put", "error: a key and a text"),
           ("get a b", "error: a key and no more"), ("put k ", "ok"), ("get k", "ok "),
           ("no", "error: put, get, del, wait, echo, count, time or quit"))
answer = one.ask("time")
verdict("the time", re.fullmatch(r"ok \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", answer), answer)
one.file.write(b"echo 1\r\necho 2\necho " + b"3" * 1400 + b"\nech")
one.file.flush()
got = [one.file.readline() for _ in range(3)]
one.file.write(b"o 4\n")
one.file.flush()
got.append(one.file.readline())
verdict("several lines in one packet, and one in two", got == [b"1\n", b"2\n", b"3" * 1400 + b"\n", b"4\n"], got)

two = Client()
begin = time.monotonic()
two.expect("a wait ends by itself", ("wait never 100", "no such key"))
verdict("... not before its time", time.monotonic() - begin >= 0.1)
two.file.write(b"wait soon 20000\n")
two.file.flush()
one.expect("who waits holds up nobody", ("echo still here", "still here"), ("put soon now", "ok"))
verdict("a wait ends when somebody puts the key", two.file.readline() == b"ok now\n")
two.expect("a client leaves", ("quit", "bye"))
verdict("... and its connection ends", two.file.read() == b"")
three = Client()
three.file.write(b"x" * 2000)
three.file.flush()
verdict("a line that is too long ends the connection", three.file.readline().startswith(b"error: a line is"))

many = [Client() for _ in range(200)]
wrong = []


def work(n, client):
    for i in range(20):
        text = f"{n} {i} " + "t" * (n * 7 % 900)
        if client.ask(f"put {n} {text}") != "ok\n" or client.ask(f"get {n}") != f"ok {text}\n":
            wrong.append((n, i))


threads = [threading.Thread(target=work, args=pair) for pair in enumerate(many)]
[t.start() for t in threads]
[t.join(60) for t in threads]
verdict("200 clients at once, each with a key of its own", not wrong, wrong[:5])
with open(f"/proc/{child.pid}/status") as f:
    tasks = int(re.search(r"Threads:\s+(\d+)", f.read())[1])
# 1 to 8 helpers may be there for a while (log, files).
verdict(f"... on {'few' if before else 'as many'} kernel threads", tasks <= 10 if before else tasks == 204, tasks)
one.expect("... all keys are there", ("count", "ok 202"))
end(child, "SIGTERM ends it with 201 connections open", 203)
verdict("... and they are told", all(c.file.read() == b"" for c in many))
lines = open(log).read().splitlines()
verdict("the log is whole", sum("a client from port" in x for x in lines) == 203 and
        sum("a client leaves after" in x for x in lines) == 203 and lines[-1].endswith(" the end"), lines[-3:])
os.remove(log)

child = start("--stack", "64")
Client().expect("with small stacks", ("put a b", "ok"), ("get a", "ok b"))
end(child, "SIGINT ends it too, with nobody there", 1, signal.SIGINT)
sys.exit(1 if failed else 0)
END
