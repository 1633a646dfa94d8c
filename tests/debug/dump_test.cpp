// SPDX-License-Identifier: Apache-2.0
// co_dump, co_stack_high_water, co_get_stats.
#include "co_routine/co_routine.h"

#include "tests/debug/child.h"

#include <alloca.h>
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <regex.h>

namespace {

using body = void (*)();

void *call(void *run) {
    reinterpret_cast<body>(run)();
    return nullptr;
}

stCoRoutine_t *create(body run, stShareStack_t *shared = nullptr, int stack_size = 0) {
    stCoRoutineAttr_t attr;
    attr.stack_size = stack_size;
    attr.share_stack = shared;
    stCoRoutine_t *co = nullptr;
    EXPECT_EQ(0, co_create(&co, &attr, call, reinterpret_cast<void *>(run)));
    return co;
}

struct dump {
    int lines;
    std::string text;
};
dump dump_of(unsigned flags) {
    char path[] = "/tmp/corun-dump-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    dump d{co_dump(fd, flags), {}};
    lseek(fd, 0, SEEK_SET);
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;)
        d.text.append(buffer, static_cast<size_t>(n));
    close(fd);
    return d;
}

// Ids depend on what ran before in this thread: N stands for them.
bool has_line(const dump &d, const std::string &pattern) {
    regex_t compiled;
    EXPECT_EQ(0, regcomp(&compiled, ("^" + pattern + "$").c_str(), REG_EXTENDED | REG_NEWLINE));
    bool found = regexec(&compiled, d.text.c_str(), 0, nullptr, 0) == 0;
    regfree(&compiled);
    return found;
}

TEST(Dump, GivesEachCoroutineALineWithItsState) {
    static dump seen;
    stCoRoutine_t *fresh = create([] {}), *yielded = create([] { co_yield_ct(); });
    stCoRoutine_t *ended = create([] {}), *running = create([] { seen = dump_of(0); });
    co_set_name(yielded, "worker");
    co_resume(yielded);
    co_resume(ended);
    co_resume(running);
    EXPECT_EQ(4, seen.lines);
    EXPECT_TRUE(has_line(seen, "#[0-9]+ fresh; private stack 131072 bytes, [0-9]+ used"))
        << seen.text;
    EXPECT_TRUE(has_line(seen, "#[0-9]+ 'worker' yielded; private stack 131072 bytes, [1-9][0-9]* "
                               "used"))
        << seen.text;
    EXPECT_TRUE(has_line(seen, "#[0-9]+ running; private stack .*")) << seen.text;
    EXPECT_TRUE(has_line(seen, "#[0-9]+ ended; private stack .*")) << seen.text;
    for (stCoRoutine_t *co : {fresh, yielded, ended, running})
        co_release(co);
}

TEST(Dump, SaysWhatAParkedCoroutineWaitsForAndHowLong) {
    int ends[2];
    ASSERT_EQ(0, pipe(ends));
    static int readable;
    readable = ends[0];
    stCoRoutine_t *polling, *sleeping, *locking;
    static co_sem_t sem;
    co_sem_init(&sem, 0);
    auto go = [](stCoRoutine_t **co, body run) {
        ASSERT_EQ(0, co_go(co, nullptr, call, reinterpret_cast<void *>(run)));
    };
    go(&polling, [] {
        pollfd p{readable, POLLIN, 0};
        co_poll(co_get_epoll_ct(), &p, 1, -1);
    });
    go(&sleeping, [] { co_sleep_ms(500000); });
    go(&locking, [] { co_sem_wait(&sem); });
    co_yield_now();
    dump d = dump_of(0);
    EXPECT_EQ(3, d.lines);
    EXPECT_TRUE(has_line(d, "#[0-9]+ parked in [a-z_]*poll[^,]*; .*")) << d.text;
    EXPECT_TRUE(
        has_line(d, "#[0-9]+ parked in [a-z_]*sleep[a-z_]* for [0-9]+ ms, 49[0-9] s left; .*"))
        << d.text;
    EXPECT_TRUE(
        has_line(d, "#[0-9]+ parked in [a-z_]*sem[a-z_]* \\(0x[0-9a-f]+\\) for [0-9]+ ms; .*"))
        << d.text;
    for (stCoRoutine_t *co : {polling, sleeping, locking})
        co_release(co);
    close(ends[0]);
    close(ends[1]);
}

// At least as long as it was; about, because the moment is when that turn of the loop began.
TEST(Dump, TellsForHowLongAboutACoroutineHasWaited) {
    stCoRoutine_t *sleeping;
    ASSERT_EQ(0, co_go(&sleeping, nullptr, call,
                       reinterpret_cast<void *>(body([] { co_sleep_ms(500000); }))));
    co_sleep_ms(20); // the rate of the cycle counter has to be learned
    co_sleep_ms(60);
    dump d = dump_of(0);
    size_t at = d.text.find(" for ");
    ASSERT_NE(std::string::npos, at) << d.text;
    EXPECT_GE(atoi(d.text.c_str() + at + 5), 75) << d.text;
    EXPECT_EQ(" ms", d.text.substr(d.text.find_first_not_of("0123456789", at + 5), 3)) << d.text;
    co_release(sleeping);
}

TEST(Dump, NamesWhoHoldsTheLock) {
    static co_mutex_t mutex;
    static co_rwlock_t rw;
    co_mutex_init(&mutex);
    co_rwlock_init(&rw);
    stCoRoutine_t *holder, *locking, *writing;
    auto go = [](stCoRoutine_t **co, body run) {
        ASSERT_EQ(0, co_go(co, nullptr, call, reinterpret_cast<void *>(run)));
    };
    go(&holder, [] {
        co_mutex_lock(&mutex);
        co_rwlock_rdlock(&rw);
        co_yield_ct();
        co_rwlock_unlock(&rw);
        co_mutex_unlock(&mutex);
    });
    co_set_name(holder, "holder");
    co_yield_now();
    go(&locking, [] {
        co_mutex_lock(&mutex);
        co_mutex_unlock(&mutex);
    });
    go(&writing, [] {
        co_rwlock_wrlock(&rw);
        co_rwlock_unlock(&rw);
    });
    co_yield_now();
    dump d = dump_of(0);
    size_t name = d.text.find(" 'holder'"), at = d.text.rfind('#', name);
    ASSERT_NE(std::string::npos, name) << d.text;
    std::string id = d.text.substr(at + 1, name - at - 1);
    EXPECT_TRUE(has_line(d, "#[0-9]+ parked in mutex \\(0x[0-9a-f]+, held by #" + id +
                                "\\) for [0-9]+ ms; .*"))
        << d.text;
    EXPECT_TRUE(has_line(d, "#[0-9]+ parked in rwlock \\(write\\) \\(0x[0-9a-f]+, held by 1 "
                            "readers\\) for [0-9]+ ms; .*"))
        << d.text;
    co_wake(holder);
    co_run();
    for (stCoRoutine_t *co : {holder, locking, writing})
        co_release(co);
}

TEST(Dump, TellsWhereTheBytesOfASharedStackAre) {
    stShareStack_t *shared = co_alloc_sharestack(1, 64 * 1024);
    stCoRoutine_t *out = create([] { co_yield_ct(); }, shared);
    stCoRoutine_t *in = create([] { co_yield_ct(); }, shared);
    co_resume(out);
    co_resume(in);
    dump d = dump_of(CO_DUMP_STACKS);
    EXPECT_EQ(2, d.lines);
    EXPECT_TRUE(has_line(d, "#[0-9]+ yielded; shared stack 65536 bytes, [1-9][0-9]* saved, "
                            "[1-9][0-9]* used at most\n    #0 .*"))
        << d.text;
    EXPECT_TRUE(has_line(d, "#[0-9]+ yielded; shared stack 65536 bytes, in place, [1-9][0-9]* used "
                            "at most"))
        << d.text;
    co_release(out);
    co_release(in);
    co_release_sharestack(shared);
}

TEST(Dump, ShowsFramesWithFileAndOffset) {
    stCoRoutine_t *co = create([] { co_yield_ct(); });
    co_resume(co);
    dump d = dump_of(CO_DUMP_STACKS);
    EXPECT_EQ(1, d.lines);
    EXPECT_TRUE(has_line(d, "    #0 0x[0-9a-f]+ .*\\(.*debug_test\\+0x[0-9a-f]+\\)")) << d.text;
    EXPECT_EQ(std::string::npos, dump_of(0).text.find("    #0"));
    co_release(co);
}

TEST(Dump, NamesFunctionsThatAreNotExported) {
    if (!dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL))
        GTEST_SKIP() << "libunwind.so.8 is not installed for this architecture";
    stCoRoutine_t *co = create([] { co_yield_ct(); });
    co_resume(co);
    dump d = dump_of(CO_DUMP_STACKS);
    EXPECT_TRUE(has_line(d, "    #[0-9]+ 0x[0-9a-f]+ [^ ]*call[^ ]*\\+0x[0-9a-f]+ \\(.*"))
        << d.text;
    co_release(co);
}

TEST(Dump, OfAThreadWithoutCoroutinesIsEmpty) { EXPECT_EQ(0, dump_of(CO_DUMP_STACKS).lines); }

TEST(Dump, SaysWhatIsWrong) {
    errno = 0;
    EXPECT_EQ(-1, co_dump(2, 1024));
    EXPECT_EQ(EINVAL, errno);
    stCoRoutine_t *co = create([] {});
    EXPECT_EQ(-1, co_dump(-1, 0));
    EXPECT_EQ(EBADF, errno);
    co_release(co);
}

// ---- High water ---------------------------------------------------------------------------------

__attribute__((noinline)) void use(size_t bytes) {
    volatile char *frame = static_cast<volatile char *>(alloca(bytes));
    for (size_t i = 0; i < bytes; ++i)
        frame[i] = 'x';
}

// Sizes of stacks that no other test uses, so that nobody has left anything there.
TEST(HighWater, OfAPrivateStackIsTheDeepestByteEverWritten) {
    stCoRoutine_t *co = create(
        [] {
            co_yield_ct();
            use(100 * 1000);
            co_yield_ct();
        },
        nullptr, 236 * 1024);
    EXPECT_EQ(0U, co_stack_high_water(co));
    co_resume(co);
    size_t at_first = co_stack_high_water(co);
    EXPECT_GT(at_first, 32U);
    EXPECT_LT(at_first, 8192U);
    co_resume(co);
    EXPECT_GE(co_stack_high_water(co), 100 * 1000U);
    EXPECT_LT(co_stack_high_water(co), 104 * 1000U);
    co_resume(co);
    EXPECT_GE(co_stack_high_water(co), 100 * 1000U); // ended: still known
    co_release(co);
}

TEST(HighWater, LooksAtNoPageThatWasNeverTouched) {
    stCoRoutine_t *co = create([] { co_yield_ct(); }, nullptr, 64 * 1024 * 1024);
    co_resume(co);
    auto resident_pages = [] {
        long all = 0, resident = 0;
        FILE *f = fopen("/proc/self/statm", "r");
        EXPECT_EQ(2, fscanf(f, "%ld %ld", &all, &resident));
        fclose(f);
        return resident;
    };
    resident_pages();
    long before = resident_pages();
    EXPECT_LT(co_stack_high_water(co), 65536U);
    EXPECT_LT(resident_pages() - before, 256);
    co_release(co);
}

TEST(HighWater, OfASharedStackIsTheMostEverSavedOrInUse) {
    stShareStack_t *shared = co_alloc_sharestack(1, 128 * 1024);
    static size_t inside;
    stCoRoutine_t *co = create(
        [] {
            co_yield_ct();
            volatile char *frame = static_cast<volatile char *>(alloca(50 * 1000));
            frame[0] = 1;
            inside = co_stack_high_water(co_self());
            co_yield_ct();
        },
        shared);
    stCoRoutine_t *other = create([] { co_yield_ct(), co_yield_ct(); }, shared);
    EXPECT_EQ(0U, co_stack_high_water(co));
    co_resume(co);
    EXPECT_GT(co_stack_high_water(co), 32U);
    EXPECT_LT(co_stack_high_water(co), 8192U);
    co_resume(other);
    size_t saved = co_stack_high_water(co);
    EXPECT_GT(saved, 32U);
    EXPECT_LT(saved, 8192U);
    co_resume(co);
    EXPECT_GE(inside, 50 * 1000U);
    EXPECT_GE(co_stack_high_water(co), 50 * 1000U);
    co_resume(other);
    EXPECT_GE(co_stack_high_water(co), 50 * 1000U);
    co_release(co);
    co_release(other);
    co_release_sharestack(shared);
}

TEST(HighWater, OfARangeOfItsOwnIsReadWhileItIsShut) {
    if (under_asan)
        GTEST_SKIP() << "AddressSanitizer: a child would look for leaks";
    child_result r = in_child([] {
        if (co_set_debug(CO_DEBUG_STACKS) != 0)
            _exit(1);
        stShareStack_t *shared = co_alloc_sharestack(1, 128 * 1024);
        stCoRoutine_t *co = create([] { use(50 * 1000), co_yield_ct(); }, shared);
        stCoRoutine_t *other = create([] { co_yield_ct(); }, shared);
        co_resume(co);
        co_resume(other); // co's range is shut
        size_t used = co_stack_high_water(co);
        _exit(used >= 50 * 1000 && used < 56 * 1000 ? 42 : 2);
    });
    EXPECT_TRUE(r.exited_with(42)) << r.status << r.text;
}

TEST(HighWater, OfNothingAndOfTheThreadsOwnStackIsZero) {
    EXPECT_EQ(0U, co_stack_high_water(nullptr));
    stCoRoutine_t *co = create([] {});
    EXPECT_EQ(0U, co_stack_high_water(co_self()));
    co_release(co);
}

// ---- Statistics ---------------------------------------------------------------------------------

co_stats stats_now() {
    co_stats s;
    EXPECT_EQ(0, co_get_stats(&s));
    return s;
}

TEST(Stats, CountCoroutinesByState) {
    static co_stats inside;
    co_stats before = stats_now();
    stCoRoutine_t *fresh = create([] {}), *yielded = create([] { co_yield_ct(); });
    stCoRoutine_t *ended = create([] {}), *ready = nullptr, *parked = nullptr;
    ASSERT_EQ(0, co_go(&parked, nullptr, call,
                       reinterpret_cast<void *>(body([] { co_sleep_ms(500000); }))));
    co_yield_now();
    ASSERT_EQ(0, co_go(&ready, nullptr, call, reinterpret_cast<void *>(body([] {}))));
    co_resume(yielded);
    co_resume(ended);
    stCoRoutine_t *running = create([] { inside = stats_now(); });
    co_resume(running);
    EXPECT_EQ(1U, inside.now_fresh);
    EXPECT_EQ(1U, inside.now_ready);
    EXPECT_EQ(1U, inside.now_running);
    EXPECT_EQ(1U, inside.now_yielded);
    EXPECT_EQ(1U, inside.now_parked);
    EXPECT_EQ(1U, inside.now_ended);
    EXPECT_EQ(6U, inside.created - before.created);
    EXPECT_EQ(1U, inside.ended - before.ended);
    EXPECT_EQ(6U, inside.stacks_in_use - before.stacks_in_use);
    EXPECT_GE(inside.stacks, inside.stacks_in_use);
    EXPECT_GT(inside.switches, before.switches);
    for (stCoRoutine_t *co : {fresh, yielded, ended, ready, parked, running})
        co_release(co);
    co_yield_now(); // the one that stood in the ready queue is freed there
    co_stats after = stats_now();
    EXPECT_EQ(before.stacks_in_use, after.stacks_in_use);
    EXPECT_EQ(0U, after.now_fresh + after.now_ready + after.now_running + after.now_yielded +
                      after.now_parked + after.now_ended);
}

TEST(Stats, CountWhatSharedStacksCopyAndHold) {
    stShareStack_t *shared = co_alloc_sharestack(1, 64 * 1024);
    co_stats before = stats_now();
    auto twice = [] { co_yield_ct(), co_yield_ct(); };
    stCoRoutine_t *a = create(twice, shared), *b = create(twice, shared);
    co_resume(a);
    EXPECT_EQ(before.copies, stats_now().copies); // nobody was there
    co_resume(b);
    co_stats one_out = stats_now();
    EXPECT_EQ(before.copies + 1, one_out.copies);
    EXPECT_GT(one_out.bytes_saved, 0U);
    EXPECT_EQ(one_out.bytes_saved, one_out.bytes_copied - before.bytes_copied);
    EXPECT_GE(one_out.save_buffer_bytes, one_out.bytes_saved);
    EXPECT_EQ(before.stacks_in_use, one_out.stacks_in_use); // none of it is a private stack
    co_resume(a);
    EXPECT_EQ(before.copies + 3, stats_now().copies); // b out, a in
    co_release(a);
    co_release(b);
    EXPECT_EQ(0U, stats_now().bytes_saved);
    EXPECT_EQ(0U, stats_now().save_buffer_bytes);
    co_release_sharestack(shared);
}

TEST(Stats, RefuseNull) { EXPECT_EQ(EINVAL, co_get_stats(nullptr)); }

} // namespace
