#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A system call keeps the vector registers and the flags, whoever runs meanwhile.
. "${SRC_DIR:-.}/tests/waist/same.sh"
verdict 'vector registers, masks, flags, the x87 unit' 'same "$B/tests/waist/vectors_prog"'
exit $status
