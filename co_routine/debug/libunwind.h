// SPDX-License-Identifier: Apache-2.0
// libunwind, found by dlopen: what is used of it, and how it is called. Its headers are not needed to
// build; what they say is declared here, from libunwind 1.6 and 1.8, and tried out when it is loaded.
//
// Two libraries of one package: libunwind.so.8 walks from registers over memory as it is (the running
// coroutine, a fault); libunwind-x86_64.so.8 asks us for every register and word (a suspended one, whose
// bytes may be elsewhere). The second takes no lock of the dynamic linker.
#pragma once

#include "co_ctx/coctx.h"

#include <cstddef>
#include <cstdint>
#include <dlfcn.h>
#include <ucontext.h>

namespace corun {

template <class F> bool find_symbol(void *library, const char *name, F *out) {
    *out = reinterpret_cast<F>(dlsym(library, name));
    return *out != nullptr;
}

} // namespace corun

namespace corun::libunwind {

using word = uintptr_t;
struct cursor {
    word opaque[256]; // 127 are used
};
struct procedure { // unw_proc_info_t
    word start_ip;
    word rest[31];
};
struct address_space;

#if defined(__x86_64__)
inline constexpr int register_ip = 16, register_sp = 7, registers = 17;
#else
inline constexpr int register_ip = 8, register_sp = 7, registers = 9;
#endif
inline constexpr int init_signal_frame = 1;
inline constexpr int no_such_register = -3, invalid = -8, no_info = -10; // -UNW_E...

struct accessors {
    int (*find_procedure)(address_space *, word ip, procedure *, int need_info, void *argument);
    void (*put_info)(address_space *, procedure *, void *argument);
    int (*dynamic_list)(address_space *, word *, void *argument);
    int (*memory)(address_space *, word address, word *value, int write, void *argument);
    int (*register_)(address_space *, int number, word *value, int write, void *argument);
    int (*float_register)(address_space *, int number, void *value, int write, void *argument);
    int (*resume)(address_space *, cursor *, void *argument);
    int (*name)(address_space *, word, char *, size_t, word *, void *argument);
    void *younger[8]; // of later versions
};

// The table of an object's functions, as its .eh_frame_hdr has it (unw_dyn_info_t).
struct table {
    void *next, *previous;
    word start_ip, end_ip, gp;
    int32_t format, padding;
    word load_offset;
    struct {
        word name, segment, words, data;
    } remote;
    word rest[16];
};
inline constexpr int32_t format_remote_table = 2;

struct functions_of_cursor {
    int (*step)(cursor *);
    int (*get_reg)(cursor *, int number, word *value);
    int (*get_proc_info)(cursor *, procedure *);
};
struct functions_here : functions_of_cursor {
    int (*init_local2)(cursor *, ucontext_t *, int flags);
};
struct functions_elsewhere : functions_of_cursor {
    address_space *(*create_addr_space)(accessors *, int byte_order);
    int (*init_remote)(cursor *, address_space *, void *argument);
    void (*set_caching_policy)(address_space *, int policy);
    void (*flush_cache)(address_space *, word low, word high);
    int (*search_unwind_table)(address_space *, word ip, table *, procedure *, int need_info,
                               void *argument);
};

// False: not there. Allocates; out is whole or as it was.
bool find(functions_here *out);
bool find(functions_elsewhere *out);

} // namespace corun::libunwind
