// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/remote_walk.h"

#include <cstring>

#if defined(__x86_64__)
#include "co_ctx/x86_64/layout.h"
#elif defined(__i386__)
#include "co_ctx/i386/layout.h"
#endif

namespace corun {
namespace {

using libunwind::word;

// libunwind hands its accessors nothing but the view.
libunwind::functions_elsewhere loaded;

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

// Every linker writes these encodings.
constexpr unsigned char pc_relative = 0x1b, absolute_count = 0x03, header_relative = 0x3b;

int find_procedure(libunwind::address_space *s, word ip, libunwind::procedure *out, int need_info,
                   void *argument) {
    auto *view = static_cast<remote_view *>(argument);
    remote_code code;
    if (!view->code_at(view, ip, &code))
        return libunwind::no_info;
    const unwind_header &h = code.header;
    if (h.version != 1 || h.encoding_of_frames != pc_relative ||
        h.encoding_of_count != absolute_count || h.encoding_of_table != header_relative)
        return libunwind::no_info;
    libunwind::table t{};
    t.start_ip = code.low;
    t.end_ip = code.high;
    t.format = libunwind::format_remote_table;
    t.remote.segment = code.header_at;
    t.remote.data = t.remote.segment + sizeof h;
    t.remote.words = h.count * 2 * sizeof(int32_t) / sizeof(word);
    return loaded.search_unwind_table(s, ip, &t, out, need_info, argument);
}

int memory(libunwind::address_space *, word at, word *value, int write, void *argument) {
    auto *view = static_cast<remote_view *>(argument);
    return !write && view->read(view, at, value) ? 0 : libunwind::invalid;
}

int saved_register(libunwind::address_space *, int number, word *value, int write, void *argument) {
    if (write || number < 0 || number >= libunwind::registers)
        return libunwind::no_such_register;
    int offset = offsets[number];
    void *const *regs = static_cast<remote_view *>(argument)->regs;
    *value =
        offset < 0 ? 0 : reinterpret_cast<word>(regs[static_cast<size_t>(offset) / sizeof(void *)]);
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

} // namespace

bool remote_walker::prepare() {
    static libunwind::accessors ours = {find_procedure, put_info,       no_dynamic_list,
                                        memory,         saved_register, no_float,
                                        no_resume,      nullptr,        {}};
    constexpr int of_this_machine = 0, in_one_cache = 1;
    if (!libunwind::find(&functions_))
        return false;
    loaded = functions_;
    space_ = functions_.create_addr_space(&ours, of_this_machine);
    if (space_)
        functions_.set_caching_policy(space_, in_one_cache);
    return space_ != nullptr;
}

bool remote_walker::begin(libunwind::cursor *out, remote_view *view) {
    return functions_.init_remote(out, space_, view) >= 0;
}

void remote_walker::forget_code() { functions_.flush_cache(space_, 0, 0); }

switch_registers registers_of(void *const *saved) {
    switch_registers r;
    memcpy(r.values, saved, sizeof r.values);
    return r;
}

#if defined(__x86_64__)
switch_registers registers_of(const kept_registers &from) {
    switch_registers r{};
    auto set = [&r](size_t offset, uint64_t value) {
        r.values[offset / sizeof(void *)] = reinterpret_cast<void *>(value);
    };
    set(COCTX_OFFSET_RBX, from.rbx);
    set(COCTX_OFFSET_RBP, from.rbp);
    set(COCTX_OFFSET_R12, from.r12);
    set(COCTX_OFFSET_R13, from.r13);
    set(COCTX_OFFSET_R14, from.r14);
    set(COCTX_OFFSET_R15, from.r15);
    set(COCTX_OFFSET_RSP, from.rsp);
    set(COCTX_OFFSET_RIP, from.rip);
    return r;
}
#endif

} // namespace corun
