// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/unwinder.h"

#include "co_routine/base/check.h"

#include <cstring>
#include <dlfcn.h>
#include <unwind.h>

#if defined(__x86_64__)
#include "co_ctx/x86_64/layout.h"
#elif defined(__i386__)
#include "co_ctx/i386/layout.h"
#endif

namespace corun {
namespace {

// ---- libunwind's ABI ----------------------------------------------------------------------------
// From the headers of libunwind 1.6 (libunwind-common.h, libunwind-x86_64.h, libunwind-x86.h), the
// same since 1.3, where init_local2 came: an unw_context_t is a ucontext_t, an unw_cursor_t is 127
// words, unw_proc_info_t begins with start_ip, registers have numbers of their own, names carry the
// prefix of the local, native unwinder. Room is given generously: only sizes could grow.

using word = uintptr_t;
struct unwind_cursor {
    word opaque[256];
};
struct procedure {
    word start_ip;
    word rest[31];
};
constexpr int init_signal_frame = 1;
#if defined(__x86_64__)
#define LIBUNWIND_NAME(f) "_ULx86_64_" f
constexpr int register_ip = 16, register_sp = 7;
#else
#define LIBUNWIND_NAME(f) "_ULx86_" f
constexpr int register_ip = 8, register_sp = 7;
#endif

struct libunwind {
    int (*init_local2)(unwind_cursor *, ucontext_t *, int flags);
    int (*step)(unwind_cursor *);
    int (*get_reg)(unwind_cursor *, int number, word *value);
    int (*get_proc_info)(unwind_cursor *, procedure *);
};
libunwind functions; // written before `sought` says so

enum search : int { not_yet, loaded, missing };
int sought = not_yet; // atomic

template <class F> bool find(void *library, const char *name, F *out) {
    *out = reinterpret_cast<F>(dlsym(library, name));
    return *out != nullptr;
}

bool find_functions(libunwind *out) {
    // Local: the library has _Unwind_* of its own, which must not take the place of libgcc's.
    void *library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    bool all = find(library, LIBUNWIND_NAME("init_local2"), &out->init_local2);
    all = find(library, LIBUNWIND_NAME("step"), &out->step) && all;
    all = find(library, LIBUNWIND_NAME("get_reg"), &out->get_reg) && all;
    return find(library, LIBUNWIND_NAME("get_proc_info"), &out->get_proc_info) && all;
}

// ---- Walks --------------------------------------------------------------------------------------

uintptr_t entry_address() { return reinterpret_cast<uintptr_t>(&coroutine_entry); }

// Our own frames between the capture and the first wanted one are few.
constexpr int most_frames_left_out = 16;

// Asked of libunwind, because a neighbour's address may lie close; the distance spares the question
// for nearly every frame.
bool is_coroutine_entry(unwind_cursor *cursor, word pc) {
    procedure p;
    return pc - entry_address() < 4096 && functions.get_proc_info(cursor, &p) == 0 &&
           p.start_ip == entry_address();
}

bool outside(const stack_range &stack, word sp) {
    return stack.low &&
           (sp < reinterpret_cast<word>(stack.low) || sp > reinterpret_cast<word>(stack.high));
}

int walk_with_libunwind(ucontext_t *context, const walk_request &request, void **pcs, int max) {
    unwind_cursor cursor;
    int flags = request.signal_frame ? init_signal_frame : 0;
    if (functions.init_local2(&cursor, context, flags) < 0)
        return 0;
    bool wanted = request.first_pc == nullptr;
    int n = 0, left_out = 0;
    while (n < max) {
        word pc = 0, sp = 0;
        if (functions.get_reg(&cursor, register_ip, &pc) < 0 ||
            functions.get_reg(&cursor, register_sp, &sp) < 0)
            break;
        if (pc == 0 || outside(request.stack, sp) || is_coroutine_entry(&cursor, pc))
            break;
        wanted = wanted || pc == reinterpret_cast<word>(request.first_pc);
        if (wanted)
            pcs[n++] = reinterpret_cast<void *>(pc);
        else if (++left_out == most_frames_left_out)
            break;
        if (functions.step(&cursor) <= 0)
            break;
    }
    return n;
}

// ---- libgcc's, for the caller's own frames on i386 ---------------------------------------------

#if defined(__i386__)
struct {
    decltype(&_Unwind_Backtrace) backtrace;
    decltype(&_Unwind_GetIP) get_ip;
    decltype(&_Unwind_GetRegionStart) get_region_start;
} libgcc; // complete or all nullptr

struct own_walk {
    uintptr_t first;
    void **pcs;
    int max, n, left_out;
};

_Unwind_Reason_Code on_own_frame(_Unwind_Context *context, void *argument) {
    own_walk *w = static_cast<own_walk *>(argument);
    uintptr_t pc = libgcc.get_ip(context);
    if (pc == 0 || w->n == w->max || w->left_out == most_frames_left_out ||
        libgcc.get_region_start(context) == entry_address())
        return _URC_END_OF_STACK;
    if (w->n > 0 || pc == w->first)
        w->pcs[w->n++] = reinterpret_cast<void *>(pc);
    else
        ++w->left_out;
    return _URC_NO_REASON;
}

// Every C++ program has it; for a C program it is loaded.
void find_libgcc() {
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW);
    decltype(libgcc) found{};
    if (library && find(library, "_Unwind_Backtrace", &found.backtrace) &&
        find(library, "_Unwind_GetIP", &found.get_ip) &&
        find(library, "_Unwind_GetRegionStart", &found.get_region_start))
        libgcc = found;
}
#else
void find_libgcc() {}
#endif

uintptr_t context_pc(const ucontext_t *c) {
#if defined(__x86_64__)
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_RIP]);
#else
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_EIP]);
#endif
}
uintptr_t context_fp(const ucontext_t *c) {
#if defined(__x86_64__)
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_RBP]);
#else
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_EBP]);
#endif
}

// Whatever the register holds, nothing outside the stack is read and every step goes upwards. The
// sizes of functions are not known here; what follows coroutine_entry within 256 bytes is ours too.
int walk_frame_pointers(const ucontext_t *context, const walk_request &request, void **pcs,
                        int max) {
    uintptr_t low = reinterpret_cast<uintptr_t>(request.stack.low);
    uintptr_t high = reinterpret_cast<uintptr_t>(request.stack.high);
    uintptr_t pc = context_pc(context), fp = context_fp(context);
    uintptr_t first = reinterpret_cast<uintptr_t>(request.first_pc);
    int n = 0;
    pcs[n++] = reinterpret_cast<void *>(first ? first : pc);
    while (low && n < max) {
        if (fp < low || fp % sizeof(word) != 0 || fp + 2 * sizeof(word) > high)
            break;
        word frame[2];
        __builtin_memcpy(frame, reinterpret_cast<const void *>(fp), sizeof frame);
        if (frame[1] < page_size || frame[1] - entry_address() < 256)
            break;
        if (frame[1] == first)
            n = 0; // what came before were our own frames
        pcs[n++] = reinterpret_cast<void *>(frame[1]);
        low = fp + 1;
        fp = frame[0];
    }
    return n;
}

} // namespace

bool libunwind_was_sought() { return __atomic_load_n(&sought, __ATOMIC_ACQUIRE) != not_yet; }

bool libunwind_loaded() { return __atomic_load_n(&sought, __ATOMIC_ACQUIRE) == loaded; }

bool load_libunwind() {
    int seen = __atomic_load_n(&sought, __ATOMIC_ACQUIRE);
    if (seen != not_yet)
        return seen == loaded;
    // Two threads may both come here; they find the same functions.
    libunwind found{};
    bool there = find_functions(&found);
    if (there)
        functions = found;
    find_libgcc();
    int before = __atomic_exchange_n(&sought, there ? loaded : missing, __ATOMIC_ACQ_REL);
    if (!there && before == not_yet)
        warn("backtraces need libunwind.so.8 (Debian: apt install libunwind8); without it they "
             "follow frame pointers, which code built without them does not keep");
    return there;
}

int walk_own_frames([[maybe_unused]] void *first_pc, [[maybe_unused]] void **pcs,
                    [[maybe_unused]] int max) {
#if defined(__i386__)
    if (!libgcc.backtrace || !libunwind_was_sought())
        return 0;
    own_walk w{reinterpret_cast<uintptr_t>(first_pc), pcs, max, 0, 0};
    libgcc.backtrace(on_own_frame, &w);
    return w.n;
#else
    return 0;
#endif
}

void context_of_registers(ucontext_t *out, void *const *regs) {
    memset(out, 0, sizeof *out);
    greg_t *to = out->uc_mcontext.gregs;
    auto saved = [regs](size_t offset) {
        return reinterpret_cast<greg_t>(regs[offset / sizeof(void *)]);
    };
#if defined(__x86_64__)
    to[REG_RBX] = saved(COCTX_OFFSET_RBX);
    to[REG_RBP] = saved(COCTX_OFFSET_RBP);
    to[REG_R12] = saved(COCTX_OFFSET_R12);
    to[REG_R13] = saved(COCTX_OFFSET_R13);
    to[REG_R14] = saved(COCTX_OFFSET_R14);
    to[REG_R15] = saved(COCTX_OFFSET_R15);
    to[REG_RSP] = saved(COCTX_OFFSET_RSP);
    to[REG_RIP] = saved(COCTX_OFFSET_RIP);
#else
    to[REG_EBX] = saved(COCTX_OFFSET_EBX);
    to[REG_ESI] = saved(COCTX_OFFSET_ESI);
    to[REG_EDI] = saved(COCTX_OFFSET_EDI);
    to[REG_EBP] = saved(COCTX_OFFSET_EBP);
    to[REG_ESP] = saved(COCTX_OFFSET_ESP);
    to[REG_EIP] = saved(COCTX_OFFSET_EIP);
#endif
}

int walk_frames(ucontext_t *context, const walk_request &request, void **pcs, int max) {
    if (max <= 0)
        return 0;
    int n = 0;
    if (libunwind_loaded())
        n = walk_with_libunwind(context, request, pcs, max);
    return n > 0 ? n : walk_frame_pointers(context, request, pcs, max);
}

int (*code_info)(const void *pc, Dl_info *info) = dladdr;

unsigned format_frame(char *out, unsigned size, int number, void *pc, bool exact_pc) {
    // A call that never returns may be its function's last instruction: the return address then
    // belongs to the next one.
    char *inside = static_cast<char *>(pc) - (exact_pc ? 0 : 1);
    Dl_info info;
    if (!code_info(inside, &info) || !info.dli_fname)
        return format_line(out, size, "#%d %p", number, pc);
    size_t in_file =
        static_cast<size_t>(static_cast<char *>(pc) - static_cast<char *>(info.dli_fbase));
    if (!info.dli_sname)
        return format_line(out, size, "#%d %p (%s+0x%zx)", number, pc, info.dli_fname, in_file);
    size_t in_function =
        static_cast<size_t>(static_cast<char *>(pc) - static_cast<char *>(info.dli_saddr));
    return format_line(out, size, "#%d %p %s+0x%zx (%s+0x%zx)", number, pc, info.dli_sname,
                       in_function, info.dli_fname, in_file);
}

} // namespace corun
