// SPDX-License-Identifier: Apache-2.0
// A coroutine that is released or cancelled inside a hooked call leaves nothing behind: no turn at a
// file, no memory, and nothing that still reads from a number that is somebody else's by then.
#include "co_hook/calls/transfer.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/loop/offload.h"
#include "tests/hooks/both.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr size_t file_bytes = 1 << 20;

struct cold_file {
    char path[48] = "/var/tmp/corun-released-XXXXXX";
    int fd;
    cold_file() : fd(mkstemp(path)) {
        std::vector<char> data(file_bytes, 'f');
        if (write(fd, data.data(), data.size()) != static_cast<long>(file_bytes) || fsync(fd) != 0)
            abort();
        lseek(fd, 0, SEEK_SET);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); // no read-ahead
        corun::offload_end_helpers();               // an idle one would begin at once
    }
    ~cold_file() {
        if (fd >= 0)
            close(fd);
        unlink(path);
    }
};

struct call {
    std::function<void()> body;
    stCoRoutine_t *co = nullptr;
    // Runs it until it parks. The loop does not turn meanwhile, so no new helper starts.
    explicit call(std::function<void()> f) : body(std::move(f)) {
        co_create(&co, nullptr, &call::enter, this);
        co_resume(co);
    }
    static void *enter(void *self) {
        co_enable_hook_sys();
        static_cast<call *>(self)->body();
        return nullptr;
    }
};

bool offloaded(const co_stats &before) {
    co_stats after{};
    co_get_stats(&after);
    return after.offloads == before.offloads + 1;
}

// Is any thread but this one inside the system call nr with fd as its first argument?
bool a_helper_is_in(long nr, int fd) {
    DIR *tasks = opendir("/proc/self/task");
    bool found = false;
    while (dirent *entry = readdir(tasks)) {
        std::string path = std::string("/proc/self/task/") + entry->d_name + "/syscall";
        FILE *f = fopen(path.c_str(), "r");
        long in = -1;
        unsigned long first = 0;
        if (f && fscanf(f, "%ld %lx", &in, &first) == 2)
            found |= in == nr && first == static_cast<unsigned long>(fd);
        if (f)
            fclose(f);
    }
    closedir(tasks);
    return found;
}

size_t held_bytes() { return corun::current_env()->slab.held_bytes(); }

} // namespace

TEST(Released, AReleasedReaderGivesItsTurnUp) {
    cold_file f;
    co_stats before{};
    co_get_stats(&before);
    char byte;
    call reader([&] { read(f.fd, &byte, 1); });
    if (!offloaded(before)) {
        co_release(reader.co);
        GTEST_SKIP() << "the file did not leave the page cache";
    }
    EXPECT_TRUE(corun::calls::turn_is_taken(f.fd));
    co_release(reader.co);
    EXPECT_FALSE(corun::calls::turn_is_taken(f.fd));
    long next = 0;
    off_t position = 0;
    int closed = -1;
    in_coroutine([&] {
        next = read(f.fd, &byte, 1);
        position = lseek(f.fd, 0, SEEK_CUR);
        closed = close(f.fd);
    });
    f.fd = -1;
    EXPECT_EQ(1, next);
    EXPECT_EQ(1, position); // the call that was given up was never made
    EXPECT_EQ(0, closed);
}

TEST(Released, ATurnThatWasHandedOverIsHandedOn) {
    cold_file f;
    co_stats before{};
    co_get_stats(&before);
    char byte;
    call reader([&] { read(f.fd, &byte, 1); });
    if (!offloaded(before)) {
        co_release(reader.co);
        GTEST_SKIP() << "the file did not leave the page cache";
    }
    call second([&] { read(f.fd, &byte, 1); });
    long got = 0;
    call third([&] { got = read(f.fd, &byte, 1); });
    co_release(reader.co); // hands over to the second, which never runs again
    co_release(second.co);
    co_run();
    EXPECT_EQ(1, got);
    co_release(third.co);
    EXPECT_FALSE(corun::calls::turn_is_taken(f.fd));
}

// A pipe in the file's place, put there behind the hooks' back, holds the helper inside its read for
// as long as the test likes.
TEST(Released, ACancelledReaderKeepsItsTurnUntilTheHelperIsDone) {
    for (bool release : {false, true}) {
        cold_file f;
        co_stats before{};
        co_get_stats(&before);
        char byte, big[16];
        call reader([&] { read(f.fd, big, sizeof big); });
        if (!offloaded(before)) {
            co_release(reader.co);
            GTEST_SKIP() << "the file did not leave the page cache";
        }
        int file = static_cast<int>(corun::sys::call(SYS_dup, f.fd)), pipe[2];
        corun::sys::call(SYS_pipe2, pipe, 0);
        corun::sys::call(SYS_dup2, pipe[0], f.fd);
        bool inside = false;
        in_coroutine([&] { // the loop starts the helper
            for (int i = 0; i < 5000 && !inside; ++i) {
                usleep(1000);
                inside = a_helper_is_in(SYS_read, f.fd);
            }
            corun::sys::call(SYS_dup2, file, f.fd);
            release ? co_release(reader.co) : void(co_cancel(reader.co));
        });
        ASSERT_TRUE(inside);
        EXPECT_TRUE(corun::calls::turn_is_taken(f.fd));
        int order = 0, read_at = 0, closed_at = 0, freed_at = 0;
        long next = 0;
        go([&] {
            next = read(f.fd, &byte, 1);
            read_at = ++order;
        });
        go([&] {
            close(f.fd);
            closed_at = ++order;
        });
        go([&] {
            for (int i = 0; i < 20; ++i)
                co_yield_now();
            freed_at = ++order;
            corun::sys::call(SYS_write, pipe[1], "late", 4); // now the helper comes back
        });
        co_run();
        EXPECT_EQ(1, freed_at);
        EXPECT_EQ(2, read_at);
        EXPECT_EQ(3, closed_at);
        EXPECT_EQ(1, next);
        EXPECT_EQ('f', byte);
        f.fd = -1;
        if (!release)
            co_release(reader.co);
        corun::sys::call(SYS_close, file), corun::sys::call(SYS_close, pipe[0]),
            corun::sys::call(SYS_close, pipe[1]);
    }
}

TEST(Released, FcloseAndDup2WaitForTheTurn) {
    for (bool by_fclose : {true, false}) {
        cold_file f;
        co_stats before{};
        co_get_stats(&before);
        char byte = 0;
        long got = 0;
        int done_after_read = -1, result = -1;
        FILE *stream = by_fclose ? fdopen(f.fd, "r") : nullptr;
        call reader([&] { got = read(f.fd, &byte, 1); });
        if (!offloaded(before))
            GTEST_SKIP() << "the file did not leave the page cache";
        call closer([&] {
            result = by_fclose ? fclose(stream) : dup2(2, f.fd);
            done_after_read = got == 1;
        });
        co_run();
        EXPECT_EQ(1, got);
        EXPECT_EQ('f', byte);
        EXPECT_EQ(1, done_after_read);
        EXPECT_EQ(by_fclose ? 0 : f.fd, result);
        if (by_fclose)
            f.fd = -1;
        co_release(reader.co);
        co_release(closer.co);
    }
}

TEST(Released, AReleasedSelectLeavesNoMemoryBehind) {
    int fd[2];
    pipe(fd);
    size_t before = 0;
    for (int i = 0; i < 3; ++i) {
        call waiter([&] {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(fd[0], &set);
            select(fd[0] + 1, &set, nullptr, nullptr, nullptr);
        });
        co_stats now{};
        co_get_stats(&now);
        EXPECT_EQ(1u, now.now_parked);
        EXPECT_GT(held_bytes(), before);
        co_release(waiter.co);
        if (i == 0)
            before = held_bytes(); // the first one brings the loop with it
    }
    EXPECT_EQ(before, held_bytes());
    close(fd[0]), close(fd[1]);
}

TEST(Released, AReleasedFifoWriterLeavesNoMemoryBehind) {
    char path[] = "/tmp/corun-released-fifo-XXXXXX";
    close(mkstemp(path));
    unlink(path);
    ASSERT_EQ(0, mkfifo(path, 0600));
    int fd = open(path, O_RDWR);
    corun::offload_end_helpers();
    size_t before = 0;
    for (int i = 0; i < 3; ++i) {
        co_stats stats{};
        co_get_stats(&stats);
        call writer([&] { write(fd, "text", 4); });
        bool by_helper = offloaded(stats);
        co_release(writer.co); // the helper had not begun: taken back
        if (!by_helper)
            GTEST_SKIP() << "FIFOs take RWF_NOWAIT here";
        in_coroutine([] { co_yield_now(); }); // the loop's own request for a helper goes
        if (i == 0)
            before = held_bytes();
    }
    EXPECT_EQ(before, held_bytes());
    close(fd);
    unlink(path);
}
