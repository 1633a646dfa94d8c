#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# man/co_routine.3 speaks of every public function, man/corun.1 and man/corun-stackmem.1 of every option;
# they name none that is not there, and are correct man(7).
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
verdict() { # what, findings
    [ -z "$2" ] && echo "ok - $1" && return
    printf '%s\nnot ok - %s\n' "$2" "$1"
    status=1
}
page=man/co_routine.3
hook_page=man/co_hook.3
launcher_page=man/corun.1
stackmem_page=man/corun-stackmem.1

# The compiler's own list of prototypes, and the synopsis lines: bold, a result type, a name, "(".
printf '#include "co_routine.h"\n#include "coctx.h"\n#include "co_hook.h"\n' >"$scratch/all.c"
${CC:-cc} ${ARCHFLAGS:-} -std=gnu11 -Ico_routine -Ico_hook -Ico_ctx -aux-info "$scratch/prototypes" \
    -fsyntax-only "$scratch/all.c" || exit 1
hidden=$(grep -hoE '^[A-Z_]*HIDDEN .*\(' co_ctx/coctx.h | grep -oE '[a-z_0-9]+\(' | tr -d '(')
check() { # page, the rooms whose headers it describes
    grep -E "^/\* $2/" "$scratch/prototypes" | grep -v '\*/ static' |
        grep -oE '(co|coctx)_[a-z_0-9]+ \(' | tr -d ' (' | grep -vxF "${hidden:-none}" |
        LC_ALL=C sort -u >"$scratch/declared"
    grep -E '^\.B[IR]? ' "$1" | grep -oE '[ *](co|coctx)_[a-z_0-9]+\(' | tr -d ' *(' |
        LC_ALL=C sort -u >"$scratch/described"
    verdict "$1 has every public function" \
        "$(LC_ALL=C comm -23 "$scratch/declared" "$scratch/described")"
    verdict "$1 has no function that is not public" \
        "$(LC_ALL=C comm -13 "$scratch/declared" "$scratch/described")"
}
check $page 'co_(ctx|routine)'
check $hook_page co_hook

options() { grep -oE -- '--[a-z][a-z-]*' | LC_ALL=C sort -u; }
sed -n '/^constexpr char usage/,/;$/p' co_hook/launcher/options.cpp | options >"$scratch/declared"
sed 's/\\//g' $launcher_page | options >"$scratch/described"
verdict "$launcher_page has every option of corun, and no other" \
    "$(diff "$scratch/declared" "$scratch/described")"
# corun's own options in there are not its.
not_of_corun() { sed 's/\\//g; s/corun --[a-z-]*\(=[^ ]* --[a-z-]*\)*//g'; }
sed -n '/^constexpr char usage/,/)";$/p' perf/stackmem/options.cpp | not_of_corun | options >"$scratch/declared"
not_of_corun <$stackmem_page | options >"$scratch/described"
verdict "$stackmem_page has every option of corun-stackmem, and no other" \
    "$(diff "$scratch/declared" "$scratch/described")"

if command -v mandoc >/dev/null; then
    verdict 'the pages are clean by mandoc -T lint' \
        "$(mandoc -T lint -W warning $page $hook_page $launcher_page $stackmem_page 2>&1)"
elif command -v groff >/dev/null; then
    verdict 'the pages are clean by groff -ww' "$(groff -man -ww -Tutf8 -z $page $hook_page $launcher_page $stackmem_page 2>&1)"
else
    echo 'skip - the pages are clean: neither mandoc nor groff'
fi
verdict 'corun(3) is the same page' "$(grep -qx '.so man3/co_routine.3' man/corun.3 || echo 'it is not')"
exit $status
