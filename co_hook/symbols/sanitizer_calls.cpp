// SPDX-License-Identifier: Apache-2.0
// Calls of a sanitizer's runtime itself: they are native. As it writes a report it opens files for the
// names in it, as it looks for leaks it calls sched_yield, and each time it holds its locks: what parked
// there would let others run, and the next that wants memory or a thread would stop the thread for ever.
//
// Such a call is known by the code it comes from. A shared runtime (gcc's) is an object with a name of its
// own; a static one (clang's) is a stretch of the program's code.
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/table.h"
#include "co_routine/base/sanitizer.h"

#include <algorithm>
#include <cstring>
#include <link.h>
#include <sys/auxv.h>
#include <unwind.h>

#pragma GCC visibility push(default)
extern "C" {
#define CORUN_WEAK __attribute__((weak))
// Of the part of the archives that calls us: the first, the last, and those between that may be last.
CORUN_WEAK int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t),
                                                         void (*)(const volatile void *));
CORUN_WEAK void __sanitizer_set_death_callback(void (*)());
CORUN_WEAK void __sanitizer_symbolize_pc(void *, const char *, char *, size_t);
CORUN_WEAK int __asan_backtrace_dwarf_add(); // gcc's: libbacktrace
CORUN_WEAK void *__asan_backtrace_create_state();
CORUN_WEAK _Unwind_Reason_Code _Unwind_Backtrace(_Unwind_Trace_Fn, void *);
CORUN_WEAK _Unwind_Ptr _Unwind_GetIP(_Unwind_Context *);
#undef CORUN_WEAK
}
#pragma GCC visibility pop

namespace corun::symbols {
namespace {

struct stretch {
    uintptr_t low, high;
    bool has(uintptr_t at) const { return at >= low && at < high; }
};
stretch runtimes[8]; // shared ones
size_t runtime_count;
stretch static_runtime;
bool in_program; // is this code part of the program, and no library?

uintptr_t as_number(const void *p) { return reinterpret_cast<uintptr_t>(p); }
template <class F> uintptr_t as_number(F *f) { return reinterpret_cast<uintptr_t>(f); }

void add(stretch s) {
    if (runtime_count < sizeof runtimes / sizeof runtimes[0])
        runtimes[runtime_count++] = s;
}

// libasan.so.8, libclang_rt.tsan-x86_64.so
bool is_runtime_name(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (const char *start : {"libasan.so", "libtsan.so", "libubsan.so", "liblsan.so",
                              "libclang_rt.asan", "libclang_rt.tsan", "libclang_rt.ubsan"})
        if (strncmp(name, start, strlen(start)) == 0)
            return true;
    return false;
}

// The archives come in one piece, and this part has no interceptors. Should a linker have put other code
// between, nothing is known.
void find_static_runtime(stretch program) {
    stretch s = {UINTPTR_MAX, 0};
    for (uintptr_t at :
         {as_number(__sanitizer_install_malloc_and_free_hooks),
          as_number(__sanitizer_set_death_callback), as_number(__sanitizer_symbolize_pc),
          as_number(__asan_backtrace_dwarf_add), as_number(__asan_backtrace_create_state)})
        if (program.has(at))
            s = {std::min(s.low, at), std::max(s.high, at)};
    if (s.low < s.high && s.high - s.low < 1 << 20 && !s.has(getauxval(AT_ENTRY)) &&
        !s.has(as_number(is_runtime_name)))
        static_runtime = s;
}

int look_at_object(dl_phdr_info *info, size_t, void *) {
    for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr) &p = info->dlpi_phdr[i];
        if (p.p_type != PT_LOAD || !(p.p_flags & PF_X))
            continue;
        stretch code = {info->dlpi_addr + p.p_vaddr, info->dlpi_addr + p.p_vaddr + p.p_memsz};
        if (code.has(getauxval(AT_ENTRY))) {
            in_program = code.has(as_number(is_runtime_name));
            find_static_runtime(code);
        } else if (is_runtime_name(info->dlpi_name)) {
            add(code);
        }
    }
    return 0;
}

bool is_shared_runtime(uintptr_t at) {
    for (size_t i = 0; i < runtime_count; ++i)
        if (runtimes[i].has(at))
            return true;
    return false;
}

// The caller of a caller. The runtime brings libgcc's unwinder.
struct two_frames {
    uintptr_t inner, outer;
    bool inner_passed;
};
_Unwind_Reason_Code look_at_frame(_Unwind_Context *context, void *data) {
    auto *frames = static_cast<two_frames *>(data);
    uintptr_t at = _Unwind_GetIP(context);
    if (frames->inner_passed) {
        frames->outer = at;
        return _URC_END_OF_STACK;
    }
    frames->inner_passed = at == frames->inner;
    return _URC_NO_REASON;
}
uintptr_t caller_of(uintptr_t inner) {
    two_frames frames = {inner, 0, false};
    if (_Unwind_Backtrace && _Unwind_GetIP)
        _Unwind_Backtrace(look_at_frame, &frames);
    return frames.outer;
}

} // namespace

bool sanitizer_is_here;

// In libcorun.so we stand behind a shared runtime, so what the program calls may come to us by an
// interceptor: that is the runtime's own if its caller is, too.
bool is_sanitizers_call(const void *caller) {
    uintptr_t at = as_number(caller);
    return static_runtime.has(at) ||
           (is_shared_runtime(at) && (in_program || is_shared_runtime(caller_of(at))));
}

void find_sanitizer_runtimes() {
    dl_iterate_phdr(look_at_object, nullptr);
    sanitizer_is_here = runtime_count != 0 || static_runtime.high != 0;
}

} // namespace corun::symbols
