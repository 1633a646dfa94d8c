#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# No signal reaches a helper: neither glibc's own two nor those of faults that somebody sends, which
# would be recorded there beside the worker.
. "${SRC_DIR:-.}/tests/waist/same.sh"
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
cd "$scratch" || exit 1
mkfifo fifo && : >out
under_corun "$B/tests/waist/helper_signals_prog" fifo >>out 2>&1 &
program=$!
helpers() { grep -lx corun-helper /proc/"$pid"/task/*/comm 2>/dev/null; }
for ((i = 0; i < 2000; ++i)); do
    pid=$(head -1 out) && [ -n "$pid" ] && its=$(helpers | head -1) && [ -n "$its" ] && break
    sleep 0.01
done
# All but SIGKILL (bit 8) and SIGSTOP (bit 18).
verdict 'a helper blocks every signal that can be blocked' \
    'grep -x "SigBlk:.fffffffffffbfeff" "${its%comm}status" >>out 2>&1'
for ((i = 0; i < 300; ++i)); do
    kill -s SEGV "$pid"
    kill -s 33 "$pid"
done
exec 3<>fifo # stays open: the call may be made again behind a handler
echo x >&3
wait $program
verdict 'while it is in a call, the program has hundreds, and its read loses no byte' \
    'grep -x "read: ok, SIGSEGV handled" out'
exit $status
