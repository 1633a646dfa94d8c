#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How many instructions a switch takes, to and fro, on private stacks and on a shared one, and the life of a
# coroutine: a switch takes no more than before there were backtraces, dumps and a debugger's view of them. Counted by
# callgrind, so nothing here depends on the machine; on the compiler it does.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
command -v valgrind >/dev/null || { echo 'skip - instructions of a switch: no valgrind (apt install valgrind)'; exit 0; }
CXX=${CXX:-g++}
"$CXX" --version | head -1 | grep -qE '^g\+\+.* 12\.[0-9.]+$' ||
    { echo 'skip - instructions of a switch: the numbers are those of g++ 12'; exit 0; }

cat >"$scratch/prog.cpp" <<'END_OF_PROGRAM'
#include <co_routine.h>
#include <cstdlib>
#include <cstring>

static void *yield_for_ever(void *) {
    for (;;)
        co_yield_ct();
}
static void *end(void *) { return nullptr; }
static stCoRoutine_t *create(stShareStack_t *shared, void *(*body)(void *)) {
    stCoRoutineAttr_t attr;
    memset(&attr, 0, sizeof attr);
    attr.share_stack = shared;
    stCoRoutine_t *co = nullptr;
    if (co_create(&co, &attr, body, nullptr) != 0)
        abort();
    return co;
}

int main(int, char **argv) {
    long rounds = atol(argv[2]);
    if (strcmp(argv[1], "life") == 0) {
        for (; rounds > 0; --rounds) {
            stCoRoutine_t *co = create(nullptr, end);
            co_resume(co);
            co_release(co);
        }
        return 0;
    }
    stShareStack_t *stack = strcmp(argv[1], "shared") == 0 ? co_alloc_sharestack(1, 64 * 1024) : nullptr;
    stCoRoutine_t *each[2] = {create(stack, yield_for_ever), create(stack, yield_for_ever)};
    for (; rounds > 0; --rounds)
        co_resume(each[rounds % 2]);
}
END_OF_PROGRAM
$CXX $flags -std=c++20 -O2 -Ico_routine "$scratch/prog.cpp" "$B/libcorun.a" -pthread -ldl -o "$scratch/prog" || exit 1

count() { # what, rounds
    timeout 60 valgrind --tool=callgrind --callgrind-out-file=/dev/null "$scratch/prog" "$@" 2>"$scratch/out" &&
        sed -n 's/.*Collected : //p' "$scratch/out"
}
at_most() { # instructions of a round, what
    local few many each
    few=$(count "$2" 1000) && many=$(count "$2" 11000) && each=$(((many - few) / 10000)) &&
        echo "$2: $each, at most $1" | tee "$scratch/out" && [ "$each" -gt 50 ] && [ "$each" -le "$1" ]
}
count life 1 >/dev/null || { echo "skip - instructions of a switch: valgrind cannot run this: $(tail -1 "$scratch/out")"; exit 0; }
if [ "${ARCH:-x86_64}" = x86_64 ]; then private=134 shared=282 life=607; else private=164 shared=401 life=787; fi
verdict "co_resume and co_yield_ct: $private instructions at most" "at_most $private private"
verdict "... that copy a shared stack: $shared" "at_most $shared shared"
verdict "co_create, co_resume, co_release: $life" "at_most $life life"
exit $status
