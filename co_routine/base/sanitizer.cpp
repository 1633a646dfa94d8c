// SPDX-License-Identifier: Apache-2.0
#include "co_routine/base/sanitizer.h"

namespace corun {
namespace {

// ---- Valgrind ----------------------------------------------------------------------------------------
// A client request: four rotations of a register that come to nothing, and an exchange of a register with
// itself. A processor does just that, and the answer stays what it was; under Valgrind it is a call, with
// the numbers in an array. (Valgrind's manual, "The client request mechanism".)

using word = unsigned long;

word valgrind_request(word number, word a = 0, word b = 0, word c = 0) {
    const volatile word request[6] = {number, a, b, c, 0, 0};
    word answer = 0;
#if defined(__x86_64__)
    __asm__ volatile("rolq $3, %%rdi\n\trolq $13, %%rdi\n\trolq $61, %%rdi\n\trolq $51, %%rdi\n\t"
                     "xchgq %%rbx, %%rbx"
                     : "+d"(answer)
                     : "a"(request)
                     : "cc", "memory");
#else
    __asm__ volatile("roll $3, %%edi\n\troll $13, %%edi\n\troll $29, %%edi\n\troll $19, %%edi\n\t"
                     "xchgl %%ebx, %%ebx"
                     : "+d"(answer)
                     : "a"(request)
                     : "cc", "memory");
#endif
    return answer;
}

enum : word {
    running_on_valgrind = 0x1001,
    stack_register = 0x1501,
    stack_deregister = 0x1502,
    change_error_reporting = 0x1801,
    // Of memcheck; other tools do not know them and do nothing.
    make_noaccess = 'M' << 24 | 'C' << 16,
    make_undefined,
    make_defined,
};

word as_word(const void *p) { return reinterpret_cast<word>(p); }

// Of the first 1/8 of the address space a byte describes eight bytes.
CO_NO_SANITIZE char *shadow_of(const char *address) {
    size_t scale, offset;
    __asan_get_shadow_mapping(&scale, &offset);
    return reinterpret_cast<char *>((reinterpret_cast<uintptr_t>(address) >> scale) + offset);
}

} // namespace

uint8_t known_watchers;

void find_watchers() {
    unsigned w = 0;
    if (__sanitizer_start_switch_fiber && __asan_get_shadow_mapping)
        w |= watcher_asan;
    if (__tsan_create_fiber)
        w |= watcher_tsan;
    if (__lsan_register_root_region)
        w |= watcher_lsan;
    if (valgrind_request(running_on_valgrind) != 0)
        w |= watcher_valgrind;
    if (valgrind_request(make_defined, as_word(&w), sizeof w) != 0)
        w |= watcher_memcheck;
    __atomic_store_n(&known_watchers, static_cast<uint8_t>(w), __ATOMIC_RELAXED);
}

void san_renew(const char *start, size_t bytes) {
    if (is_watched_by(watcher_asan))
        __asan_unpoison_memory_region(start, bytes);
    if (is_watched_by(watcher_memcheck))
        valgrind_request(make_undefined, as_word(start), bytes);
}

void san_define(const void *start, size_t bytes) {
    if (is_watched_by(watcher_memcheck))
        valgrind_request(make_defined, as_word(start), bytes);
}

void san_forbid(const char *start, size_t bytes) {
    if (is_watched_by(watcher_memcheck))
        valgrind_request(make_noaccess, as_word(start), bytes);
}

void san_add_root(const void *start, size_t bytes) {
    if (is_watched_by(watcher_lsan))
        __lsan_register_root_region(start, bytes);
}
void san_remove_root(const void *start, size_t bytes) {
    if (is_watched_by(watcher_lsan))
        __lsan_unregister_root_region(start, bytes);
}

unsigned san_register_stack(const char *low, const char *high) {
    if (!is_watched_by(watcher_valgrind))
        return 0;
    return static_cast<unsigned>(valgrind_request(stack_register, as_word(low), as_word(high)));
}
void san_deregister_stack(unsigned number) {
    if (is_watched_by(watcher_valgrind))
        valgrind_request(stack_deregister, number);
}

size_t san_shadow_bytes(size_t bytes) { return is_watched_by(watcher_asan) ? bytes / 8 : 0; }
CO_NO_SANITIZE void san_save_shadow(char *to, const char *stack, size_t bytes) {
    if (is_watched_by(watcher_asan))
        san_copy_raw(to, shadow_of(stack), bytes / 8);
}
CO_NO_SANITIZE void san_restore_shadow(const char *from, const char *stack, size_t bytes) {
    if (is_watched_by(watcher_asan))
        san_copy_raw(shadow_of(stack), from, bytes / 8);
}

san_any_reads::san_any_reads() {
    if (is_watched_by(watcher_valgrind))
        valgrind_request(change_error_reporting, 1);
}
san_any_reads::~san_any_reads() {
    if (is_watched_by(watcher_valgrind))
        valgrind_request(change_error_reporting, static_cast<word>(-1));
}

void san_begin_fiber(san_fiber *f) {
    f->fake_stack = nullptr;
    if (is_watched_by(watcher_tsan))
        f->tsan = __tsan_create_fiber(0);
}
void san_adopt_fiber(san_fiber *f) {
    if (is_watched_by(watcher_tsan))
        f->tsan = __tsan_get_current_fiber();
}

} // namespace corun
