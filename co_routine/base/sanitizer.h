// SPDX-License-Identifier: Apache-2.0
// What AddressSanitizer and ThreadSanitizer must be told about stacks that change under a thread.
// Without a sanitizer everything here is empty.
//
// ASan: the runtime wants the bounds of the stack it is about to find itself on, and keeps a "fake
// stack" for each fiber. TSan: every fiber has a state of its own. The shadow of a shared stack's
// live bytes is copied with them, so that red zones stand again when the frames come back.
#pragma once

#include <cstddef>
#include <cstdint>

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

#if CO_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack_save, const void **bottom_old,
                                     size_t *size_old);
void __asan_unpoison_memory_region(void const volatile *addr, size_t size);
void __asan_get_shadow_mapping(size_t *shadow_scale, size_t *shadow_offset);
void __lsan_register_root_region(const void *p, size_t size);
void __lsan_unregister_root_region(const void *p, size_t size);
}
#endif
#if CO_TSAN
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *address);
void __tsan_release(void *address);
}
#endif

namespace corun {

#if CO_ASAN
inline size_t san_shadow_bytes(size_t bytes) { return bytes / 8; }
CO_NO_SANITIZE inline char *san_shadow_of(const char *address) {
    size_t scale, offset;
    __asan_get_shadow_mapping(&scale, &offset);
    return reinterpret_cast<char *>((reinterpret_cast<uintptr_t>(address) >> scale) + offset);
}
CO_NO_SANITIZE inline void san_copy_raw(char *to, const char *from, size_t n) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}
inline void san_save_shadow(char *to, const char *stack, size_t bytes) {
    san_copy_raw(to, san_shadow_of(stack), bytes / 8);
}
inline void san_restore_shadow(const char *from, const char *stack, size_t bytes) {
    san_copy_raw(san_shadow_of(stack), from, bytes / 8);
}
inline void san_unpoison(void *start, size_t bytes) { __asan_unpoison_memory_region(start, bytes); }
// Stacks and slabs point to the heap, and LeakSanitizer does not look into mappings by itself.
inline void san_add_root(const void *start, size_t bytes) {
    __lsan_register_root_region(start, bytes);
}
inline void san_remove_root(const void *start, size_t bytes) {
    __lsan_unregister_root_region(start, bytes);
}
#else
inline void san_add_root(const void *, size_t) {}
inline void san_remove_root(const void *, size_t) {}
inline size_t san_shadow_bytes(size_t) { return 0; }
inline void san_save_shadow(char *, const char *, size_t) {}
inline void san_restore_shadow(const char *, const char *, size_t) {}
inline void san_unpoison(void *, size_t) {}
#endif

// TSan does not see our own mmap and munmap: without these, a mapping that one thread gave back and
// another got at the same address would be a race between the two.
#if CO_TSAN
inline char san_address_space;
inline void san_space_returned() { __tsan_release(&san_address_space); }
inline void san_space_taken() { __tsan_acquire(&san_address_space); }
#else
inline void san_space_returned() {}
inline void san_space_taken() {}
#endif

// A coroutine's state inside the sanitizers; empty in plain builds, where it must cost no byte.
struct san_fiber {
#if CO_ASAN
    void *fake_stack = nullptr;
#endif
#if CO_TSAN
    void *tsan = nullptr;
#endif
};

} // namespace corun
