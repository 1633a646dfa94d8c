#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Memcheck has nothing to say of the examples, nor of a program with private stacks, small ones and shared
# ones (watched_program.cpp), and nothing is suppressed, not even by Valgrind's own list. Where a coroutine
# makes a mistake it says so. (time limit: 400 s)
set -u
cd "${SRC_DIR:-.}" || exit 1
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
scratch=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -9 $server 2>/dev/null; rm -rf "$scratch"' EXIT
status=0
# Helper threads still live at the end, and of a live thread memcheck takes a part for "possibly lost".
memcheck=(valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite
    --errors-for-leak-kinds=definite --default-suppressions=no)
cxx=(${CXX:-g++} ${ARCHFLAGS:-} -std=c++17 -O1 -g -D_GNU_SOURCE -Ico_routine -Ico_hook)

command -v valgrind >/dev/null || { echo 'skip - memcheck: valgrind is not installed'; exit 0; }
echo 'int main() {}' >"$scratch/probe.cpp"
"${cxx[@]}" -o "$scratch/probe" "$scratch/probe.cpp" &&
    valgrind -q --error-exitcode=99 "$scratch/probe" >/dev/null 2>"$scratch/said" ||
    { echo "skip - memcheck: valgrind runs no program for ${ARCH:-x86_64} here (it may want libc6-dbg:i386)"; exit 0; }

# said: whatever stands there is a finding; with -q Valgrind is silent where it has nothing to say.
verdict() { # what, exit status, file of its words
    [ "$2" = 0 ] && [ ! -s "$3" ] && echo "ok - $1" && return
    head -60 "$3"
    echo "not ok - $1 (exit status $2)"
    status=1
}
run() { # what, program, arguments...: a file of its own for Valgrind's words, and the program's
    timeout 200 "${memcheck[@]}" --log-file="$scratch/said" "${@:2}" >"$scratch/out" 2>&1
    verdict "$1" $? "$scratch/said"
}

for source in example/*.c example/*.cpp; do
    name=$(basename "${source%.*}")
    ! grep -q '^// needs:' "$source" || continue # a library that is not ours
    case $name in
    legacy_* | *_server) ;;
    *_client)
        mkfifo "$scratch/port"
        "${memcheck[@]}" --log-file="$scratch/server_said" "$B/example/${name%_client}_server" 0 >"$scratch/port" 2>&1 &
        server=$!
        read -r -t 60 line <"$scratch/port"
        run "memcheck of $name" "$B/example/$name" "${line##*:}"
        kill $server
        wait $server 2>/dev/null
        server=
        verdict "memcheck of ${name%_client}_server" 0 "$scratch/server_said"
        ;;
    *) run "memcheck of $name" "$B/example/$name" ;;
    esac
done

for kind in static shared; do
    case $kind in
    static) "${cxx[@]}" -o "$scratch/$kind" tests/debug/watched_program.cpp "$B/libcorun.a" -pthread -ldl ;;
    shared) "${cxx[@]}" -o "$scratch/$kind" tests/debug/watched_program.cpp -L"$B" -lcorun -Wl,-rpath,"$B" -pthread ;;
    esac || { echo "not ok - watched_program links with the $kind library"; exit 1; }
    run "memcheck of a program with the $kind library" "$scratch/$kind"
done

timeout 60 "${memcheck[@]}" "$scratch/static" uninitialised >"$scratch/out" 2>&1
if [ $? = 99 ] && grep -q 'uninitialised value' "$scratch/out"; then
    echo 'ok - memcheck sees a shared stack that is read before it is written'
else
    head -20 "$scratch/out"
    echo 'not ok - memcheck sees a shared stack that is read before it is written'
    status=1
fi
exit $status
