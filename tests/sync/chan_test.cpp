// SPDX-License-Identifier: Apache-2.0
#include "tests/sync/chan_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

namespace {

TEST_F(Chan, RefusesWhatCannotBe) {
    EXPECT_EQ(co_chan_create(nullptr, 1, 1), EINVAL);
    EXPECT_EQ(co_chan_create(&ch, 0, 1), EINVAL);
    EXPECT_EQ(co_chan_create(&ch, SIZE_MAX / 2, 3), EINVAL);
    EXPECT_EQ(ch, nullptr);
}

TEST_F(Chan, HoldsItemsInOrderUpToItsCapacity) {
    make(3);
    for (int round = 0; round < 5; ++round) { // the ring wraps
        for (int i = 0; i < 3; ++i)
            EXPECT_EQ(send(round * 10 + i), 0);
        int item = 0;
        EXPECT_EQ(co_chan_trysend(ch, &item), EAGAIN);
        EXPECT_EQ(co_chan_timedsend(ch, &item, 0), ETIMEDOUT);
        EXPECT_EQ(co_chan_len(ch), 3U);
        EXPECT_EQ(recv(), round * 10);
        EXPECT_EQ(recv(), round * 10 + 1);
        EXPECT_EQ(recv(), round * 10 + 2);
        EXPECT_EQ(co_chan_tryrecv(ch, &item), EAGAIN);
        EXPECT_EQ(co_chan_timedrecv(ch, &item, 0), ETIMEDOUT);
        EXPECT_EQ(co_chan_len(ch), 0U);
        EXPECT_EQ(send(7), 0); // shifts where the next round starts
        EXPECT_EQ(recv(), 7);
    }
}

TEST_F(Chan, WithoutCapacityASenderWaitsForItsReceiver) {
    make(0);
    std::string trace;
    go([&] {
        for (int i = 1; i <= 2; ++i) {
            EXPECT_EQ(send(i), 0);
            trace += 's';
        }
    });
    settle();
    EXPECT_EQ(trace, "");
    EXPECT_EQ(co_chan_len(ch), 0U);
    EXPECT_EQ(recv(), 1);
    settle();
    EXPECT_EQ(trace, "s");
    EXPECT_EQ(recv(), 2);
    co_run();
    EXPECT_EQ(trace, "ss");
}

//     A            B            C            ring  senders
//     send 1                                 1
//     send 2 waits                           1     A
//                  send 3 waits              1     A B
//                               recv 1       2     B       A's item goes in before anyone else's
//                               recv 2       3
//                               recv 3
TEST_F(Chan, FullOneTakesWaitingSendersFirstComeFirstServed) {
    make(1);
    go([&] { EXPECT_EQ(send(1) + send(2), 0); });
    go([&] { EXPECT_EQ(send(3), 0); });
    settle();
    int item = 4;
    EXPECT_EQ(recv(), 1);
    EXPECT_EQ(co_chan_trysend(ch, &item), EAGAIN); // no room: A's second item is in already
    EXPECT_EQ(recv(), 2);
    EXPECT_EQ(recv(), 3);
    co_run();
}

TEST_F(Chan, EmptyOneServesWaitingReceiversFirstComeFirstServed) {
    make(4);
    std::vector<int> got;
    for (int i = 0; i < 3; ++i)
        go([&] { got.push_back(recv()); });
    settle();
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(send(i), 0);
    EXPECT_EQ(co_chan_len(ch), 0U); // handed over, not stored
    int item;
    EXPECT_EQ(co_chan_tryrecv(ch, &item), EAGAIN);
    co_run();
    EXPECT_EQ(got, (std::vector<int>{0, 1, 2}));
}

TEST_F(Chan, CloseLetsReceiversHaveWhatIsLeft) {
    make(2);
    EXPECT_EQ(send(1) + send(2), 0);
    int sender_error = 0;
    go([&] { sender_error = send(3); });
    settle();
    EXPECT_EQ(co_chan_close(ch), 0);
    EXPECT_EQ(co_chan_close(ch), EPIPE);
    EXPECT_EQ(send(4), EPIPE);
    co_run();
    EXPECT_EQ(sender_error, EPIPE);
    int item;
    EXPECT_EQ(co_chan_trysend(ch, &item), EPIPE);
    EXPECT_EQ(recv(), 1);
    EXPECT_EQ(recv(), 2);
    EXPECT_EQ(recv(), -EPIPE);
    EXPECT_EQ(co_chan_tryrecv(ch, &item), EPIPE);
    EXPECT_EQ(co_chan_timedrecv(ch, &item, 1), EPIPE);
}

TEST_F(Chan, CloseWakesWaitingReceivers) {
    make(0);
    int closed = 0;
    for (int i = 0; i < 3; ++i)
        go([&] { closed += recv() == -EPIPE; });
    settle();
    EXPECT_EQ(co_chan_destroy(ch), EBUSY);
    EXPECT_EQ(co_chan_close(ch), 0);
    co_run();
    EXPECT_EQ(closed, 3);
}

TEST_F(Chan, MayBeDestroyedByTheReceiverOfTheLastItem) {
    make(0);
    bool sent = false;
    go([&] {
        EXPECT_EQ(send(5), 0);
        sent = true;
    });
    settle();
    EXPECT_EQ(recv(), 5);
    EXPECT_EQ(co_chan_destroy(ch), 0); // the sender has not run since
    ch = nullptr;
    co_run();
    EXPECT_TRUE(sent);
}

TEST_F(Chan, TimesOutAndLeavesTheQueues) {
    make(0);
    bool alone = true;
    go([&] {
        int item = 1;
        EXPECT_EQ(co_chan_timedsend(ch, &item, 2), ETIMEDOUT);
        EXPECT_EQ(co_chan_timedrecv(ch, &item, 2), ETIMEDOUT);
        EXPECT_EQ(item, 1);
        EXPECT_EQ(co_chan_tryrecv(ch, &item), EAGAIN); // the item that timed out is not there
        alone = false;
        EXPECT_EQ(co_chan_timedrecv(ch, &item, 10000), 0);
        EXPECT_EQ(item, 2);
    });
    while (alone)
        EXPECT_EQ(co_sleep_ms(1), 0);
    EXPECT_EQ(send(2), 0);
    co_run();
}

TEST_F(Chan, CancelledOrReleasedWaitersLeaveTheQueues) {
    for (bool sends : {false, true})
        for (bool released : {false, true})
            for (bool shared : {false, true}) {
                make(0);
                int unwound = 0;
                auto body = [&] {
                    Unwound guard{&unwound};
                    int item = 1;
                    sends ? co_chan_send(ch, &item) : co_chan_recv(ch, &item);
                    ADD_FAILURE();
                };
                stCoRoutine_t *victim = shared ? keep_shared(body) : keep(body);
                settle();
                if (released)
                    release(victim);
                else {
                    EXPECT_EQ(co_cancel(victim), 0);
                }
                co_run();
                EXPECT_EQ(unwound, released ? 0 : 1);
                int item = 2;
                EXPECT_EQ(sends ? co_chan_tryrecv(ch, &item) : co_chan_trysend(ch, &item), EAGAIN);
            }
}

// An item that was handed over has arrived: the cancel acts at the next wait.
TEST_F(Chan, CancelAfterTheTransferLosesNoItem) {
    make(0);
    std::vector<int> got;
    int unwound = 0;
    stCoRoutine_t *victim = keep([&] {
        Unwound guard{&unwound};
        got.push_back(recv());
        recv();
        ADD_FAILURE();
    });
    settle();
    EXPECT_EQ(send(1), 0);
    EXPECT_EQ(co_cancel(victim), 0);
    co_run();
    EXPECT_EQ(got, std::vector<int>{1});
    EXPECT_EQ(unwound, 1);
}

TEST_F(Chan, ReleaseAfterTheTransferPutsTheItemBackInFront) {
    make(2);
    stCoRoutine_t *victim = keep([&] { recv(), ADD_FAILURE(); });
    settle();
    EXPECT_EQ(send(1) + send(2), 0);
    release(victim);
    EXPECT_EQ(recv(), 1);
    EXPECT_EQ(recv(), 2);

    stCoRoutine_t *second = keep_shared([&] { recv(), ADD_FAILURE(); });
    int got = 0;
    go([&] { got = recv(); });
    settle();
    EXPECT_EQ(send(3), 0);
    release(second); // and if somebody waits behind it, the item is theirs
    co_run();
    EXPECT_EQ(got, 3);
}

// Only the forking coroutine goes on in the child: those who waited are out of the queue there.
TEST_F(Chan, ForkedChildFindsNoWaiters) {
    make(0);
    stCoRoutine_t *waiter = keep([&] { EXPECT_EQ(recv(), 1); });
    settle();
    pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
        int item = 1;
        _exit(co_chan_trysend(ch, &item) == EAGAIN && co_chan_destroy(ch) == 0 ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(send(1), 0); // the parent's has missed nothing
    EXPECT_EQ(co_join(waiter, nullptr), 0);
}

} // namespace
