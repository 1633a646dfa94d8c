#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# legacy_server under corun gives the answers that it gives natively, on one kernel thread.
B=${BUILD_DIR:-build/x86_64}
[ -e "$B/libcorun_waist.so" ] && [ -x "$B/corun" ] || { echo 'corun is not built'; exit 77; }
RUN=$B/corun exec bash "${SRC_DIR:-.}/tests/waist/legacy_server_test.sh"
