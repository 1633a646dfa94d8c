// SPDX-License-Identifier: Apache-2.0
// A user's program for the sanitizers and Valgrind: what its coroutines do with their stacks, and between
// threads, is all allowed, and nothing may be reported. With an argument it makes the mistake of that name,
// so that a test sees that somebody watches. It knows the public headers only: valgrind_test.sh and
// sanitizers_test.sh build it.
#include <co_hook.h>
#include <co_routine.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace {

constexpr int private_many = 1000, shared_many = 200;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
constexpr int smallest_stack = 64 * 1024; // what runs on it is larger
#else
constexpr int smallest_stack = 16 * 1024;
#endif

[[noreturn]] void fail(const char *what) {
    fprintf(stderr, "watched_program: %s\n", what);
    _exit(3);
}
void must(bool condition, const char *what) {
    if (!condition)
        fail(what);
}

void *number(intptr_t n) { return reinterpret_cast<void *>(n); }

__attribute__((noinline)) void fill(char *at, size_t bytes, int with) { memset(at, with, bytes); }

// Frames with red zones between them, whose locals are written by another function; the deepest yields.
__attribute__((noinline)) bool frames_survive(int depth, int with) {
    char local[200];
    fill(local, sizeof local, with);
    if (depth == 0)
        co_yield_now();
    else if (!frames_survive(depth - 1, with))
        return false;
    for (char c : local)
        if (c != static_cast<char>(with))
            return false;
    return true;
}

int ended;
void *at_many_depths(void *argument) {
    int with = static_cast<int>(reinterpret_cast<intptr_t>(argument) % 100) + 1;
    for (int depth : {0, 9, 2}) {
        must(frames_survive(depth, with), "a frame did not survive");
        try {
            std::string text(100, static_cast<char>(with));
            frames_survive(1, with);
            throw std::runtime_error(text);
        } catch (const std::exception &e) {
            frames_survive(2, with);
            must(strlen(e.what()) == 100, "an exception did not survive");
        }
    }
    __atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
    return nullptr;
}

// All of them, twice on the same stacks; in between they are looked at from outside.
void crowd(stShareStack_t *stacks, int count) {
    static const int nowhere = open("/dev/null", O_WRONLY);
    stCoRoutineAttr_t attr;
    attr.stack_size = smallest_stack;
    attr.share_stack = stacks;
    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < count; ++i)
            must(co_go(nullptr, &attr, at_many_depths, number(i)) == 0, "co_go");
        co_yield_now();
        must(co_dump(nowhere, count < 300 ? CO_DUMP_STACKS : 0) >= 0, "co_dump");
        co_run();
    }
}

void *deep_sleep(void *) {
    std::string text(300, 'x');
    frames_survive(3, 'y');
    co_sleep_ms(1000000);
    return number(text.size() == 300);
}

void *sleep_of_the_dropped(void *) { // no destructor will run
    frames_survive(3, 'z');
    co_sleep_ms(1000000);
    return nullptr;
}

stCoRoutineAttr_t one_stack;

void *visitor(void *) {
    frames_survive(2, 'v');
    co_yield_ct();
    frames_survive(5, 'w');
    return nullptr;
}

// A coroutine resumes another one on the stack that it stands on.
void *host(void *) {
    char local[100];
    fill(local, sizeof local, 'h');
    stCoRoutine_t *guest;
    must(co_create(&guest, &one_stack, visitor, nullptr) == 0, "co_create");
    for (int i = 0; i < 4; ++i)
        co_resume(guest);
    co_release(guest);
    for (char c : local)
        must(c == 'h', "the host's local did not survive");
    return nullptr;
}

void ends_of_all_kinds() {
    stShareStack_t *stacks = co_alloc_sharestack(1, 64 * 1024);
    one_stack.share_stack = stacks;
    for (int i = 0; i < 50; ++i) {
        stCoRoutineAttr_t *attr = i % 2 ? &one_stack : nullptr;
        bool is_dropped = i % 5 == 0;
        stCoRoutine_t *co;
        must(co_go(&co, attr, is_dropped ? sleep_of_the_dropped : deep_sleep, nullptr) == 0,
             "co_go");
        for (int k = 0; k < 3; ++k)
            co_yield_now();
        if (!is_dropped) {
            co_cancel(co);
            co_join(co, nullptr);
        }
        co_release(co);
    }
    stCoRoutine_t *co;
    must(co_create(&co, &one_stack, host, nullptr) == 0, "co_create");
    for (int i = 0; i < 3; ++i) {
        co_resume(co);
        co_reset(co);
    }
    co_release(co);
    must(co_release_sharestack(stacks) == 0, "a tenant was left");
}

// ---- Between threads: what one writes before it lets go, the other reads once it has it

co_mutex_t lock;
pthread_mutex_t libcs_lock = PTHREAD_MUTEX_INITIALIZER;
long by_lock, by_libcs_lock;
struct note {
    long numbers[8];
};
co_chan_t *notes;

void *writer(void *) {
    co_enable_hook_sys();
    for (long i = 0; i < 50; ++i) {
        co_mutex_lock(&lock);
        ++by_lock;
        co_mutex_unlock(&lock);
        pthread_mutex_lock(&libcs_lock);
        ++by_libcs_lock;
        pthread_mutex_unlock(&libcs_lock);
        note *n = new note{{i, i, i, i, i, i, i, i}};
        must(co_chan_send(notes, &n) == 0, "co_chan_send");
    }
    return nullptr;
}

void *reader(void *) {
    co_enable_hook_sys();
    note *n;
    while (co_chan_recv(notes, &n) == 0) {
        must(n->numbers[0] == n->numbers[7], "a note was torn");
        delete n;
        pthread_mutex_lock(&libcs_lock);
        ++by_libcs_lock;
        pthread_mutex_unlock(&libcs_lock);
    }
    return nullptr;
}

// Hooks that wait in the loop and on a helper thread, with buffers on the stack.
void *files(void *) {
    co_enable_hook_sys();
    char out[64], in[64];
    fill(out, sizeof out, 'f');
    FILE *file = tmpfile();
    must(file && fwrite(out, 1, sizeof out, file) == sizeof out, "fwrite");
    must(fflush(file) == 0 && pread(fileno(file), in, sizeof in, 0) == sizeof in, "pread");
    must(memcmp(in, out, sizeof in) == 0, "the file holds something else");
    fclose(file);
    usleep(1000);
    return nullptr;
}

void *thread_main(void *start) {
    stShareStack_t *stacks = co_alloc_sharestack(2, 128 * 1024);
    stCoRoutineAttr_t attr;
    for (int i = 0; i < 10; ++i) {
        attr.share_stack = i % 2 ? stacks : nullptr;
        co_go(nullptr, &attr, reinterpret_cast<void *(*)(void *)>(start), nullptr);
        co_go(nullptr, &attr, files, nullptr);
    }
    co_run();
    crowd(stacks, 10);
    co_release_sharestack(stacks);
    return nullptr;
}

void between_threads() {
    must(co_chan_create(&notes, sizeof(note *), 4) == 0, "co_chan_create");
    pthread_t writers[3], readers[2];
    for (pthread_t &t : readers)
        pthread_create(&t, nullptr, thread_main, reinterpret_cast<void *>(reader));
    for (pthread_t &t : writers)
        pthread_create(&t, nullptr, thread_main, reinterpret_cast<void *>(writer));
    for (pthread_t t : writers)
        pthread_join(t, nullptr);
    co_chan_close(notes);
    for (pthread_t t : readers)
        pthread_join(t, nullptr);
    must(by_lock == 3 * 10 * 50 && by_libcs_lock == 2 * 3 * 10 * 50, "a turn was lost");
    must(co_chan_destroy(notes) == 0, "co_chan_destroy");
}

// Stands on all of its stack but less than a red zone. pad: bytes, 0 to learn what the frames need by themselves.
#ifndef SANITIZED
void *with_pad(void *pad) {
    size_t bytes = *static_cast<size_t *>(pad);
    fill(static_cast<char *>(__builtin_alloca(bytes)), bytes, 5);
    co_yield_ct();
    return nullptr;
}
size_t saved_with(size_t pad, stShareStack_t *stacks) {
    stCoRoutineAttr_t attr;
    attr.share_stack = stacks;
    stCoRoutine_t *co[2] = {};
    for (stCoRoutine_t *&c : co) // the second takes the first one's bytes out
        must(co_create(&c, &attr, with_pad, &pad) == 0, "co_create");
    for (int turn = 0; turn < 2; ++turn)
        for (stCoRoutine_t *c : co)
            co_resume(c);
    size_t saved = co_stack_high_water(co[0]);
    for (stCoRoutine_t *c : co)
        co_release(c);
    return saved;
}
void up_to_the_last_bytes() {
    constexpr size_t all = 16 * 1024, left = 64, of_frames = 1024;
    stShareStack_t *stacks = co_alloc_sharestack(1, all);
    size_t most = all - left - (saved_with(of_frames, stacks) - of_frames);
    must(saved_with(most, stacks) == all - left, "the stack is not as full as it should be");
    must(co_release_sharestack(stacks) == 0, "a tenant was left");
}
#else
void up_to_the_last_bytes() {}
#endif

// ---- Mistakes

int *volatile kept;
volatile int sink;

__attribute__((noinline)) void keep_a_local() {
    int local[4] = {1, 2, 3, 4};
    kept = local;
    co_yield_now();
}
void *use_after_return(void *) {
    keep_a_local();
    co_yield_now();
    sink = kept[1];
    return nullptr;
}
void *overflow(void *) {
    char local[32];
    fill(local, sizeof local, 1);
    frames_survive(3, 2);
    volatile int past = sizeof local;
    sink = local[past];
    return nullptr;
}
void *uninitialised(void *) {
    int local[8];
    kept = local;
    co_yield_now();
    if (kept[3] == 7)
        sink = 1;
    return nullptr;
}
long raced;
int racers;
void *race(void *) { // at the same time, with nothing before it that would put the two in order
    __atomic_add_fetch(&racers, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&racers, __ATOMIC_RELAXED) < 2) {
    }
    ++raced;
    return nullptr;
}
void *race_in_thread(void *) {
    static std::atomic<int> ready;
    co_go(nullptr, nullptr, race, nullptr);
    // Both are there at once: else the second may be given what ThreadSanitizer knew the first one by. Relaxed, which
    // orders nothing.
    for (ready.fetch_add(1, std::memory_order_relaxed); ready.load(std::memory_order_relaxed) < 2;)
        sched_yield();
    co_run();
    return nullptr;
}

int mistake(const char *name) {
    stShareStack_t *stacks = co_alloc_sharestack(1, 64 * 1024);
    stCoRoutineAttr_t attr;
    attr.share_stack = stacks;
    if (strcmp(name, "race") == 0) {
        pthread_t threads[2];
        for (pthread_t &t : threads)
            pthread_create(&t, nullptr, race_in_thread, nullptr);
        for (pthread_t t : threads)
            pthread_join(t, nullptr);
        return 0;
    }
    const struct {
        const char *name;
        void *(*body)(void *);
    } all[] = {{"use-after-return", use_after_return},
               {"overflow", overflow},
               {"uninitialised", uninitialised}};
    for (const auto &one : all)
        if (strcmp(name, one.name) == 0)
            co_go(nullptr, &attr, one.body, nullptr);
    co_run();
    return co_release_sharestack(stacks);
}

} // namespace

int main(int argc, char **argv) {
    if (argc > 1)
        return mistake(argv[1]);
    crowd(nullptr, private_many);
    for (int i = 0; i < 2; ++i) {
        stShareStack_t *stacks = co_alloc_sharestack(3, 64 * 1024);
        crowd(stacks, shared_many);
        must(co_release_sharestack(stacks) == 0, "a tenant was left");
    }
    must(ended == 2 * (private_many + 2 * shared_many), "some did not end");
    ends_of_all_kinds();
    between_threads();
    up_to_the_last_bytes();
    puts("all went well");
}
