# SPDX-License-Identifier: Apache-2.0
# For the shell tests that look at parked.cpp: how it is built, begun and ended, and what it must look like.
set -u
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
tree=$PWD
scratch=$(mktemp -d)
pid=
finish() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null
    rm -rf "$scratch"
}
trap finish EXIT
status=0
verdict() { # exit status, what, file with the reason
    if [ "$1" = 0 ]; then
        echo "ok - $2"
    else
        tail -40 "$3" | cut -c1-300 | sed 's/^/# /'
        echo "not ok - $2"
        status=1
    fi
}
compare() { # what, expected, seen
    diff "$2" "$3" >"$scratch/diff"
    verdict $? "$1" "$scratch/diff"
}

build() { # source, program, how it is compiled and linked
    ${CXX:-g++} ${ARCHFLAGS:-} -std=c++20 -O0 -g -I"$tree" -I"$tree/co_routine" "$tree/tests/debug/$1.cpp" \
        -o "$2" "${@:3}" -pthread -ldl >log 2>&1 && return
    verdict 1 "$2 is built" log
    exit 1
}
start() { # program, arguments: in the background, until it says "ready"
    rm -f go
    mkfifo go
    "$@" <go >said 2>errors &
    pid=$!
    exec 7>go
    for ((i = 0; i < 600; ++i)); do
        grep -q '^ready' said && return
        sleep 0.05
    done
    verdict 1 "$1 begins" errors
    exit 1
}
wait_for_end() {
    exec 7>&-
    { wait "$pid"; code=$?; } 2>/dev/null
    pid=
}

# What the program says of itself, in the form that others' words are brought to:
#     list       seat 16 shared parked recv fd
#     frames     seat 16 in_recv, then nest for each level, begin, and what follows it
#     variables  seat 16 mark = 16001 depth 1
expected() { # list|frames|variables, output of the program, how a level of nest is told, what follows begin
    awk -v what="$1" -v level="${3-}" -v outermost="${*:4}" '
        BEGIN {
            call["in_sleep"] = "parked sleep"; call["in_recv"] = "parked recv fd"; call["in_read"] = "parked read fd"
            call["in_poll"] = "parked poll"; call["in_mutex"] = "parked mutex"; call["in_sem"] = "parked sem"
            call["in_rdlock"] = "parked rwlock (read)"; call["in_wrlock"] = "parked rwlock (write)"
            call["in_cond"] = "parked cond"; call["in_group"] = "parked wait group"; call["in_yield"] = "yielded"
            call["in_chan_recv"] = "parked channel recv"; call["in_chan_send"] = "parked channel send"
            call["in_join"] = "parked join"
            ends = split(outermost, after_begin, " ")
        }
        $1 != "seat" { next }
        what == "list" { print "seat", $2, $8, call[$4] }
        what == "variables" { print "seat", $2, "mark =", $2 * 1000 + 1, "depth", $6 }
        what == "frames" {
            print "seat", $2, $4
            for (i = 1; i <= $6; ++i) {
                line = level; gsub("SEAT", $2, line); gsub("LEFT", i, line); gsub("MARK", $2 * 1000 + i, line)
                print "seat", $2, "nest" line
            }
            print "seat", $2, "begin"
            for (i = 1; i <= ends; ++i) print "seat", $2, after_begin[i]
        }' "$2" | sort -s -V -k2,2
}
