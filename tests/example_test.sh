#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each example prints what example/<name>.expected says. x_server and x_client are tried together:
# the server prints "listening on 127.0.0.1:PORT" first, the client is given that port. Examples
# stay small enough to be read at once: 60 lines. Those that need more than libc are tried in
# tests/clients; what was not written for corun (legacy_*), in tests/waist.
set -u
status=0
server=
trap '[ -z "$server" ] || kill $server 2>/dev/null' EXIT
scratch=$(mktemp -d)
verdict() { # what, findings
    [ -z "$2" ] && echo "ok - $1" && return
    printf '%s\nnot ok - %s\n' "$2" "$1"
    status=1
}
program() { echo "${BUILD_DIR:-build/x86_64}/example/$1"; }
port_of() { # waits until the server has said it: it reads from a pipe, so no clock is needed
    read -r -t 20 line <"$1" && echo "${line##*:}"
}

for source in example/*.c example/*.cpp; do
    [ -e "$source" ] || continue
    name=$(basename "${source%.*}")
    case $name in
    legacy_*) continue ;; # not written for corun: tests/waist has it
    esac
    lines=$(wc -l <"$source")
    [ "$lines" -le 60 ] || verdict "$name is at most 60 lines" "$lines lines"
    expected=example/$name.expected
    if grep -q '^// needs:' "$source"; then # a library, and a server to talk to
        grep -qs "example/$name" tests/clients/*_test.sh || verdict "$name is tried" 'by no client test'
        continue
    fi
    case $name in
    *_server)
        [ -e example/"${name%_server}"_client.cpp ] || verdict "$name has a client" 'there is none'
        continue
        ;;
    esac
    if [ ! -e "$expected" ]; then
        verdict "$name prints what it should" "no $expected"
        continue
    fi
    arguments=()
    if [ "${name%_client}" != "$name" ]; then
        mkfifo "$scratch/$name"
        "$(program "${name%_client}_server")" 0 >"$scratch/$name" &
        server=$!
        arguments=("$(port_of "$scratch/$name")")
    fi
    timeout 30 "$(program "$name")" "${arguments[@]}" >"$scratch/out" 2>"$scratch/errors"
    code=$?
    verdict "$name prints what it should" "$(
        diff "$expected" "$scratch/out"
        [ $code = 0 ] || echo "exit status $code"
        cat "$scratch/errors"
    )"
    [ -z "$server" ] || { kill "$server" && wait "$server" 2>/dev/null; }
    server=
done
rm -rf "$scratch"
exit $status
