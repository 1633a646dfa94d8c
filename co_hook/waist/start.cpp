// SPDX-License-Identifier: Apache-2.0
// Before everything else in the process: the library is linked with -z initfirst, so that no thread
// of a library's constructor is there yet.
#include "co_hook/waist/dump.h"
#include "co_hook/waist/environment.h"
#include "co_hook/waist/helper_threads.h"
#include "co_hook/waist/loaded.h"
#include "co_hook/waist/numbers.h"
#include "co_hook/waist/overflow.h"
#include "co_hook/waist/patch.h"
#include "co_hook/waist/rights.h"
#include "co_hook/waist/stacks.h"
#include "co_hook/waist/stats.h"
#include "co_hook/waist/worker.h"

#include "co_routine/base/check.h"

#include <cpuid.h>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>

#pragma GCC visibility push(hidden)
extern "C" {
uint64_t waist_vector_mask;
size_t waist_vector_bytes;
bool waist_vectors_compact;
bool waist_vectors_by_hand;
}
#pragma GCC visibility pop

namespace corun::waist {
namespace {

// What XSAVE must keep: all that the kernel lets programs have, but for AMX's tiles and protection
// keys, which no call of ours touches.
const char *learn_vector_state() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned osxsave = 1U << 27, xsavec = 1U << 1;
    __cpuid(1, a, b, c, d);
    if (!(c & osxsave))
        return "this processor has no XSAVE";
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr uint64_t x87_to_avx512 = 0xE7;
    waist_vector_mask = (uint64_t{high} << 32 | low) & x87_to_avx512;
    __cpuid_count(0xD, 1, a, b, c, d);
    waist_vectors_compact = (a & xsavec) != 0;
    constexpr unsigned xgetbv_of_use = 1U << 2, avx512_f = 1U << 16, avx512_bw = 1U << 30;
    unsigned of_use = a & xgetbv_of_use;
    __cpuid_count(7, 0, a, b, c, d);
    constexpr uint64_t all_of_avx512 = 0xE6;
    waist_vectors_by_hand = of_use && (b & avx512_f) && (b & avx512_bw) &&
                            (waist_vector_mask & all_of_avx512) == all_of_avx512;
    waist_vector_bytes = 512 + 64;
    for (unsigned i = 2; i < 63; ++i) {
        if (!(waist_vector_mask >> i & 1))
            continue;
        __cpuid_count(0xD, i, a, b, c, d); // a: bytes, b: where, in the standard form
        size_t end = size_t{a} + b + 64;   // the compact form is shorter, but for alignment
        if (end > waist_vector_bytes)
            waist_vector_bytes = end;
    }
    return nullptr;
}

// A thread that is there already would go on in code that is being replaced.
bool is_alone() {
    sys::word dir = sys::call(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY, 0);
    if (sys::failed(dir))
        return true; // no /proc: nothing says otherwise
    char entries[512];
    unsigned names = 0;
    sys::word n = sys::call(SYS_getdents64, dir, entries, sizeof entries);
    for (sys::word at = 0; at < n; ++names)
        at += reinterpret_cast<const dirent64 *>(entries + at)->d_reclen;
    sys::close(static_cast<int>(dir));
    return names <= 3; // ".", ".." and us
}

// glibc gives up to eight arenas of malloc for each processor to threads that would meet in one. These
// run one at a time, and each arena holds on to memory. Chosen before the runtime, on its own
// thread-local storage, is one more thread in malloc's eyes: then the number is settled. True: it was
// ours to choose, as nobody else has.
bool keep_to_one_arena(char **environment) {
    for (char **at = environment; *at; ++at)
        if (strncmp(*at, "MALLOC_ARENA_", 13) == 0 ||
            (strncmp(*at, "GLIBC_TUNABLES=", 15) == 0 && strstr(*at, "arena")))
            return false;
    return mallopt(M_ARENA_MAX, 1) != 0;
}

const char *prepare(const options &asked) {
    if (!is_alone())
        return "there is another thread already: put libcorun_waist.so first in LD_PRELOAD";
    if (const char *failed = learn_vector_state())
        return failed;
    prepare_dumps(asked.dump_signal);
    report_overflows(asked.report_overflows);
    if (const char *failed = prepare_worker(&the_worker))
        return failed;
    make_helpers_without_libc();
    watch_loading(asked.list_sites, asked.or_native);
    if (asked.stack_bytes && set_default_stack(asked.stack_bytes) != 0)
        return "this libc has no default size for the stacks of threads (--stack)";
    look_for_filter();
    claim_first_numbers();
    patch_summary &summary = patched_so_far;
    const char *failed = nullptr;
    int e = patch_loaded_objects(&summary, &failed, asked.list_sites);
    if (e == 0 && summary.unseen > 0)
        return "it makes system calls that cannot be covered (--debug=sites lists them)";
    return e == 0 ? nullptr : failed;
}

__attribute__((constructor)) void start(int, char **arguments, char **environment) {
    options asked;
    read_environment(environment, &asked);
    bool has_one_arena = keep_to_one_arena(environment);
    if (const char *failed = prepare(asked)) {
        const char *name = arguments[0] ? arguments[0] : "the program";
        warn("%s: it cannot be run as coroutines: %s%s", name, failed,
             asked.or_native ? "; it is run without corun"
                             : " (--or-native runs it without corun)");
        if (!asked.or_native)
            end_refused();
        if (has_one_arena)
            mallopt(M_ARENA_MAX, 0); // as many as glibc likes
        tls_thread = nullptr;        // what is patched passes through, and threads are the kernel's
    } else {
        prepare_stats(asked);
    }
    if (!asked.inherit)
        clean_environment(environment);
}

} // namespace
} // namespace corun::waist
