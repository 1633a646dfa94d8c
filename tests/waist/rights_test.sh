#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Credentials, capabilities and filters: what is changed for all threads is, for helpers too; what is for
# one thread alone is refused by name.
. "${SRC_DIR:-.}/tests/waist/same.sh"
program=$B/tests/waist/rights_prog
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
chmod 711 "$scratch"
cd "$scratch" || exit 1
for part in $("$program"); do
    [ "$part" = refused ] || verdict "$part" 'same "$program" $part && grep -qx "status 0" native'
done
rm -f file
under_corun "$program" refused >refused 2>&1
names='setuid setfsuid capset unshare setns landlock_restrict_self seccomp prctl.PR_SET_SECCOMP. '
names+='prctl.PR_CAPBSET_DROP. prctl.PR_CAP_AMBIENT. prctl.PR_SET_SECUREBITS. prctl.PR_SET_KEEPCAPS.'
for name in $names; do
    verdict "$name for one thread" '[ "$(grep -cE "^corun: thread #1: $name for one thread is refused: .*; (make|set|libc)" refused)" = 1 ]'
done
verdict 'strict mode' 'grep -qE "^corun: thread #1: seccomp.s strict mode is refused: .*; set a filter$" refused'
verdict 'they fail with EPERM, and nothing has changed' 'grep -v "^corun: " refused | diff - <(cat <<X
setuid: -1 Operation not permitted
setfsuid: 1 ok
setfsuid: 1 ok
capset: -1 Operation not permitted
unshare: -1 Operation not permitted
setns: -1 Operation not permitted
landlock_restrict_self: -1 Operation not permitted
filter: -1 Operation not permitted
prctl: filter: -1 Operation not permitted
prctl: strict: -1 Operation not permitted
bounding set: -1 Operation not permitted
ambient set: -1 Operation not permitted
securebits: -1 Operation not permitted
keepcaps: -1 Operation not permitted
keepcaps now: 0 ok
only asked: 0 ok
and nothing has changed
  fsync: 0 ok
  truncate: 0 ok
  mkdir: 0 ok
  connect: 0 ok
X
) >out'
exit $status
