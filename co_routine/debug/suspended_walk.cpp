// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/suspended_walk.h"

#include "co_routine/base/sanitizer.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/debug/libunwind.h"
#include "co_routine/debug/walk.h"

#include <cstring>

#if defined(__x86_64__)
#include "co_ctx/x86_64/layout.h"
#elif defined(__i386__)
#include "co_ctx/i386/layout.h"
#endif

namespace corun {
namespace {

using libunwind::word;

libunwind::functions_elsewhere functions;
libunwind::address_space *space;

// Where the registers that a switch saves stand, by libunwind's numbers; -1: it saves none.
#if defined(__x86_64__)
constexpr int offsets[libunwind::registers] = {-1,
                                               -1,
                                               -1,
                                               COCTX_OFFSET_RBX,
                                               -1,
                                               -1,
                                               COCTX_OFFSET_RBP,
                                               COCTX_OFFSET_RSP,
                                               -1,
                                               -1,
                                               -1,
                                               -1,
                                               COCTX_OFFSET_R12,
                                               COCTX_OFFSET_R13,
                                               COCTX_OFFSET_R14,
                                               COCTX_OFFSET_R15,
                                               COCTX_OFFSET_RIP};
#else
constexpr int offsets[libunwind::registers] = {-1,
                                               -1,
                                               -1,
                                               COCTX_OFFSET_EBX,
                                               COCTX_OFFSET_ESI,
                                               COCTX_OFFSET_EDI,
                                               COCTX_OFFSET_EBP,
                                               COCTX_OFFSET_ESP,
                                               COCTX_OFFSET_EIP};
#endif

// ---- Objects, as glibc's dlfcn.h has them from 2.35 on

struct object {
    unsigned long long flags;
    word low, high;
    void *link_map;
    const unsigned char *unwind_header; // PT_GNU_EH_FRAME
    word rest[32];
};
int (*find_object)(void *address, object *out);

bool object_of(word at, object *out) { return find_object(reinterpret_cast<void *>(at), out) == 0; }

// .eh_frame_hdr: version, three encodings, the address of .eh_frame, the count, and a table of pairs.
// Every linker writes these encodings.
struct unwind_header {
    unsigned char version, encoding_of_frames, encoding_of_count, encoding_of_table;
    int32_t frames;
    uint32_t count;
};
constexpr unsigned char pc_relative = 0x1b, absolute_count = 0x03, header_relative = 0x3b;

int find_procedure(libunwind::address_space *s, word ip, libunwind::procedure *out, int need_info,
                   void *argument) {
    object o;
    if (!object_of(ip, &o) || !o.unwind_header)
        return libunwind::no_info;
    unwind_header h;
    memcpy(&h, o.unwind_header, sizeof h);
    if (h.version != 1 || h.encoding_of_frames != pc_relative ||
        h.encoding_of_count != absolute_count || h.encoding_of_table != header_relative)
        return libunwind::no_info;
    libunwind::table t{};
    t.start_ip = o.low;
    t.end_ip = o.high;
    t.format = libunwind::format_remote_table;
    t.remote.segment = reinterpret_cast<word>(o.unwind_header);
    t.remote.data = t.remote.segment + sizeof h;
    t.remote.words = h.count * 2 * sizeof(int32_t) / sizeof(word);
    return functions.search_unwind_table(s, ip, &t, out, need_info, argument);
}

// ---- What one walk sees

struct view {
    void *const *regs;
    live_bytes stack;
};

CO_NO_SANITIZE int memory(libunwind::address_space *, word at, word *value, int write,
                          void *argument) {
    auto *v = static_cast<view *>(argument);
    if (write)
        return libunwind::invalid;
    word low = reinterpret_cast<word>(v->stack.low), high = reinterpret_cast<word>(v->stack.high);
    if (low && at >= low && at < high && sizeof *value <= high - at) {
        __builtin_memcpy(value, v->stack.bytes + (at - low), sizeof *value);
        return 0;
    }
    // Objects, too: what lies between their segments, and what the program has protected, is not readable.
    return copy_from_user(value, reinterpret_cast<const void *>(at), sizeof *value)
               ? 0
               : libunwind::invalid;
}

int saved_register(libunwind::address_space *, int number, word *value, int write, void *argument) {
    if (write || number < 0 || number >= libunwind::registers)
        return libunwind::no_such_register;
    int offset = offsets[number];
    auto *v = static_cast<view *>(argument);
    *value = offset < 0
                 ? 0
                 : reinterpret_cast<word>(v->regs[static_cast<size_t>(offset) / sizeof(void *)]);
    return 0;
}

void put_info(libunwind::address_space *, libunwind::procedure *, void *) {}
int no_dynamic_list(libunwind::address_space *, word *, void *) { return libunwind::no_info; }
int no_float(libunwind::address_space *, int, void *, int, void *) {
    return libunwind::no_such_register;
}
int no_resume(libunwind::address_space *, libunwind::cursor *, void *) {
    return libunwind::invalid;
}

// The structures of another version would show: then nothing, or something else is found.
__attribute__((noinline)) bool finds_its_caller() {
    alignas(64) void *regs[COCTX_LIVE_REGS], *pcs[2] = {};
    coctx_swap_regs(regs, regs);
    return walk_elsewhere(regs, {}, pcs, 2) == 2 && pcs[1] == __builtin_return_address(0);
}

} // namespace

bool prepare_suspended_walks() {
    static libunwind::accessors ours = {find_procedure, put_info,       no_dynamic_list,
                                        memory,         saved_register, no_float,
                                        no_resume,      nullptr,        {}};
    constexpr int of_this_machine = 0, in_one_cache = 1;
    if (!find_symbol(RTLD_DEFAULT, "_dl_find_object", &find_object) || !libunwind::find(&functions))
        return false;
    space = functions.create_addr_space(&ours, of_this_machine);
    if (!space)
        return false;
    functions.set_caching_policy(space, in_one_cache);
    return finds_its_caller();
}

int walk_elsewhere(void *const *regs, const live_bytes &stack, void **pcs, int max) {
    view v{regs, stack};
    libunwind::cursor cursor;
    if (functions.init_remote(&cursor, space, &v) < 0)
        return 0;
    return walk(functions, &cursor, {.stack = stack}, pcs, max);
}

void flush_suspended_walks() { functions.flush_cache(space, 0, 0); }

} // namespace corun
