# SPDX-License-Identifier: Apache-2.0
# For the tests here: a real server in a scratch directory on a free port of 127.0.0.1, ready when
# start_ returns and ended when the test ends; and the checks of what the clients report.
#
#     source "$(dirname "$0")/servers.sh"
#     needs redis_client redis-server             # else the test is skipped, with the reason
#     port=$(free_port)
#     serve redis redis-server --port "$port"     # its output: $scratch/redis.log
#     ready redis listening "$port"
#     all_at_once 'what it shows' 1.5 redis_client 50 hooked "$port" ...
#     exit $status
set -u
cd "${SRC_DIR:-.}"
B=${BUILD_DIR:-build/x86_64}
PATH=$PATH:/usr/sbin:/sbin:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')
status=0
servers=()
scratch=$(mktemp -d "${TMPDIR:-/tmp}/corun-clients.XXXXXX")
chmod 755 "$scratch"
stop_servers() {
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${servers[@]}"; do
        for _ in {1..100}; do kill -0 "$pid" 2>/dev/null && sleep 0.02; done
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    servers=()
}
trap 'stop_servers; rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

skip() {
    echo "skip - $(basename "$0" _test.sh): $1"
    exit 0
}
needs() { # the program, and what it talks to
    local program=$1 tool package
    shift
    [ "${ARCH:-x86_64}" = x86_64 ] || skip "Debian's client libraries here are those of x86_64"
    if [ ! -x "$B/tests/clients/$program" ]; then
        package=$(sed -n 's|^// needs: ||p' "tests/clients/$program.cpp")
        pkg-config --exists "$package" 2>/dev/null || skip "$package is not installed"
        echo "not ok - $program is built"
        exit 1
    fi
    for tool in "$@"; do
        command -v "$tool" >/dev/null || skip "$tool is not installed"
    done
}

# Below the ports that the kernel gives to clients: nobody else comes in between.
free_port() {
    python3 -c '
import random, socket
while True:
    port = random.randrange(20000, 32000)
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break'
}
nobody=() # in front of a server that refuses root
[ "$(id -u)" != 0 ] || nobody=(setpriv --reuid nobody --regid nogroup --clear-groups)
own_directory() { # one that the server may write
    mkdir "$scratch/$1" && { [ "$(id -u)" != 0 ] || chown nobody:nogroup "$scratch/$1"; }
}
serve() { # name, command...
    local name=$1
    shift
    "$@" >"$scratch/$name.log" 2>&1 </dev/null &
    servers+=($!)
}
listening() { (: </dev/tcp/127.0.0.1/"$1") 2>/dev/null; }
ready() { # name, command that succeeds once the server answers: at most 30 s
    local name=$1
    shift
    for _ in {1..600}; do
        "$@" >/dev/null 2>&1 && return
        kill -0 "${servers[-1]}" 2>/dev/null || break
        sleep 0.05
    done
    tail -20 "$scratch/$name.log"
    echo "not ok - $name starts"
    exit 1
}
verdict() { # what, findings
    [ -z "$2" ] && echo "ok - $1" && return
    printf '%s\n' "$2" | tail -20
    for log in "$scratch"/*.log; do
        printf -- '-- %s\n%s\n' "$(basename "$log")" "$(tail -10 "$log")"
    done
    echo "not ok - $1"
    status=1
}

# Runs a client and leaves what it says in $report, $code, and its fields in $at_once, $seconds ...
run_client() { # program, arguments...
    local program=$1
    shift
    [ -z "${program%%*_client}" ] && program=$B/tests/clients/$program
    report=$(timeout 60 "$program" "$@" 2>&1)
    code=$?
    count='' at_once='' seconds='' connect='' gap_ms='' stack=''
    eval "$(grep '^count=' <<<"$report" | tail -1 | tr ' ' '\n' | grep -x '[a-z_]*=[0-9.]*')"
    sed 's/^/  /' <<<"$report"
}
less() { awk "BEGIN { exit !($1 < $2) }"; }

# Everybody inside the call at once, and, tried up to three times, done within so many seconds (of
# plain builds; a sanitizer has no such bound).
all_at_once() { # what, bound in seconds or 0, program, count, mode, arguments...
    local what=$1 bound=$2 try
    [ -z "${SAN:-}" ] || bound=0
    shift 2
    for try in 1 2 3; do
        run_client "$@"
        [ $code = 0 ] || { verdict "$what" "exit status $code"; return; }
        [ "$at_once" = "$count" ] && [ "$bound" != 0 ] && less "$bound" "$seconds" || break
    done
    verdict "$what" "$([ "${at_once:-0}" -gt 1 ] && [ "$at_once" = "$count" ] ||
        echo "$at_once of $count at once"
        [ "$bound" = 0 ] || less "$seconds" "$bound" || echo "$seconds s, the limit is $bound")"
}
# The control: without hooks the same program goes one by one. So the test above can fail.
one_by_one() { # what, least seconds, program, count, mode, arguments...
    local what=$1 least=$2
    shift 2
    run_client "$@"
    verdict "$what" "$([ $code = 0 ] || echo "exit status $code"
        [ "$at_once" = 1 ] || echo "$at_once at once"
        less "$least" "${seconds:-0}" || echo "$seconds s, should be more than $least")"
}
