# SPDX-License-Identifier: Apache-2.0
# For tests that compare: the same program natively and as coroutines. Sourced.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ -e "$B/libcorun_waist.so" ] || { echo 'corun is not built'; exit 77; }

under_corun() { timeout 60 env LD_PRELOAD="$B/libcorun_waist.so" "$@"; }
# same COMMAND...: says and ends natively and under corun alike.
same() {
    timeout 60 "$@" >"$scratch/native" 2>&1 </dev/null
    echo "status $?" >>"$scratch/native"
    under_corun "$@" >"$scratch/coroutines" 2>&1 </dev/null
    echo "status $?" >>"$scratch/coroutines"
    # What corun says besides of a stack that is run off.
    sed -i '/^corun: thread .*: stack overflow: /d; /^    #[0-9]* 0x/d; /^    \.\.\. [0-9]* frames \.\.\.$/d' "$scratch/coroutines"
    diff "$scratch/native" "$scratch/coroutines" >"$scratch/out"
}
