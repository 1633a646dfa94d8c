// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/call_name.h"

#include <sys/syscall.h>

namespace corun {

const char *call_name(long number) {
    switch (number) {
#define CORUN_CALL(name)                                                                           \
    case __NR_##name:                                                                              \
        return #name;
#include CORUN_CALLS // a line for each, made by make
    default:
        return nullptr;
    }
}

} // namespace corun
