// SPDX-License-Identifier: Apache-2.0
// What hostile programs have found, each as the smallest program that shows it.
#include "tests/hooks/both.h"
#include "tests/hooks/ticking.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <pwd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

// Runs body in a child that has seconds to end; its exit status, -1: it was killed.
int in_child(unsigned seconds, const std::function<void()> &body) {
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(seconds);
        body();
        _exit(0);
    }
    int status = 0;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

} // namespace

// One that is woken and finds the buffer full never owns the stream: it wakes the next one all the same.
TEST(Attacks, ABufferThatWasFilledServesAllWhoWaitForTheStream) {
    constexpr int readers = 20;
    EXPECT_EQ(0, in_child(10, [] {
                  int fd[2], got = 0;
                  if (pipe(fd) != 0)
                      _exit(2);
                  FILE *stream = fdopen(fd[0], "r");
                  for (int i = 0; i < readers; ++i)
                      go([&] { got += fgetc(stream) == 'x'; });
                  go([&] {
                      usleep(1000);
                      std::string all(readers, 'x');
                      if (write(fd[1], all.data(), all.size()) != readers)
                          _exit(3);
                  });
                  co_run();
                  _exit(got == readers ? 0 : 4);
              }));
}

TEST(Attacks, ACancelledWaiterOfAStreamWakesTheNextOne) {
    constexpr int readers = 20;
    EXPECT_EQ(0, in_child(10, [] {
                  int fd[2], ended = 0;
                  if (pipe(fd) != 0)
                      _exit(2);
                  FILE *stream = fdopen(fd[0], "r");
                  std::vector<stCoRoutine_t *> all;
                  for (int i = 0; i < readers; ++i)
                      all.push_back(go([&] {
                          fgetc(stream);
                          ++ended;
                      }));
                  go([&] {
                      usleep(1000);
                      std::string bytes(readers, 'x');
                      if (write(fd[1], bytes.data(), bytes.size()) != readers)
                          _exit(3);
                      for (int i = 1; i < readers; i += 3)
                          co_cancel(all[static_cast<size_t>(i)]);
                  });
                  co_run();
                  _exit(ended >= readers - (readers + 1) / 3 ? 0 : 4);
              }));
}

// A module of nsswitch.conf (systemd, where it is installed) asks its server by hooked calls, while
// libc holds its own lock: nobody may park there.
TEST(Attacks, TwoCoroutinesAskForAUserThatIsNotThere) {
    EXPECT_EQ(0, in_child(10, [] {
                  int ended = 0;
                  for (int i = 0; i < 5; ++i)
                      go([&] {
                          ended += getpwnam("no-such-user") == nullptr;
                          ended += getpwnam("root") != nullptr;
                      });
                  co_run();
                  _exit(ended == 10 ? 0 : 4);
              }));
}

TEST(Attacks, SigsuspendWithoutAMask) {
    expect_same([](side &s) {
        int (*volatile unchecked)(const sigset_t *) = sigsuspend; // it is declared as never null
        s.says("sigsuspend", unchecked(nullptr));
    });
}

TEST(Attacks, AReleasedJoinerLeavesNoDescriptor) {
    int before = dup(0);
    close(before);
    std::atomic<bool> end{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            while (!end)
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
        });
        pthread_t thread = threads.back().native_handle();
        stCoRoutine_t *co =
            go_plain( // a released coroutine destroys nothing, so it may own nothing
                [](void *t) { pthread_join(*static_cast<pthread_t *>(t), nullptr); }, &thread);
        go([co] { co_release(co); }); // by then it waits
        co_run();
    }
    int after = dup(0);
    close(after);
    end = true;
    for (std::thread &t : threads)
        t.join();
    EXPECT_EQ(before, after);
}
