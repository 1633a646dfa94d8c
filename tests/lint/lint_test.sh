#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The lint fails when it should: in a copy of the tree, one law after the other is broken.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/tree
status=0
mkdir "$tree"
cp -rp --parents $(ls -d co_ctx co_routine co_hook tests/lint man Makefile corun.pc.in .clang-format .clang-tidy 2>/dev/null) "$tree"
# With the objects there are, so that only what a probe changes is compiled.
mkdir "$scratch/build"
[ ! -d "${BUILD_DIR:-build/x86_64}" ] || cp -rp "${BUILD_DIR:-build/x86_64}" "$scratch/build/x86_64"
cd "$tree" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL B
export BUILD=$scratch/build
export B=$BUILD/x86_64

# fails_on <what> <check> <finding>: the check fails, and says why.
fails_on() {
    if output=$(tests/lint/run "$2" 2>&1); then
        echo "not ok - lint fails on $1"
        status=1
    elif ! grep -qE "$3" <<<"$output"; then
        printf '%s\nnot ok - lint says why it fails on %s\n' "$output" "$1"
        status=1
    else
        echo "ok - lint fails on $1"
    fi
}
put() { printf '// SPDX-License-Identifier: Apache-2.0\n%b' "$2" >"$1"; }

mkdir -p co_routine/base co_routine/loop co_hook/calls
put co_routine/loop/probe.h '#pragma once\n'
put co_routine/base/probe.cpp '#include "co_routine/loop/probe.h"\n'
fails_on 'an upward include' includes 'base/probe.cpp:2: .*upward'
put co_routine/base/probe.cpp '#include "co_hook/calls/probe.h"\n'
put co_hook/calls/probe.h '#pragma once\n'
fails_on 'co_routine including co_hook' includes 'co_routine never includes co_hook'
put co_routine/base/probe.cpp '#include "../loop/probe.h"\n'
fails_on 'an include that is not rooted' includes 'not rooted'
put co_routine/base/probe.h '#pragma once\n'
put co_routine/base/probe.cpp '#include <cstddef>\n#include "co_routine/base/probe.h"\n'
fails_on 'a .cpp whose own header is not first' includes 'comes first'
put co_routine/base/probe.h '#pragma once\nsize_t probe();\n'
fails_on 'a header that does not compile alone' headers "'?probe'?|size_t"
rm co_routine/base/probe.*

put co_routine/base/probe.cpp 'int  probe( ) ;\n'
command -v clang-format >/dev/null && fails_on 'unformatted code' format 'probe.cpp:2'
printf 'int probe;\n' >co_routine/base/probe.cpp
fails_on 'a file without its SPDX line' source 'probe.cpp: no SPDX'
put co_routine/base/probe.cpp "$(yes '//' | head -460)"
fails_on 'a file that is too long' source 'probe.cpp: 46. lines'
rm co_routine/base/probe.*

sed -i 's/CORUN_ENTRY(accept, E)/CORUN_ENTRY(accept, T)/' co_hook/symbols/descriptor.cpp
fails_on 'a table of hooks that is not what the sources say' hooks 'HOOKS.md is stale'
sed -i '/^readiness:/s/$/ no_such_call/' tests/lint/hooked_names.txt
fails_on 'a hook that is missing' hooks 'no_such_call \(readiness\) is not hooked'
sed -i '/^strings/d; /"tcdrain"/d' tests/lint/hook_pass_list.txt co_hook/symbols/uncovered.h
fails_on 'a libc function that nobody has thought of' hooks 'tcdrain: neither hooked'
sed -i '/NEEDED(msync,/d' co_hook/launcher/machine.cpp
fails_on 'a call of the runtime that no filter is tried for' own_calls '^msync: called by the library'

build() { make --no-print-directory -s -j"$(nproc)" all >"$scratch/log" 2>&1 || tail -20 "$scratch/log"; }
put co_routine/base/probe.cpp '#include <stdlib.h>
__attribute__((visibility("default"))) int stray_name() {\n    return 1;\n}
namespace corun {\nvoid *probe() {\n    return malloc(1);\n}\n} // namespace corun\n'
build
fails_on 'a stray exported symbol' symbols 'exports .*stray_name'
fails_on 'a call of malloc in the runtime' calls 'probe calls malloc'
exit $status
