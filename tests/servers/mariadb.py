#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mariadbd as Debian configures it (contract 42), a thread per connection: data, locks, sleepers, recovery."""
from head import *

need("mariadbd", "mariadb-install-db", "mariadb", "mariadb-slap")
data, sock, user = f"{scratch}/data", f"{scratch}/socket", ["--user=root"] if os.getuid() == 0 else []
why = command("mariadb-install-db", "--no-defaults", *user, f"--datadir={data}",
              "--auth-root-authentication-method=normal", "--skip-test-db", seconds=100)
if why:
    skip(f"mariadb-install-db: {why}")


def client(sql, seconds=30):
    return ["mariadb", "--no-defaults", "-u", "root", "-S", sock, "-N", "-B", "-e", sql]


def ask(sql, wanted=None, seconds=30):
    try:
        done = subprocess.run(client(sql), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"{sql}: no answer in {seconds} s"
    said = done.stdout.strip()
    if done.returncode or (wanted is not None and said != wanted):
        return f"{sql}: {done.returncode} {said} {done.stderr}"
    return ""


def two_sessions_and_a_row():
    """One holds the row for a second; the other gets it after that, and sees what the first wrote."""
    first = subprocess.Popen(client("begin; update t.a set n = n + 1 where id = 1; select sleep(1); commit"),
                             stdout=subprocess.DEVNULL)
    time.sleep(0.4)
    begin = time.monotonic()
    why = ask("begin; update t.a set n = n * 10 where id = 1; commit; select n from t.a where id = 1", "20")
    waited = time.monotonic() - begin
    first.wait(10)
    return why or ("" if waited > 0.2 else f"it waited for {waited:.2f} s only")


def sleepers(n=500):
    begin = time.monotonic()
    why = command("mariadb-slap", "--no-defaults", "-u", "root", "-S", sock, f"--concurrency={n}",
                  "--iterations=1", "--query=select sleep(0.5)", seconds=60)
    took = time.monotonic() - begin
    return why or ("" if took < 10 else f"{n} sleeps of 0.5 s took {took:.1f} s")


server = Server("mariadbd", [
    "mariadbd", "--defaults-file=/etc/mysql/my.cnf", *user, f"--datadir={data}", f"--socket={sock}",
    "--port={port}", "--bind-address=127.0.0.1", f"--pid-file={scratch}/pid",
    f"--max-connections={HOLD + 600}", "--thread-handling=one-thread-per-connection"],
    start_seconds=60)
rows = "use t; insert into a select seq, 1, repeat('x', 100) from seq_1_to_5000"
table = "create database t; create table t.a(id int primary key, n int, s text) engine=innodb"
with server.running() as s:
    s.check("create and insert", ask(table) or ask(rows) or ask("select count(*), sum(n) from t.a", "5000\t5000"))
    s.check("two sessions and a row lock", two_sessions_and_a_row())
    s.check("500 x sleep(0.5) at once", sleepers())
    s.hold("mysql", idle_ticks=10)
    s.dump("mysql", ask=by_command)  # SIGQUIT is its own, by sigwait
    s.check("a commit before SIGKILL", ask("update t.a set n = 7 where id = 5000"))
    s.end(signal.SIGKILL)
    s.check("starts again after SIGKILL", s.start(CORUN))
    s.check("what was committed is there", ask("select n from t.a where id in (1, 5000)", "20\n7"))
finish()
