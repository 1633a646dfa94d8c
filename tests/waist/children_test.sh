#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# contract 40: a child of vfork or posix_spawn that closes its copies of sockets costs no wake-up.
. "${SRC_DIR:-.}/tests/waist/same.sh"
verdict 'what vfork children close' 'same "$B/tests/waist/children_prog" && grep -qx "status 0" "$scratch/native"'
exit $status
