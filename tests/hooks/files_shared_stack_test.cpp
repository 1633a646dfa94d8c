// SPDX-License-Identifier: Apache-2.0
// Contract 37 for files: two coroutines on one shared stack, while helpers read and write what their
// arguments point to.
#include "tests/hooks/both.h"

#include <alloca.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

template <class Body> __attribute__((noinline)) bool with_canaries(unsigned seed, Body body) {
    volatile unsigned canary[2048];
    for (unsigned i = 0; i < 2048; ++i)
        canary[i] = seed * 2654435761U + i;
    body();
    for (unsigned i = 0; i < 2048; ++i)
        if (canary[i] != seed * 2654435761U + i)
            return false;
    return true;
}

// body(k) runs in two coroutines on one stack, at different depths.
void on_one_stack(const std::function<void(int)> &body) {
    stShareStack_t *stack = co_alloc_sharestack(1, 512 * 1024);
    int intact = 0;
    stCoRoutine_t *two[2];
    for (int k = 0; k < 2; ++k)
        two[k] = go(
            [&, k] {
                for (unsigned i = 0; i < 5; ++i)
                    intact += with_canaries(i * 2 + k, [&] {
                        if (k == 0)
                            body(k);
                        else
                            with_canaries(77 + i, [&] { body(k); });
                    });
            },
            stack);
    co_run();
    EXPECT_EQ(10, intact);
    for (stCoRoutine_t *co : two)
        co_release(co);
    EXPECT_EQ(0, co_release_sharestack(stack));
}

} // namespace

TEST(SharedStackHooks, FilesFromAndIntoTheStack) {
    char directory[] = "/var/tmp/corun-canary-XXXXXX";
    ASSERT_NE(nullptr, mkdtemp(directory));
    on_one_stack([&](int k) {
        char path[100], other[100], text[64], bytes[9000], back[9000];
        snprintf(path, sizeof path, "%s/%c", directory, 'a' + k);
        snprintf(other, sizeof other, "%s/other-%c", directory, 'a' + k);
        memset(bytes, 'a' + k, sizeof bytes);
        int fd = open(path, O_RDWR | O_CREAT | O_DSYNC, 0600);
        ASSERT_GE(fd, 0);
        EXPECT_EQ(9000, write(fd, bytes, sizeof bytes));
        iovec parts[2] = {{bytes, 100}, {bytes + 100, 50}};
        EXPECT_EQ(150, pwritev(fd, parts, 2, 9000));
        EXPECT_EQ(150, pwritev2(fd, parts, 2, 9150, RWF_SYNC));
        EXPECT_EQ(9000, pread(fd, back, sizeof back, 100));
        EXPECT_EQ(0, memcmp(back, bytes, sizeof back));
        int copy = open(other, O_RDWR | O_CREAT, 0600);
        off64_t from = 10, to = 20;
        EXPECT_EQ(5000, copy_file_range(fd, &from, copy, &to, 5000, 0));
        EXPECT_EQ(5010, from);
        EXPECT_EQ(5020, to);
        off_t at = 1;
        EXPECT_EQ(1000, sendfile(copy, fd, &at, 1000));
        EXPECT_EQ(1001, at);
        EXPECT_EQ(0, fsync(copy));
        close(copy);
        EXPECT_EQ(0, rename(other, path) | chmod(path, 0600) | truncate(path, 77));
        struct stat st;
        EXPECT_EQ(0, stat(path, &st));
        EXPECT_EQ(77, st.st_size);
        EXPECT_EQ(0, symlink(path, other));
        EXPECT_EQ(static_cast<ssize_t>(strlen(path)), readlink(other, text, sizeof text));
        EXPECT_EQ(0, memcmp(text, path, strlen(path)));
        DIR *d = opendir(directory);
        struct dirent entry, *found = nullptr;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        EXPECT_EQ(0, readdir_r(d, &entry, &found));
#pragma GCC diagnostic pop
        EXPECT_EQ(&entry, found);
        closedir(d);
        EXPECT_EQ(0, unlink(other) | unlink(path));
        close(fd);
    });
    EXPECT_EQ(0, rmdir(directory));
}

TEST(SharedStackHooks, VmspliceTakesTheBytesNotThePages) {
    int p[2][2];
    for (auto &ends : p)
        ASSERT_EQ(0, pipe(ends));
    on_one_stack([&](int k) {
        char *text = static_cast<char *>(alloca(100)); // on the stack with ASan too
        char back[100];
        memset(text, 'a' + k, 100);
        iovec part{text, 100};
        EXPECT_EQ(100, vmsplice(p[k][1], &part, 1, 0));
        memset(text, '-', 100);
        usleep(500); // the other one's bytes stand there now
        EXPECT_EQ(100, read(p[k][0], back, sizeof back));
        for (char c : back)
            EXPECT_EQ('a' + k, c);
    });
    for (auto &ends : p)
        close(ends[0]), close(ends[1]);
}
