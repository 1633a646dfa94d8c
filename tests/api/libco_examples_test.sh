#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libco's nine example programs, unmodified, against our headers and library. Their text is not ours
# to keep: LIBCO_DIR names a directory that has it; without one this is skipped.
#     LIBCO_DIR=~/libco make test ARCH=x86_64 SUITES=api
set -u
: "${LIBCO_DIR:=}"
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
if [ ! -f "$LIBCO_DIR/example_echosvr.cpp" ]; then
    echo "skip - libco's nine examples: LIBCO_DIR does not name a copy of libco"
    exit 0
fi
work=$(mktemp -d)
groups=()
trap 'for g in "${groups[@]}"; do kill -9 -- -$g 2>/dev/null; done; rm -rf "$work"' EXIT

# Beside their own headers the examples would take those: quotes look there first.
cp "$LIBCO_DIR"/example_*.cpp "$work"
for name in closure cond copystack echocli echosvr poll setenv specific thread; do
    if ${CXX:-g++} ${ARCHFLAGS:-} -std=gnu++11 -w -O1 -Ico_routine -Ico_ctx \
        -o "$work/$name" "$work/example_$name.cpp" "$B/libcorun.a" -pthread -ldl; then
        echo "ok - example_$name compiles and links"
    else
        echo "not ok - example_$name compiles and links"
    fi
done

# Both fork their workers and go; a session of its own each makes them killable.
port=$((20000 + RANDOM % 10000))
setsid "$work/echosvr" 127.0.0.1 $port 1100 1 >"$work/server.log" 2>&1 &
groups+=($!)
until grep -q listen "$work/server.log" || ! kill -0 -- -${groups[0]} 2>/dev/null; do sleep 0.1; done
# A thousand connections for ten seconds; it prints a line a second with the two counts. stdbuf: it
# ends by a signal and would take its buffer along.
setsid stdbuf -oL "$work/echocli" 127.0.0.1 $port 1000 1 >"$work/client.log" 2>&1 &
groups+=($!)
sleep 11
if grep -q 'Succ Cnt [1-9]' "$work/client.log" && ! grep -q 'Fail Cnt [1-9]' "$work/client.log"; then
    echo 'ok - example_echosvr answers 1,000 connections for 10 s without an error'
else
    echo 'not ok - example_echosvr answers 1,000 connections for 10 s without an error'
    tail -3 "$work/client.log"
fi
