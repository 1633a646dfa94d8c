#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Bad pointers are EFAULT, also where corun itself follows them, and faults of the program stay its own.
. "${SRC_DIR:-.}/tests/waist/same.sh"
verdict 'what system calls say of bad pointers' 'same "$B/tests/waist/pointers_prog"'
exit $status
