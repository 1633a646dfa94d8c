#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Odd turns in the lives of threads and processes: each part of lives_prog says under corun what it says
# natively.
. "${SRC_DIR:-.}/tests/waist/same.sh"
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
for part in $("$B/tests/waist/lives_prog"); do
    verdict "$part" "same '$B/tests/waist/lives_prog' $part && ! grep -qx 'status 124' '$scratch/native'"
done
exit $status
