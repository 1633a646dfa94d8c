#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mutexes with priority, robust ones, and the raw futex operations behind them, as natively.
. "${SRC_DIR:-.}/tests/waist/same.sh"
verdict 'what locks with owners answer' 'same "$B/tests/waist/locks_prog"'
exit $status
