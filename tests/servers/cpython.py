#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""CPython's own regression tests, natively and under corun, verdict by verdict.

    tests/servers/cpython.py [--corun "COMMAND ..."] [--limit SECONDS] [MODULE[.Class[.test]] ...]

Debian's package libpython3.11-testsuite holds them. Each module runs in a process of its own that
writes down when a test begins and how it ended; a test that is still at it after the limit, or at
which the process died, has that as its verdict, and a new process goes on behind it.

Where the two verdicts differ the test runs alone, up to three times on either side: a test that can
give the native verdict under corun is listed as unsteady and is no difference. Tests that do not end
natively on this machine are not compared. Status 0: no difference but those in EXCEPTIONS.
"""
import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time

MODULES = """test_threading test_thread test_queue test_socket test_socketserver test_threadsignals
test_subprocess test_select test_signal test_ssl test_httpservers test_concurrent_futures""".split()

# test id, or the beginning of one: why its verdict is another under corun (README, "CPython").
EXCEPTIONS = {
}

PYTHON = "/usr/bin/python3"  # Debian's, whose testsuite this is
BUILD = os.environ.get("BUILD_DIR", "build/x86_64")


# ---- In the process that runs tests --------------------------------------------------------------

def run_module(name, record, only, without):
    """Appends {"begin": id} and {"id":, "verdict":, "note":} to the record, line by line."""
    import unittest
    from test import support

    # As regrtest without -u; but test_socketserver, of which nothing else is left, may use sockets.
    support.use_resources = ("network",) if name.startswith("test_socketserver") else ()
    support.verbose = False
    out = open(record, "a", buffering=1)

    def say(**line):
        out.write(json.dumps(line) + "\n")

    class Result(unittest.TestResult):
        def startTest(self, test):
            super().startTest(test)
            self.verdict, self.note = "ok", ""
            say(begin=test.id())

        def stopTest(self, test):
            super().stopTest(test)
            say(id=test.id(), verdict=self.verdict, note=self.note)

        def set(self, test, verdict, note):
            self.verdict, self.note = verdict, note[-1500:]
            if not isinstance(test, unittest.TestCase):  # a fixture of a class or of the module
                say(id=test.id(), verdict=verdict, note=self.note)

        def addError(self, test, err):
            super().addError(test, err)
            self.set(test, "error", self.errors[-1][1])

        def addFailure(self, test, err):
            super().addFailure(test, err)
            self.set(test, "fail", self.failures[-1][1])

        def addSkip(self, test, reason):
            super().addSkip(test, reason)
            self.set(test, "skip", reason)

        def addExpectedFailure(self, test, err):
            self.set(test, "expected failure", "")

        def addUnexpectedSuccess(self, test):
            self.set(test, "unexpected success", "")

        def addSubTest(self, test, subtest, err):
            super().addSubTest(test, subtest, err)
            if err is not None:
                self.set(test, "fail", f"{subtest.id()}: {err[0].__name__}: {err[1]}")

    def chosen(suite):
        kept = unittest.TestSuite()
        for item in suite:
            if isinstance(item, unittest.TestSuite):
                kept.addTest(chosen(item))
            elif item.id() not in without and (not only or item.id() in only):
                kept.addTest(item)
        return kept

    loader = unittest.TestLoader()
    suite = loader.loadTestsFromName("test." + name)
    chosen(suite).run(Result())
    say(done=True)
    out.flush()
    os._exit(0)  # a thread that a timed-out test left behind shall not keep us


# ---- In the process that compares ----------------------------------------------------------------

def last_lines(path, n=6):
    with open(path, errors="replace") as f:
        return "".join(f.readlines()[-n:])


def read_record(path):
    verdicts, begun, done = {}, None, False
    with open(path) as f:
        for text in f:
            line = json.loads(text)
            if "begin" in line:
                begun = line["begin"]
            elif "done" in line:
                done = True
            else:
                verdicts[line["id"]] = (line["verdict"], line["note"])
                begun = None
    return verdicts, begun, done


def kill_session(child):
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def wait_for_end(child, record, limit):
    """True when the process ended; False when nothing was written down for too long."""
    size, since = -1, time.monotonic()
    while child.poll() is None:
        time.sleep(0.05)
        now = os.path.getsize(record) if os.path.exists(record) else 0
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > limit:
            return False
    return True


def verdicts_of(name, prefix, limit, only=()):
    """{test id: (verdict, note)} of one module, however many processes it takes."""
    result = {}
    with tempfile.TemporaryDirectory(prefix="corun-cpython.") as scratch:
        for attempt in range(60):
            record, output = f"{scratch}/record{attempt}", f"{scratch}/output{attempt}"
            open(record, "w").close()
            job = json.dumps({"name": name, "record": record, "only": list(only),
                              "without": list(result)})
            with open(output, "w") as out:
                child = subprocess.Popen(
                    prefix + [PYTHON, os.path.abspath(__file__), "--run", job], cwd=scratch,
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
                ended = wait_for_end(child, record, limit)
                kill_session(child)
            verdicts, begun, done = read_record(record)
            result.update(verdicts)
            if done:
                return result
            if ended:
                code = child.returncode
                how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                how = f"died: {how}"
            else:
                how = "no end"
            result[begun or f"{name} (outside of a test)"] = (how, last_lines(output))
            if begun is None:
                return result
    return result


def compare(name, prefix, limit):
    """Lines of differences, unsteady ones and exceptions, and how many were compared."""
    module, _, rest = name.partition(".")
    only = [f"test.{name}"] if rest else []
    begin = time.monotonic()
    native = verdicts_of(name, [], limit, only if rest.count(".") else ())
    middle = time.monotonic()
    corun = verdicts_of(name, prefix, limit, only if rest.count(".") else ())
    print(f"  {name:28} {len(native):5} tests, natively {middle - begin:.0f} s, "
          f"under corun {time.monotonic() - middle:.0f} s", flush=True)
    compared, differences, unsteady, excused = 0, [], [], []
    for test in sorted(set(native) | set(corun)):
        missing = ("not run", "")
        a, b = native.get(test, missing), corun.get(test, missing)
        if a[0] == "no end" or a[0].startswith("died"):
            print(f"    not compared: {test}: natively {a[0]}")
            continue
        compared += 1
        if a[0] == b[0]:
            continue
        seen = f"natively {a[0]}, under corun {b[0]}"
        reason = next((EXCEPTIONS[e] for e in EXCEPTIONS if test.startswith(e)), None)
        if reason:
            excused.append(f"{test}: {seen} ({reason})")
            continue
        ids = [test]
        for _ in range(3):
            a2 = verdicts_of(module, [], limit, ids).get(test, missing)
            b2 = verdicts_of(module, prefix, limit, ids).get(test, missing)
            if a2[0] == b2[0]:
                unsteady.append(f"{test}: {seen}; alone both {a2[0]}\n{indent(b[1])}")
                break
        else:
            differences.append(f"{test}: {seen}\n{indent(b[1] or b2[1])}")
    for kind, lines in (("DIFFERENT", differences), ("unsteady", unsteady), ("exception", excused)):
        for line in lines:
            print(f"    {kind}: {line}", flush=True)
    return compared, differences, unsteady, excused


def indent(text):
    return "".join(f"      | {line}\n" for line in text.strip().split("\n")[-8:]).rstrip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--corun", default=os.environ.get("CORUN", f"{BUILD}/corun --inherit"))
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("modules", nargs="*", default=MODULES)
    args = parser.parse_args()
    if args.run:
        job = json.loads(args.run)
        run_module(job["name"], job["record"], set(job["only"]), set(job["without"]))
        return
    if not os.path.exists("/usr/lib/python3.11/test/test_threading.py"):
        print("libpython3.11-testsuite is not installed")
        sys.exit(77)
    prefix = shlex.split(args.corun)
    if os.path.exists(prefix[0]):
        prefix[0] = os.path.abspath(prefix[0])
    total = [0, 0, 0, 0]
    for name in args.modules:
        compared, *lists = compare(name, prefix, args.limit)
        total = [t + n for t, n in zip(total, [compared] + [len(x) for x in lists])]
    print("{} verdicts compared: {} differences, {} unsteady, {} exceptions".format(*total))
    sys.exit(1 if total[1] else 0)


if __name__ == "__main__":
    main()
