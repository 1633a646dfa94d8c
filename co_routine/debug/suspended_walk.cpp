// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/suspended_walk.h"

#include "co_routine/base/sanitizer.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/debug/remote_walk.h"
#include "co_routine/debug/walk.h"

#include <cstring>

namespace corun {
namespace {

using libunwind::word;

constinit remote_walker walker;

// ---- Objects, as glibc's dlfcn.h has them from 2.35 on

struct object {
    unsigned long long flags;
    word low, high;
    void *link_map;
    const unsigned char *unwind_header; // PT_GNU_EH_FRAME
    word rest[32];
};
int (*find_object)(void *address, object *out);

bool code_at(remote_view *, word pc, remote_code *out) {
    object o;
    if (find_object(reinterpret_cast<void *>(pc), &o) != 0 || !o.unwind_header)
        return false;
    *out = {o.low, o.high, reinterpret_cast<word>(o.unwind_header), {}};
    memcpy(&out->header, o.unwind_header, sizeof out->header);
    return true;
}

// ---- What one walk sees

struct view : remote_view {
    live_bytes stack;
};

CO_NO_SANITIZE bool read_word(remote_view *seen, word at, word *value) {
    const live_bytes &stack = static_cast<view *>(seen)->stack;
    word low = reinterpret_cast<word>(stack.low), high = reinterpret_cast<word>(stack.high);
    if (low && at >= low && at < high && sizeof *value <= high - at) {
        __builtin_memcpy(value, stack.bytes + (at - low), sizeof *value);
        return true;
    }
    // Objects, too: what lies between their segments, and what the program has protected, is not readable.
    return copy_from_user(value, reinterpret_cast<const void *>(at), sizeof *value);
}

// The structures of another version would show: then nothing, or something else is found.
__attribute__((noinline)) bool finds_its_caller() {
    alignas(64) void *regs[COCTX_LIVE_REGS], *pcs[2] = {};
    coctx_swap_regs(regs, regs);
    return walk_elsewhere(regs, {}, pcs, 2) == 2 && pcs[1] == __builtin_return_address(0);
}

} // namespace

bool prepare_suspended_walks() {
    return find_symbol(RTLD_DEFAULT, "_dl_find_object", &find_object) && walker.prepare() &&
           finds_its_caller();
}

int walk_elsewhere(void *const *regs, const walk_request &request, void **pcs, int max) {
    view v{{regs, read_word, code_at}, request.stack};
    libunwind::cursor cursor;
    if (!walker.begin(&cursor, &v))
        return 0;
    return walk(walker.functions(), &cursor, request, pcs, max);
}

void flush_suspended_walks() { walker.forget_code(); }

} // namespace corun
