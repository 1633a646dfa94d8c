// SPDX-License-Identifier: Apache-2.0
// What a thread knows of descriptors, the runtime's own ones, and work for the loop itself.
#include "tests/loop/loop_fixture.h"

#include <sys/eventfd.h>
#include <sys/resource.h>

using namespace corun;

namespace {

using FdTable = LoopTest;
using Reserved = LoopTest;
using LoopWork = LoopTest;

// The limit on descriptors may be 20,000, so the numbers are injected: an entry with its queues.
TEST_F(FdTable, HasNoFixedSize) { // contract 35
    std::vector<coroutine *> waiters;
    constexpr int numbers[] = {0, 1023, 1024, 65535, 65536, 524287, 1000000};
    int closed = 0, readable = 0;
    for (int fd : numbers) {
        go([&, fd] {
            ASSERT_EQ(fd_watch(fd), 0);
            EXPECT_EQ(park(test_wait, {.fd = fd}, soon()), 0);
            closed += fd_unwatch();
        });
        go([&, fd] { // as fd_wait does, but for the epoll
            fd_entry *e = env()->event_loop->descriptors.at(static_cast<size_t>(fd));
            ASSERT_NE(e, nullptr);
            e->registered = true;
            e->queue[queue_readers].push_back(&env()->running->wait_link);
            EXPECT_EQ(park(test_wait, {.fd = fd}, soon()), 0);
            readable += fd_may(fd, fd_read) && !fd_may(fd, fd_write);
            e->registered = false;
        });
    }
    go([&] {
        for (int fd : numbers) {
            fd_entry *e = env()->event_loop->descriptors.find(static_cast<size_t>(fd));
            ASSERT_NE(e, nullptr);
            fd_handle_event(env(), fd, e->generation, EPOLLIN);
        }
        co_yield_now();
        for (int fd : numbers)
            fd_forget(fd);
    });
    co_run();
    EXPECT_EQ(readable, 7);
    EXPECT_EQ(closed, 7);
}

TEST_F(FdTable, CostsMemoryOnlyWhereItIsUsed) { // contract 35
    sparse_array<fd_entry> table;
    for (size_t i = 0; i <= 1000000; i += 1000)
        ASSERT_NE(table.at(i), nullptr);
    EXPECT_NE(table.at(sparse_array<fd_entry>::limit - 1), nullptr);
    EXPECT_EQ(table.at(sparse_array<fd_entry>::limit), nullptr);
    EXPECT_EQ(table.find(sparse_array<fd_entry>::limit), nullptr);
}

TEST_F(FdTable, RealDescriptorsToTheLimitOfTheProcess) { // contract 35
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    stream_pair p;
    int high =
        static_cast<int>(sys::fcntl(p.a, F_DUPFD_CLOEXEC, static_cast<long>(limit.rlim_cur) - 1));
    ASSERT_EQ(high, static_cast<int>(limit.rlim_cur) - 1);
    go([&] {
        char c;
        EXPECT_EQ(recv_in_loop(high, &c, 1), 1);
    });
    go([&] { send_now(p.b, "x"); });
    co_run();
    close_in_loop(&high);
}

TEST_F(Reserved, TheRuntimesDescriptorsAreKnownAndNoOthers) {
    loop *l = env()->event_loop;
    EXPECT_TRUE(fd_is_reserved(l->epoll_fd));
    EXPECT_TRUE(fd_is_reserved(l->wake_fd));
    for (int fd : {-1, 0, 1, 2, 19999, 1 << 29})
        EXPECT_FALSE(fd_is_reserved(fd));
    stream_pair p;
    EXPECT_FALSE(fd_is_reserved(p.a));
    EXPECT_GT(l->epoll_fd, 64); // out of the way of the low numbers
}

TEST_F(Reserved, StayOutOfTheProgramsWay) {
    stream_pair p, q;
    loop *l = env()->event_loop;
    go([&] {
        char c;
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1); // registered before, waits across the move
        EXPECT_EQ(recv_in_loop(p.a, &c, 1), 1);
    });
    go([&] {
        for (int *mine : {&l->epoll_fd, &l->wake_fd}) {
            int wanted = *mine;
            EXPECT_TRUE(fd_vacate(wanted));
            EXPECT_NE(*mine, wanted);
            EXPECT_FALSE(fd_is_reserved(wanted));
            EXPECT_TRUE(fd_is_reserved(*mine));
            ASSERT_EQ(sys::call(SYS_dup2, q.a, wanted), wanted); // closes the old number
            char c;
            EXPECT_EQ(send_now(p.b, "x"), 1);
            co_sleep_ms(1);
            EXPECT_EQ(send_now(q.b, "y"), 1);
            EXPECT_EQ(recv_in_loop(wanted, &c, 1), 1); // it is an ordinary descriptor now
            close_in_loop(&wanted);
        }
    });
    co_run();
    EXPECT_TRUE(fd_vacate(p.a)); // nothing to do
}

TEST_F(LoopWork, IsDoneOnceOutsideCoroutines) {
    struct task : loop_task {
        int runs = 0;
        bool outside = false;
    } t, second;
    for (task *x : {&t, &second})
        x->run = [](co_env *env, loop_task *self) {
            ++static_cast<task *>(self)->runs;
            static_cast<task *>(self)->outside = env->running == &env->root;
        };
    go([&] {
        loop_post(env(), &t);
        loop_post(env(), &second);
        EXPECT_EQ(t.runs, 0);
        co_yield_now();
        EXPECT_EQ(t.runs, 1);
        co_yield_now();
    });
    co_run();
    EXPECT_EQ(t.runs, 1);
    EXPECT_EQ(second.runs, 1);
    EXPECT_TRUE(t.outside);
}

TEST_F(LoopWork, ATaskMayPostTheNext) {
    struct task : loop_task {
        int left = 5;
    } t;
    t.run = [](co_env *env, loop_task *self) {
        if (--static_cast<task *>(self)->left > 0)
            loop_post(env, self);
    };
    go([&] {
        loop_post(env(), &t);
        co_sleep_ms(2);
    });
    co_run();
    EXPECT_EQ(t.left, 0);
}

TEST_F(LoopWork, ASourceIsServedUntilItIsRemoved) {
    struct counting : loop_source {
        int served = 0;
    } source;
    int fd = static_cast<int>(sys::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    source.fd = fd;
    source.on_ready = [](co_env *, loop_source *self, uint32_t events) {
        uint64_t count;
        EXPECT_TRUE(events & EPOLLIN);
        EXPECT_EQ(sys::read(self->fd, &count, sizeof count), 8);
        ++static_cast<counting *>(self)->served;
    };
    uint64_t one = 1;
    go([&] {
        ASSERT_EQ(loop_add_source(env(), &source), 0);
        EXPECT_TRUE(fd_is_reserved(source.fd)); // it may have moved
        for (int i = 1; i <= 3; ++i) {
            sys::write(source.fd, &one, sizeof one);
            co_sleep_ms(1);
            EXPECT_EQ(source.served, i);
        }
        loop_remove_source(env(), &source);
        EXPECT_FALSE(fd_is_reserved(source.fd));
        sys::write(source.fd, &one, sizeof one);
        co_sleep_ms(1);
        EXPECT_EQ(source.served, 3);
        sys::close(source.fd);
    });
    co_run();
}

} // namespace
