#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The system calls of objects that are loaded later are led to corun, whatever else is mapped meanwhile.
. "${SRC_DIR:-.}/tests/waist/same.sh"
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
$CC -O2 -shared -fPIC -nostdlib "${SRC_DIR:-.}/tests/waist/own_call.c" -o "$scratch/lib.so" || exit 1
$CC -O2 -shared -fPIC -nostdlib -Wl,-z,max-page-size=0x200000 "${SRC_DIR:-.}/tests/waist/own_call.c" -o "$scratch/aligned.so" || exit 1
verdict 'what is loaded while other files are mapped is covered, by hand and by dlopen' \
    'same "$B/tests/waist/loads_prog" "$scratch/lib.so" "$scratch/aligned.so" && ! grep another "$scratch/native" && grep -qx "status 0" "$scratch/native"'
exit $status
