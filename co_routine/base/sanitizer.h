// SPDX-License-Identifier: Apache-2.0
// What AddressSanitizer, ThreadSanitizer, LeakSanitizer and Valgrind must be told about stacks that
// change under a thread. Which of them watch this process is found out while it runs: by their functions,
// which are weak references here, and by the request that means something under Valgrind only. So a
// program that is built with a sanitizer links the library as it is.
//
// ASan: the runtime wants the bounds of the stack it is about to find itself on, and keeps a "fake
// stack" for each fiber. TSan: every fiber has a state of its own. Valgrind: a stack that it knows is not
// taken for a large frame. The shadow of a shared stack's live bytes is copied with them, so that red
// zones stand again when the frames come back.
//
// Nothing of it is on the way of a switch in a process that none of them watches: core/watched.h says how.
#pragma once

#include <cstddef>
#include <cstdint>

// How this code itself is built.
#if defined(__SANITIZE_ADDRESS__)
#define CO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CO_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CO_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CO_TSAN 1
#endif
#endif
#ifndef CO_ASAN
#define CO_ASAN 0
#endif
#ifndef CO_TSAN
#define CO_TSAN 0
#endif
#define CO_SANITIZED (CO_ASAN || CO_TSAN)

#if CO_ASAN
#define CO_NO_SANITIZE __attribute__((no_sanitize_address))
#elif CO_TSAN
#define CO_NO_SANITIZE __attribute__((no_sanitize_thread))
#else
#define CO_NO_SANITIZE
#endif

#pragma GCC visibility push(default)
extern "C" {
#define CORUN_WEAK __attribute__((weak))
CORUN_WEAK void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom,
                                               size_t size);
CORUN_WEAK void __sanitizer_finish_switch_fiber(void *fake_stack_save, const void **bottom_old,
                                                size_t *size_old);
CORUN_WEAK void __asan_unpoison_memory_region(void const volatile *addr, size_t size);
CORUN_WEAK void __asan_get_shadow_mapping(size_t *shadow_scale, size_t *shadow_offset);
CORUN_WEAK void __lsan_register_root_region(const void *p, size_t size);
CORUN_WEAK void __lsan_unregister_root_region(const void *p, size_t size);
CORUN_WEAK void *__tsan_get_current_fiber(void);
CORUN_WEAK void *__tsan_create_fiber(unsigned flags);
CORUN_WEAK void __tsan_destroy_fiber(void *fiber);
CORUN_WEAK void __tsan_switch_to_fiber(void *fiber, unsigned flags);
CORUN_WEAK void __tsan_acquire(void *address);
CORUN_WEAK void __tsan_release(void *address);
#undef CORUN_WEAK
}
#pragma GCC visibility pop

namespace corun {

// Who watches this process.
enum watcher : uint8_t {
    watcher_asan = 1 << 0,
    watcher_tsan = 1 << 1,
    watcher_lsan = 1 << 2,     // also with ASan
    watcher_valgrind = 1 << 3, // any of its tools
    watcher_memcheck = 1 << 4,
};
extern uint8_t known_watchers __attribute__((visibility("hidden"))); // atomic
void find_watchers(); // before the first stack is made
inline bool is_watched_by(unsigned some) {
    return (__atomic_load_n(&known_watchers, __ATOMIC_RELAXED) & some) != 0;
}
// Who knows of each byte whether it is anybody's.
inline constexpr unsigned byte_watchers = watcher_asan | watcher_memcheck;

// What one thread did before it let go of an object, the next holder may see. TSan knows that of objects
// that code built with it takes and releases; of ours it is told.
inline void san_release(const void *object) {
    if (__builtin_expect(is_watched_by(watcher_tsan), 0))
        __tsan_release(const_cast<void *>(object));
}
inline void san_acquire(const void *object) {
    if (__builtin_expect(is_watched_by(watcher_tsan), 0))
        __tsan_acquire(const_cast<void *>(object));
}

// ---- Memory: nothing happens where nobody watches --------------------------------------------------

// Bytes that become somebody else's: red zones of dropped frames go, and nothing in them is initialised.
void san_renew(const char *start, size_t bytes);
// What was computed from bytes that are not initialised, on purpose.
void san_define(const void *start, size_t bytes);
// Below a stack pointer.
void san_forbid(const char *start, size_t bytes);

// Stacks and slabs point to the heap, and LeakSanitizer does not look into mappings by itself.
void san_add_root(const void *start, size_t bytes);
void san_remove_root(const void *start, size_t bytes);

// Valgrind's number of a stack. high belongs to it: there the stack pointer begins.
unsigned san_register_stack(const char *low, const char *high);
void san_deregister_stack(unsigned number);

// TSan does not see our own mmap and munmap: without these, a mapping that one thread gave back and
// another got at the same address would be a race between the two. Where the program's bytes stand: always;
// for our own bytes, of which TSan only knows where it is built into this code: the second pair.
inline char san_address_space;
inline void san_space_returned() {
    if (__tsan_release)
        __tsan_release(&san_address_space);
}
inline void san_space_taken() {
    if (__tsan_acquire)
        __tsan_acquire(&san_address_space);
}
#if CO_TSAN
inline void san_own_space_returned() { san_space_returned(); }
inline void san_own_space_taken() { san_space_taken(); }
#else
inline void san_own_space_returned() {}
inline void san_own_space_taken() {}
#endif

// The shadow of so many bytes of a stack, which travels with them; 0: there is none.
size_t san_shadow_bytes(size_t bytes);
void san_save_shadow(char *to, const char *stack, size_t bytes);
void san_restore_shadow(const char *from, const char *stack, size_t bytes);
// Bytes of a stack, red zones and what is not initialised included.
CO_NO_SANITIZE inline void san_copy_raw(char *to, const char *from, size_t n) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

// While this lives, the thread may read what is dead or not initialised: debug/ looks into stacks.
class san_any_reads {
  public:
    san_any_reads();
    ~san_any_reads();
    san_any_reads(const san_any_reads &) = delete;
    san_any_reads &operator=(const san_any_reads &) = delete;
};

// ---- Fibers ----------------------------------------------------------------------------------------

// A coroutine's state inside the sanitizers.
struct san_fiber {
    void *fake_stack = nullptr;
    void *tsan = nullptr;
};
inline bool has_fibers() { return is_watched_by(watcher_asan | watcher_tsan); }

void san_begin_fiber(san_fiber *f); // of a coroutine that has not run
void san_adopt_fiber(san_fiber *f); // of the code that calls this
// Before leaving and after arriving. from: nullptr: it never comes back. Inline: what is called and
// returns would be called on one fiber and return on another.
__attribute__((always_inline)) inline void san_leave(san_fiber *from, const san_fiber *to,
                                                     const char *low, const char *high) {
    if (is_watched_by(watcher_asan))
        __sanitizer_start_switch_fiber(from ? &from->fake_stack : nullptr, low,
                                       static_cast<size_t>(high - low));
    if (is_watched_by(watcher_tsan))
        __tsan_switch_to_fiber(to->tsan, 0);
}
__attribute__((always_inline)) inline void san_arrive(const san_fiber *self) {
    if (is_watched_by(watcher_asan))
        __sanitizer_finish_switch_fiber(self->fake_stack, nullptr, nullptr);
}

} // namespace corun
