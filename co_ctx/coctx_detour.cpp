// SPDX-License-Identifier: Apache-2.0
#include "co_ctx/coctx.h"

extern "C" {

COCTX_HIDDEN extern const char coctx_detour_start[]; // code, of which only the address matters here
COCTX_HIDDEN coctx_landing_t coctx_detour_landing = nullptr;

void *coctx_detour(void **regs, coctx_landing_t landing) {
    coctx_detour_landing = landing;
    void *resume_pc = regs[COCTX_INDEX_PC];
    regs[COCTX_INDEX_PC] = const_cast<char *>(coctx_detour_start);
    return resume_pc;
}

} // extern "C"
