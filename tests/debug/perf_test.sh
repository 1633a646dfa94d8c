#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# perf record -g, by frame pointers and by CFI, of coroutines on private and shared stacks that compute below
# 1 to 16 calls of nest(), and yield: each sample of one shows exactly its calls, from the innermost function
# to the entry function, and nothing of whoever resumed it.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
skip() { echo "skip - coroutines in perf: $1"; exit 0; }
command -v perf >/dev/null || skip 'no perf (apt install linux-perf)'
timeout 60 perf record -q -e cpu-clock:u -g -o "$scratch/data" true >"$scratch/out" 2>&1 ||
    skip "this process may not record ($(grep -m1 . "$scratch/out" | cut -c1-80))"

cat >"$scratch/prog.cpp" <<'END_OF_PROGRAM'
#include <co_routine.h>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

#define SEEN extern "C" __attribute__((noinline))
static volatile unsigned spent;

SEEN void in_leaf() {
    for (int i = 0; i < 20000; ++i)
        spent = spent + 1;
}
SEEN void nest(int depth) {
    if (depth > 1)
        nest(depth - 1);
    else
        in_leaf();
    spent = spent + 1; // no tail call
}
SEEN void *begin(void *depth) {
    for (timespec spent_here{}; spent_here.tv_sec < 2; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent_here)) {
        nest(static_cast<int>(reinterpret_cast<intptr_t>(depth)));
        co_yield_now();
    }
    return nullptr;
}

int main() {
    stShareStack_t *stacks = co_alloc_sharestack(2, 64 * 1024);
    for (intptr_t depth = 1; depth <= 16; ++depth) {
        stCoRoutineAttr_t attr;
        memset(&attr, 0, sizeof attr);
        attr.share_stack = depth % 2 ? nullptr : stacks;
        if (co_go(nullptr, &attr, begin, reinterpret_cast<void *>(depth)) != 0)
            abort();
    }
    co_run();
}
END_OF_PROGRAM
build() { # program, how optimised
    ${CXX:-g++} $flags -std=c++20 -g "$2" -Ico_routine "$scratch/prog.cpp" "$B/libcorun.a" -pthread -ldl -o "$scratch/$1"
}
build fp -O0 && build dwarf -O2 || exit 1 # with frame pointers in each function, and without

# A line for each kind of chain: how many samples, and its functions, nest() once with its count. What
# perf puts for the place where a chain ends, an address without a name, is no function.
chains() {
    awk '
        function tell() { if (chain != "") { sub(/nest/, "nest " deep, chain); print chain }; chain = ""; deep = 0 }
        NF == 0 { tell(); next }
        $2 == "nest" && deep++ { next }
        $2 != "[unknown]" || $1 !~ /^f+$/ { chain = chain " " $2 }
        END { tell() }' "$scratch/$1.samples" | sort | uniq -c
}
# The last of a shared stack is wrong in perf (6.1, with libunwind), which reads no last word of a mapping.
exactly() { # kind of call graph
    chains "$1" >"$scratch/out"
    awk '
        $2 != "in_leaf" { next }
        /^ *[0-9]+ +in_leaf nest [0-9]+ begin corun::coroutine_entry( coctx_start_frame)?$/ && $4 <= 16 {
            right += $1
            if (!seen[$4]++) depths++
            next
        }
        { wrong += $1; print "wrong:", $0 }
        END {
            print right + 0, "right,", wrong + 0, "wrong,", depths + 0, "depths"
            exit wrong > 0 || right < 200 || depths < 16
        }' "$scratch/out"
}
for kind in fp dwarf; do
    timeout 60 perf record -q -e cpu-clock:u -F 499 --call-graph $kind -o "$scratch/data" "$scratch/$kind" >"$scratch/out" 2>&1
    verdict "perf record --call-graph $kind: the program ends" "[ $? = 0 ]"
    timeout 60 perf script -i "$scratch/data" --no-inline -F ip,sym >"$scratch/$kind.samples" 2>"$scratch/out"
done
verdict 'perf record --call-graph fp: the calls of each' 'exactly fp'
if [ "${ARCH:-x86_64}" = x86_64 ]; then
    verdict 'perf record --call-graph dwarf: the calls of each' 'exactly dwarf'
else
    echo 'skip - perf record --call-graph dwarf: a perf of x86_64 does not unwind i386'
fi
exit $status
