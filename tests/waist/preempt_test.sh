#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Threads that compute and spin say under corun what they say natively: that is, they end at all.
set -u
cd "${SRC_DIR:-.}" || exit 1
B=${BUILD_DIR:-build/x86_64}
[ -e "$B/libcorun_waist.so" ] || { echo "skip - preemption: libcorun_waist.so is not built"; exit 0; }
native=$(timeout 60 "$B/tests/waist/preempt_prog")
said=$(mktemp) && trap 'rm -f "$said"' EXIT
ours=$(timeout 100 "$B/corun" --stats --debug=blocked:10000 "$B/tests/waist/preempt_prog" 2>"$said")
status=0
verdict() { # what, condition
    if eval "$2"; then
        echo "ok - $1"
    else
        diff <(echo "$native") <(echo "$ours")
        cat "$said"
        echo "not ok - $1"
        status=1
    fi
}
verdict 'threads that compute, spin and count take turns, and every register comes back' \
    '[ "$native" = "$ours" ] && grep -q "counted: 1" <<<"$ours"'

# Of the lines on stdin, those of a place in this function: whose thread is interrupted nowhere else.
in_it() {
    local offset begin size
    read -r begin size < <(nm -S "$B/tests/waist/preempt_prog" | awk -v f="$1" '$4 == f {print $1, $2}')
    while read -r line; do
        offset=0x$(sed -n 's/.*preempt_prog+0x\([0-9a-f]*\).*\|.*the program+0x\([0-9a-f]*\).*/\1\2/p' <<<"$line")
        ((offset >= 0x$begin && offset < 0x$begin + 0x$size)) && echo "$line"
    done
}
reports() { grep '^corun: .* computes or spins, and is preempted' "$said"; }
verdict 'where a thread spun is said as it happens' '[ "$(reports | in_it wait_for_flag | wc -l)" = 1 ]'
verdict '... once for each thread' '[ "$(reports | wc -l)" -ge 4 ] && [ -z "$(reports | grep -o "(thread [0-9]*" | sort | uniq -d)" ]'
verdict '... however many there are' '[ "$(reports | in_it spin_together | wc -l)" -ge 19 ]'
verdict '... and in the table, counted' '[ "$(grep "^    of thread .* first at " "$said" | in_it wait_for_flag | awk "\$4 > 0" | wc -l)" = 1 ]'
verdict 'the threads'"'"' counts make the sum, and each that was reported is in it' \
    'awk "/^  preemptions/ {all = \$2} /^    of thread/ {sum += \$4; ++n} /^    of [0-9]+ other threads/ {sum += \$5; n += \$2} END {exit !(sum > 0 && sum == all && n == $(reports | wc -l))}" "$said"'
exit $status
