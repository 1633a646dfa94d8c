#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# co_dump of 1,124 coroutines (parked.cpp), one for each way to wait, depth of 1 to 40 calls and kind of
# stack: each has its line, and exactly its frames, from the function that waits to the entry function.
. tests/debug/parked.sh

seen_list() {
    sed -nE "s/^#[0-9]+ '(seat [0-9]+)' ([^;]*); (shared|private) stack [0-9]+ bytes, .*/\1 \3 \2/p" "$1" |
        sed -E 's/ for [0-9]+ ms.*//; s/ \(fd .*/ fd/; s/ \(0x.*//; s/parked in/parked/' | sort -s -V -k2,2
}
# The library's own frames, innermost, are left out, but none without a name; so is what is not a frame.
seen_frames() {
    awk -v quote="'" '
        /^#/ { outside = 0; mine = $2 == quote "seat"; seat = $3; gsub(/[^0-9]/, "", seat); next }
        /^ready/ { exit }
        !mine || $1 == "seat" { next }
        !/^    #[0-9]+ 0x[0-9a-f]+ / { print "seat", seat, $0; next }
        {
            name = $3; sub(/\+0x.*/, "", name)
            if (name ~ /^in_/) outside = 1
            if (outside || name ~ /^\(/) print "seat", seat, name
        }' "$1" | sort -s -V -k2,2
}

cd "$scratch" || exit 1
build parked unoptimised "$B/libcorun.a"
build parked optimised -O2 -L"$B" -lcorun -Wl,-rpath,"$B"
for kind in unoptimised optimised; do
    start ./$kind 1120 dump
    echo go >&7
    wait_for_end
    expected list said >expected
    seen_list said >seen
    [ "$(wc -l <expected)" = 1124 ]
    verdict $? "$kind: there are 1,124" said
    compare "$kind: what each waits in, and its stack" expected seen
    if grep -q 'apt install libunwind8' errors; then
        echo "skip - $kind: the frames of each: libunwind8 is not installed for this architecture"
    else
        expected frames said '' >expected
        seen_frames said >seen
        compare "$kind: the frames of each, exactly" expected seen
    fi
    verdict "$code" "$kind: goes on unharmed" errors
done
exit $status
