// SPDX-License-Identifier: Apache-2.0
// Contract 37 for files: two coroutines on one shared stack, while helpers read and write what their
// arguments point to.
#include "tests/hooks/canaries.h"

#include <alloca.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

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
