// SPDX-License-Identifier: Apache-2.0
// Contract 19 for files and their names, with bad arguments.
#include "tests/hooks/both.h"
#include "tests/hooks/scratch.h"

#include <climits>
#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

TEST(HooksAgainstTheKernel, Open) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a", missing = d / "no/such", long_name(PATH_MAX + 10, 'n');
        mode_t mask = umask(027);
        int fd = s.says("create", open(a.c_str(), O_RDWR | O_CREAT | O_EXCL, 0666)) >= 0 ? 0 : -1;
        struct stat st {};
        s.says("stat", stat(a.c_str(), &st));
        s.says("mode", st.st_mode);
        umask(mask);
        s.says("again", open(a.c_str(), O_RDWR | O_CREAT | O_EXCL, 0666));
        s.says("missing", open(missing.c_str(), O_RDONLY));
        s.says("missing, create", open(missing.c_str(), O_RDWR | O_CREAT, 0600));
        s.says("no directory", open((a + "/x").c_str(), O_RDONLY));
        s.says("not one", open(a.c_str(), O_RDONLY | O_DIRECTORY));
        s.says("write a directory", open(d.path, O_RDWR));
        s.says("empty", open("", O_RDONLY));
        s.says("too long", open(long_name.c_str(), O_RDONLY));
        s.says("bad address", open(bad_address(), O_RDONLY));
        int (*volatile unchecked)(const char *, int, ...) = open; // it is declared as never null
        s.says("null", unchecked(nullptr, O_RDONLY, 0));
        s.says("bad dirfd", openat(-1, "a", O_RDONLY));
        int dir = open(d.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        s.says("cloexec", fcntl(dir, F_GETFD));
        fd = openat(dir, "a", O_WRONLY | O_APPEND | O_NONBLOCK);
        s.says("flags", fcntl(fd, F_GETFL));
        s.says("read", read(fd, &st, 1));
        s.says("write", write(fd, "12345", 5));
        close(fd);
        fd = creat(a.c_str(), 0600);
        s.says("truncated", fstat(fd, &st));
        s.says("size", static_cast<long>(st.st_size));
        close(fd);
        fd = open(d.path, O_TMPFILE | O_RDWR, 0600);
        s.says("tmpfile", write(fd, "x", 1));
        close(fd);
        s.says("symlink", symlink("a", (d / "l").c_str()));
        s.says("nofollow", open((d / "l").c_str(), O_RDONLY | O_NOFOLLOW));
        fd = open((d / "l").c_str(), O_PATH | O_NOFOLLOW);
        char text[8] = {};
        s.says("readlinkat", readlinkat(fd, "", text, sizeof text));
        s.text("link", text, 8);
        s.says("of a path descriptor", read(fd, text, 1));
        close(fd);
        fd = open("/proc/self/comm", O_RDONLY);
        s.says("proc", read(fd, text, 4) > 0);
        close(fd);
        fd = open("/proc/thread-self/stat", O_RDONLY);
        char line[32] = {};
        s.says("own thread", read(fd, line, 31) > 0 && atoi(line) == static_cast<int>(gettid()));
        close(fd);
        fd = open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0600);
        s.says("null device", write(fd, "x", 1));
        close(fd), close(dir);
        s.says("unlink", unlink((d / "l").c_str()));
        s.says("remove", remove(a.c_str()));
        for (int i = 3; i < 40; ++i) // the one that create gave
            if (fcntl(i, F_GETFL) >= 0 && fstat(i, &st) == 0 && st.st_nlink == 0 &&
                S_ISREG(st.st_mode))
                close(i);
    });
}

TEST(HooksAgainstTheKernel, NamesAndAttributes) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a", b = d / "b", sub = d / "sub";
        int dir = open(d.path, O_RDONLY | O_DIRECTORY),
            fd = open(a.c_str(), O_RDWR | O_CREAT, 0600);
        s.says("mkdir", mkdir(sub.c_str(), 0700));
        s.says("mkdir again", mkdir(sub.c_str(), 0700));
        s.says("mkdirat", mkdirat(dir, "sub/2", 0700));
        s.says("rmdir full", rmdir(sub.c_str()));
        s.says("unlink a directory", unlink(sub.c_str()));
        s.says("unlinkat", unlinkat(dir, "sub/2", AT_REMOVEDIR));
        s.says("rename", rename(a.c_str(), b.c_str()));
        s.says("rename nothing", rename(a.c_str(), b.c_str()));
        s.says("renameat", renameat(dir, "b", dir, "a"));
        s.says("renameat2", renameat2(dir, "a", dir, "sub", RENAME_NOREPLACE));
        s.says("link", link(a.c_str(), b.c_str()));
        s.says("linkat", linkat(dir, "b", dir, "c", 0));
        s.says("symlinkat", symlinkat("nowhere", dir, "l"));
        struct stat st {};
        s.says("lstat", lstat((d / "l").c_str(), &st));
        s.says("link mode", st.st_mode);
        s.says("stat dangling", stat((d / "l").c_str(), &st));
        s.says("fstatat", fstatat(dir, "l", &st, AT_SYMLINK_NOFOLLOW));
        s.says("fstatat self", fstatat(fd, "", &st, AT_EMPTY_PATH));
        s.says("links", static_cast<long>(st.st_nlink));
        s.says("fstatat empty", fstatat(fd, "", &st, 0));
        s.says("stat bad", stat(bad_address(), &st));
        s.says("fstat bad", fstat(-1, &st));
        struct statx sx {};
        s.says("statx", statx(dir, "a", 0, STATX_SIZE, &sx));
        s.says("chmod", chmod(a.c_str(), 0640));
        s.says("fchmod", fchmod(fd, 0604));
        s.says("fchmodat", fchmodat(dir, "a", 0600, 0));
        s.says("fchmodat bad", fchmodat(dir, "a", 0600, 12345));
        s.says("chown", chown(a.c_str(), geteuid(), static_cast<gid_t>(-1)));
        s.says("fchown", fchown(fd, static_cast<uid_t>(-1), static_cast<gid_t>(-1)));
        s.says("lchown", lchown((d / "l").c_str(), geteuid(), static_cast<gid_t>(-1)));
        s.says("access", access(a.c_str(), R_OK));
        s.says("access none", access(b.c_str(), 77));
        s.says("faccessat", faccessat(dir, "a", W_OK, AT_EACCESS));
        s.says("euidaccess", euidaccess(a.c_str(), R_OK));
        char text[PATH_MAX] = {};
        s.says("readlink", readlink((d / "l").c_str(), text, 4));
        s.text("cut", text, 5);
        s.says("readlink of a file", readlink(a.c_str(), text, 10));
        s.says("readlink 0", readlink((d / "l").c_str(), text, 0));
        s.says("realpath", realpath((sub + "/../a").c_str(), text) == text);
        s.says("the same", std::string(text) == a);
        s.says("realpath none",
               realpath((d / "none").c_str(), nullptr) == nullptr && errno == ENOENT);
        struct statfs f {};
        s.says("statfs", statfs(a.c_str(), &f));
        s.says("fstatfs", fstatfs(fd, &f));
        s.says("type", static_cast<long>(f.f_type));
        struct statvfs v {};
        s.says("fstatvfs", fstatvfs(fd, &v));
        s.says("mkfifo", mkfifo((d / "f").c_str(), 0600));
        s.says("mkfifo again", mkfifo((d / "f").c_str(), 0600));
        for (const char *name : {"a", "b", "c", "l", "f", "sub", "none"})
            s.says("remove", remove((d / name).c_str()));
        close(fd), close(dir);
    });
}

TEST(HooksAgainstTheKernel, SizesAndSyncing) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a";
        int fd = open(a.c_str(), O_RDWR | O_CREAT, 0600), ro = open(a.c_str(), O_RDONLY);
        struct stat st {};
        s.says("ftruncate", ftruncate(fd, 10000));
        s.says("ftruncate -1", ftruncate(fd, -1));
        s.says("ftruncate ro", ftruncate(ro, 1));
        s.says("truncate", truncate(a.c_str(), 5000));
        s.says("fallocate", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
        s.says("fallocate bad", fallocate(fd, 0, -1, 0));
        s.says("posix_fallocate", posix_fallocate(fd, 0, 7000));
        s.says("posix_fallocate bad", posix_fallocate(ro, 0, 7000));
        s.says("posix_fallocate bad fd", posix_fallocate(-1, 0, 7000));
        fstat(fd, &st);
        s.says("size", static_cast<long>(st.st_size));
        s.says("fsync", fsync(fd));
        s.says("fdatasync", fdatasync(fd));
        s.says("syncfs", syncfs(fd));
        s.says("fsync bad", fsync(-1));
        int p[2];
        pipe(p);
        s.says("fsync of a pipe", fsync(p[0]));
        s.says("range", sync_file_range(fd, 0, 4096, SYNC_FILE_RANGE_WRITE));
        void *m = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        s.says("msync", msync(m, 4096, MS_SYNC));
        s.says("msync bad", msync(static_cast<char *>(m) + 1, 4096, MS_SYNC));
        munmap(m, 4096);
        close(p[0]), close(p[1]), close(fd), close(ro);
        unlink(a.c_str());
    });
}

TEST(HooksAgainstTheKernel, WritesThatWaitForTheDisk) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a";
        int fd = open(a.c_str(), O_RDWR | O_CREAT | O_DSYNC, 0600);
        std::string big(3 << 20, 'b');
        iovec parts[3] = {{big.data(), 1000}, {big.data(), 1 << 20}, {big.data(), 7}};
        s.says("synced", write(fd, "0123456789", 10));
        s.says("synced pwrite", pwrite(fd, "AB", 2, 4));
        s.says("position", lseek(fd, 0, SEEK_CUR));
        s.says("gathered", writev(fd, parts, 3));
        s.says("position", lseek(fd, 0, SEEK_CUR));
        close(fd);
        fd = open(a.c_str(), O_RDWR);
        s.says("big", write(fd, big.data(), big.size()));
        s.says("big pwrite", pwrite(fd, big.data(), big.size(), 1 << 20));
        s.says("flagged", pwritev2(fd, parts, 3, 77, RWF_DSYNC));
        s.says("appended", pwritev2(fd, parts, 1, -1, RWF_APPEND | RWF_SYNC));
        s.says("bad flag", pwritev2(fd, parts, 1, -1, 1 << 30));
        s.says("end", lseek(fd, 0, SEEK_END));
        s.says("bad address", write(fd, bad_address() + 4096, 1 << 20));
        int ro = open(a.c_str(), O_RDONLY);
        s.says("read only", write(ro, big.data(), big.size()));
        close(ro), close(fd);
        fd = open(a.c_str(), O_RDWR | O_DIRECT);
        void *aligned = nullptr;
        ASSERT_EQ(0, posix_memalign(&aligned, 4096, 8192));
        memset(aligned, 'd', 8192);
        s.says("direct", pwrite(fd, aligned, 8192, 4096));
        memset(aligned, 0, 8192);
        s.says("direct back", pread(fd, aligned, 4096, 8192));
        s.text("bytes", aligned, 3);
        s.says("direct, not aligned", pwrite(fd, static_cast<char *>(aligned) + 1, 512, 0));
        free(aligned);
        close(fd);
        unlink(a.c_str());
    });
}

// The signal belongs to the thread that wrote, not to a helper.
TEST(HooksAgainstTheKernel, ALimitOnFileSizes) {
    static volatile sig_atomic_t signals;
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a", big(1 << 20, 'b');
        signals = 0;
        signal(SIGXFSZ, [](int) { signals = signals + 1; });
        rlimit old;
        getrlimit(RLIMIT_FSIZE, &old);
        rlimit small{4096, old.rlim_max};
        int fd = open(a.c_str(), O_RDWR | O_CREAT, 0600);
        setrlimit(RLIMIT_FSIZE, &small);
        s.says("partial", write(fd, big.data(), big.size()));
        s.says("none", write(fd, big.data(), big.size()));
        s.says("ftruncate", ftruncate(fd, 10000));
        setrlimit(RLIMIT_FSIZE, &old);
        s.says("signals", static_cast<int>(signals));
        signal(SIGXFSZ, SIG_DFL);
        close(fd);
        unlink(a.c_str());
    });
}

TEST(HooksAgainstTheKernel, Directories) {
    expect_same([](side &s) {
        scratch d;
        int many = 1500; // more than libc reads at a time
        for (int i = 0; i < many; ++i)
            close(open((d / ("file-with-a-long-name-" + std::to_string(i)).c_str()).c_str(),
                       O_CREAT | O_WRONLY, 0600));
        DIR *dir = opendir(d.path);
        long entries = 0;
        errno = 0;
        while (struct dirent *e = readdir(dir))
            entries += e->d_name[0] == 'f';
        s.says("errno", errno);
        s.says("entries", entries);
        s.says("past the end", readdir(dir) == nullptr);
        rewinddir(dir);
        struct dirent *e = readdir(dir);
        long place = telldir(dir);
        std::string name = readdir(dir)->d_name;
        for (int i = 0; i < 1000; ++i)
            e = readdir(dir);
        s.says("entry", e != nullptr);
        seekdir(dir, place);
        s.says("back", name == readdir(dir)->d_name);
        s.says("closedir", closedir(dir));
        s.says("opendir none", opendir((d / "none").c_str()) == nullptr && errno == ENOENT);
        s.says("opendir file", opendir("/proc/self/comm") == nullptr && errno == ENOTDIR);
        dir = fdopendir(open(d.path, O_RDONLY | O_DIRECTORY));
        entries = 0;
        while (struct dirent64 *wide = readdir64(dir))
            entries += wide->d_name[0] == 'f';
        s.says("entries", entries);
        closedir(dir);
        for (int i = 0; i < many; ++i)
            unlink((d / ("file-with-a-long-name-" + std::to_string(i)).c_str()).c_str());
    });
}
