// SPDX-License-Identifier: Apache-2.0
// Contract 19 for the times and extended attributes of files, temporary and special files.
#include "tests/hooks/both.h"
#include "tests/hooks/scratch.h"

#include <climits>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

namespace {

void says_times(side &s, const std::string &path) {
    struct stat st {};
    s.says("lstat", lstat(path.c_str(), &st));
    s.says("atime", static_cast<long>(st.st_atim.tv_sec));
    s.says("ns", st.st_atim.tv_nsec);
    s.says("mtime", static_cast<long>(st.st_mtim.tv_sec));
    s.says("ns", st.st_mtim.tv_nsec);
}

} // namespace

TEST(HooksAgainstTheKernel, FileTimes) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a", l = d / "l", none = d / "none";
        int fd = open(a.c_str(), O_RDWR | O_CREAT, 0600), dir = open(d.path, O_RDONLY);
        symlink("a", l.c_str());
        utimbuf seconds{1000000, 2000000};
        timeval fine[2] = {{3000000, 5}, {4000000, 999999}}, bad[2] = {{1, 1000000}, {1, 0}};
        timespec finer[2] = {{5000000, 7}, {0, UTIME_OMIT}}, worse[2] = {{1, -1}, {1, 0}};
        s.says("utime", utime(a.c_str(), &seconds));
        says_times(s, a);
        s.says("utime now", utime(a.c_str(), nullptr));
        s.says("utimes", utimes(a.c_str(), fine));
        says_times(s, a);
        s.says("utimes bad", utimes(a.c_str(), bad));
        s.says("utimes none", utimes(none.c_str(), fine));
        s.says("lutimes", lutimes(l.c_str(), fine));
        says_times(s, l);
        s.says("futimes", futimes(fd, fine));
        s.says("futimes bad", futimes(-1, fine));
        s.says("futimens", futimens(fd, finer));
        says_times(s, a);
        s.says("futimens bad", futimens(fd, worse));
        s.says("futimens closed", futimens(999, finer));
        s.says("futimesat", futimesat(dir, "a", fine));
        s.says("utimensat", utimensat(dir, "l", finer, AT_SYMLINK_NOFOLLOW));
        says_times(s, l);
        s.says("utimensat bad", utimensat(dir, "l", finer, 12345));
        s.says("utimensat now", utimensat(dir, "a", nullptr, 0));
        s.says("bad path", utimes(bad_address(), fine));
        close(fd), close(dir);
        unlink(a.c_str()), unlink(l.c_str());
    });
}

TEST(HooksAgainstTheKernel, ExtendedAttributes) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a", l = d / "l";
        int fd = open(a.c_str(), O_RDWR | O_CREAT, 0600);
        symlink("a", l.c_str());
        char text[100] = {};
        const char *name = "user.corun";
        s.says("set", setxattr(a.c_str(), name, "value", 5, XATTR_CREATE));
        s.says("again", setxattr(a.c_str(), name, "value", 5, XATTR_CREATE));
        s.says("fset", fsetxattr(fd, "user.other", "", 0, 0));
        long n = s.says("get", getxattr(a.c_str(), name, text, sizeof text));
        s.text("value", text, n);
        s.says("how long", fgetxattr(fd, name, nullptr, 0));
        s.says("how long, with memory", fgetxattr(fd, name, text, 0));
        s.says("too little room", fgetxattr(fd, name, text, 2));
        s.says("no such", fgetxattr(fd, "user.none", text, sizeof text));
        s.says("no name", getxattr(a.c_str(), "", text, sizeof text));
        s.says("list", flistxattr(fd, nullptr, 0) > 0);
        s.says("list", listxattr(a.c_str(), text, sizeof text) > 0);
        s.says("list of a link", llistxattr(l.c_str(), text, sizeof text) >= 0);
        s.says("through a link", getxattr(l.c_str(), name, text, sizeof text));
        s.says("of a link", lgetxattr(l.c_str(), name, text, sizeof text));
        s.says("on a link", lsetxattr(l.c_str(), name, "x", 1, 0));
        std::string big(100000, 'x');
        s.says("too long", setxattr(a.c_str(), name, big.data(), big.size(), 0));
        s.says("lremove", lremovexattr(l.c_str(), name));
        s.says("remove", removexattr(a.c_str(), name));
        s.says("fremove", fremovexattr(fd, "user.other"));
        s.says("remove again", fremovexattr(fd, "user.other"));
        s.says("bad fd", fgetxattr(-1, name, text, sizeof text));
#if !defined(__SANITIZE_ADDRESS__) // which reads the name itself
        s.says("bad address", fgetxattr(fd, bad_address(), text, sizeof text));
#endif
        close(fd);
        unlink(a.c_str()), unlink(l.c_str());
    });
}

TEST(HooksAgainstTheKernel, TemporaryFiles) {
    expect_same([](side &s) {
        scratch d;
        auto check = [&](const char *what, int (*make)(char *)) {
            std::string name = d / "f-XXXXXX.end";
            int fd = make(name.data());
            s.says(what, fd >= 0);
            s.says("flags", fcntl(fd, F_GETFL));
            s.says("descriptor flags", fcntl(fd, F_GETFD));
            s.says("another name", name.find("XXXXXX") == std::string::npos);
            s.says("write", write(fd, "x", 1));
            s.says("close", close(fd));
            s.says("unlink", unlink(name.c_str()));
        };
        check("mkstemps", [](char *t) { return mkstemps(t, 4); });
        check("mkostemps", [](char *t) { return mkostemps64(t, 4, O_APPEND | O_CLOEXEC); });
        auto cut = [](char *t) { return t[strlen(t) - 4] = 0, t; };
        static auto *cut_short = +cut;
        check("mkstemp", [](char *t) { return mkstemp(cut_short(t)); });
        check("mkostemp", [](char *t) { return mkostemp(cut_short(t), O_CLOEXEC); });
        std::string name = d / "d-XXXXXX", bad = d / "XXX";
        s.says("mkdtemp", mkdtemp(name.data()) == name.data());
        s.says("rmdir", rmdir(name.c_str()));
        s.says("bad", mkstemp(bad.data()));
        s.says("bad", mkdtemp(bad.data()) == nullptr && errno == EINVAL);
        s.says("bad suffix", mkstemps(bad.data(), 77));
        std::string nowhere = d / "none/XXXXXX";
        s.says("nowhere", mkstemp(nowhere.data()));
    });
}

TEST(HooksAgainstTheKernel, SpecialFiles) {
    expect_same([](side &s) {
        scratch d;
        std::string a = d / "a";
        int dir = open(d.path, O_RDONLY);
        s.says("mknod", mknod(a.c_str(), S_IFREG | 0600, 0));
        s.says("again", mknod(a.c_str(), S_IFREG | 0600, 0));
        s.says("mknodat", mknodat(dir, "f", S_IFIFO | 0600, 0));
        s.says("a directory", mknodat(dir, "sub", S_IFDIR | 0700, 0));
        s.says("too large", mknod((d / "c").c_str(), S_IFCHR | 0600, ~dev_t{0}));
        s.says("bad fd", mknodat(-1, "f", S_IFIFO | 0600, 0));
        s.says("unlink", unlinkat(dir, "f", 0));
        s.says("unlink", unlink(a.c_str()));
        close(dir);
    });
}

// contract 37: names and times are on the caller's stack.
TEST(HooksAgainstTheKernel, FileTimesAndNamesOnASharedStack) {
    scratch d;
    stShareStack_t *stack = co_alloc_sharestack(1, 128 * 1024);
    int wrong = 0;
    for (int i = 0; i < 2; ++i)
        go(
            [&, i] {
                for (int n = 0; n < 5; ++n) {
                    char name[64];
                    snprintf(name, sizeof name, "%s/XXXXXX", d.path);
                    int fd = mkstemp(name);
                    wrong += fd < 0;
                    timespec times[2] = {{1000 + i, 1}, {2000 + i, 2}};
                    wrong += futimens(fd, times) != 0;
                    wrong += times[0].tv_sec != 1000 + i;
                    struct stat st {};
                    fstat(fd, &st);
                    wrong += st.st_atime != 1000 + i || st.st_mtime != 2000 + i;
                    char value[16] = {}, back[16] = {};
                    snprintf(value, sizeof value, "value %d", i);
                    if (fsetxattr(fd, "user.a", value, sizeof value, 0) == 0) {
                        wrong += getxattr(name, "user.a", back, sizeof back) != sizeof value;
                        wrong += memcmp(value, back, sizeof back) != 0;
                    }
                    close(fd);
                    wrong += unlink(name) != 0;
                }
            },
            stack);
    co_run();
    EXPECT_EQ(0, wrong);
}
