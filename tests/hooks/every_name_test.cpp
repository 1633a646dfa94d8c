// SPDX-License-Identifier: Apache-2.0
// Names of files, descriptors, signals and databases that no other test calls.
#include "tests/hooks/named_calls.h"
#include "tests/hooks/scratch.h"

#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <shadow.h>
#include <sys/fanotify.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

extern "C" {
int __xstat(int, const char *, struct stat *);
int __xstat64(int, const char *, struct stat64 *);
int __lxstat(int, const char *, struct stat *);
int __lxstat64(int, const char *, struct stat64 *);
int __fxstat(int, int, struct stat *);
int __fxstat64(int, int, struct stat64 *);
int __fxstatat(int, int, const char *, struct stat *, int);
int __fxstatat64(int, int, const char *, struct stat64 *, int);
int64_t llseek(int, int64_t, int);
int the_sigpause(int) __asm__("sigpause");
int __sigpause(int, int);
using handler = void (*)(int);
handler bsd_signal(int, handler) noexcept;
handler ssignal(int, handler) noexcept;
int capset(void *, void *) noexcept;
int the_pidfd_open(int, unsigned) noexcept __asm__("pidfd_open");
int io_getevents(void *, long, long, void *, timespec *);
int the_pthread_yield() noexcept __asm__("pthread_yield");
handler the_sigset(int, handler) noexcept __asm__("sigset");
int the_readdir64_r(DIR *, dirent64 *, dirent64 **) __asm__("readdir64_r");
int innetgr(const char *, const char *, const char *, const char *) noexcept;
}

namespace {

// ---- Files

#if defined(__x86_64__)
constexpr int stat_version = 1;
#else
constexpr int stat_version = 3;
#endif

template <class S, class F> void stats(side &s, const char *name, F f) {
    for (const char *path : {"/etc/passwd", "/dev/null", "/", "/no such file", ""}) {
        for (int version : {stat_version, 77}) {
            S st{};
            if (s.says(name, f(version, path, &st)) != 0)
                continue;
            s.says("mode", st.st_mode);
            s.says("inode", st.st_ino);
            s.says("size", st.st_size);
        }
    }
}
template <class S> int by_fd(int (*f)(int, int, S *), int version, const char *path, S *out) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    int r = f(version, fd, out), e = errno;
    close(fd);
    errno = e;
    return r;
}
#define STATS(name, S)                                                                             \
    {                                                                                              \
#name, [](side & s) { stats<struct S>(s, #name, name); }                                   \
    }
#define FSTATS(name, S)                                                                            \
    {                                                                                              \
#name, [](side &s) {                                                                       \
            stats<struct S>(s, #name, [](int version, const char *path, struct S *out) {           \
                return by_fd(name, version, path, out);                                            \
            });                                                                                    \
        }       \
    }
#define STATS_AT(name, S)                                                                          \
    {                                                                                              \
#name, [](side &s) {                                                                       \
            stats<struct S>(s, #name, [](int version, const char *path, struct S *out) {           \
                return name(version, AT_FDCWD, path, out, 0);                                      \
            });                                                                                    \
        }       \
    }

void changes_directory(side &s) {
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char path[PATH_MAX];
    s.says("chdir", chdir("/usr/lib"));
    s.text("getcwd", path, getcwd(path, sizeof path) ? static_cast<long>(strlen(path)) : 0);
    s.says("chdir", chdir("/no such directory"));
    s.says("chdir", chdir("/etc/passwd"));
    s.says("chdir", chdir(bad_address()));
    s.says("fchdir", fchdir(-1));
    s.says("fchdir", fchdir(here));
    close(here);
}

void makes_fifos(side &s) {
    scratch dir;
    s.says("mkfifoat", mkfifoat(AT_FDCWD, (dir / "fifo").c_str(), 0600));
    s.says("mkfifoat", mkfifoat(AT_FDCWD, (dir / "fifo").c_str(), 0600));
    s.says("mkfifoat", mkfifoat(-1, "fifo", 0600));
    struct stat st;
    s.says("stat", stat((dir / "fifo").c_str(), &st));
    s.says("mode", st.st_mode);
    s.says("fchownat", fchownat(AT_FDCWD, (dir / "fifo").c_str(), getuid(), getgid(), 0));
    s.says("fchownat", fchownat(AT_FDCWD, (dir / "none").c_str(), getuid(), getgid(), 0));
    s.says("fchownat", fchownat(-1, "fifo", getuid(), getgid(), 0));
    unlink((dir / "fifo").c_str());
}

void names_files(side &s) {
    for (const char *path : {"/etc/../etc/./passwd", "/etc/no such file", "", "/usr/bin/"}) {
        char *name = canonicalize_file_name(path);
        s.says("canonicalize_file_name", name ? 0 : -1);
        s.text("is", name, name ? static_cast<long>(strlen(name)) : 0);
        free(name);
        s.says("eaccess", eaccess(path, R_OK));
        s.says("eaccess", eaccess(path, X_OK));
    }
}

void moves_in_files(side &s) {
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    s.says("readahead", readahead(fd, 0, 4096));
    s.says("readahead", readahead(-1, 0, 4096));
    s.says("llseek", static_cast<long>(llseek(fd, 5, SEEK_SET)));
    s.says("llseek", static_cast<long>(llseek(fd, -9, SEEK_SET)));
    s.says("llseek", static_cast<long>(llseek(fd, 0, 99)));
    char text[5];
    s.text("read", text, read(fd, text, sizeof text));
    close(fd);
}

void reads_directories(side &s) {
    DIR *d = opendir("/proc/self/ns");
    dirent64 entry, *found = &entry;
    int count = 0;
    while (the_readdir64_r(d, &entry, &found) == 0 && found)
        count += entry.d_name[0] != '\0';
    s.says("readdir64_r", count);
    closedir(d);
}

const named_call files[] = {
    STATS(__xstat, stat),
    STATS(__xstat64, stat64),
    STATS(__lxstat, stat),
    STATS(__lxstat64, stat64),
    FSTATS(__fxstat, stat),
    FSTATS(__fxstat64, stat64),
    STATS_AT(__fxstatat, stat),
    STATS_AT(__fxstatat64, stat64),
    {"chdir, fchdir", changes_directory},
    {"mkfifoat, fchownat", makes_fifos},
    {"canonicalize_file_name, eaccess", names_files},
    {"readahead, llseek", moves_in_files},
    {"readdir64_r", reads_directories},
};

TEST(EveryName, Files) { run_all(files); }

// ---- Descriptors that the kernel makes

template <class F> void makes(side &s, const char *name, F f) {
    for (int flags : {0, 04000 | 02000000, 0x7ffff}) { // O_NONBLOCK | O_CLOEXEC
        int fd = f(flags);
        s.says(name, fd < 0 ? -1 : 0);
        if (fd < 0)
            continue;
        s.says("flags", fcntl(fd, F_GETFL) & O_NONBLOCK);
        s.says("close on exec", fcntl(fd, F_GETFD));
        close(fd);
    }
}
sigset_t one_signal(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    return set;
}

const named_call descriptors[] = {
    {"inotify_init1", [](side &s) { makes(s, "inotify_init1", inotify_init1); }},
    {"fanotify_init",
     [](side &s) {
         makes(s, "fanotify_init",
               [](int flags) { return fanotify_init(flags ? 3 : 0, O_RDONLY); });
     }},
    {"pidfd_open",
     [](side &s) {
         makes(s, "pidfd_open", [](int flags) { return the_pidfd_open(getpid(), flags & 04000); });
         s.says("pidfd_open", the_pidfd_open(-1, 0));
     }},
    {"signalfd",
     [](side &s) {
         makes(s, "signalfd", [](int flags) {
             sigset_t set = one_signal(SIGUSR1);
             return signalfd(-1, &set, flags);
         });
     }},
    {"io_getevents",
     [](side &s) {
         unsigned long context = 0;
         s.says("io_setup", syscall(SYS_io_setup, 4, &context));
         timespec none{};
         char events[4 * 32];
         auto *c = reinterpret_cast<void *>(context);
         s.says("io_getevents", io_getevents(c, 0, 4, events, &none));
         timespec some{0, 3000000};
         s.waited("io_getevents", 3,
                  [&] { s.says("io_getevents", io_getevents(c, 1, 4, events, &some)); });
         syscall(SYS_io_destroy, context);
     }},
};

TEST(EveryName, Descriptors) { run_all(descriptors); }

// ---- Signals, credentials, yielding

volatile sig_atomic_t handled;
void count_signal(int) { handled = handled + 1; }

// The signal is there, blocked, until f lets it in.
template <class F> void lets_in(side &s, const char *name, F f) {
    sigset_t set = one_signal(SIGUSR1), former;
    pthread_sigmask(SIG_BLOCK, &set, &former);
    auto was = signal(SIGUSR1, count_signal);
    handled = 0;
    pthread_kill(pthread_self(), SIGUSR1);
    s.says("before", static_cast<int>(handled));
    s.says(name, f(SIGUSR1));
    s.says("after", static_cast<int>(handled));
    signal(SIGUSR1, was);
    pthread_sigmask(SIG_SETMASK, &former, nullptr);
}

template <class F> void sets_handlers(side &s, const char *name, F set) {
    signal(SIGUSR2, SIG_DFL);
    s.says(name, set(SIGUSR2, count_signal) == SIG_DFL ? 1 : 0);
    handled = 0;
    raise(SIGUSR2);
    s.says("handled", static_cast<int>(handled));
    s.says(name, set(SIGUSR2, SIG_IGN) == count_signal ? 1 : 0);
    raise(SIGUSR2);
    s.says("handled", static_cast<int>(handled));
    s.says(name, set(SIGUSR2, SIG_DFL) == SIG_IGN ? 1 : 0);
    s.says(name, set(4711, SIG_DFL) == SIG_ERR ? errno : 0);
    s.says(name, set(SIGKILL, SIG_IGN) == SIG_ERR ? 1 : 0);
}

const named_call others[] = {
    {"sigpause", [](side &s) { lets_in(s, "sigpause", [](int) { return the_sigpause(0); }); }},
    {"__sigpause",
     [](side &s) { lets_in(s, "__sigpause", [](int number) { return __sigpause(number, 1); }); }},
    {"sigset", [](side &s) { sets_handlers(s, "sigset", the_sigset); }},
    {"bsd_signal", [](side &s) { sets_handlers(s, "bsd_signal", bsd_signal); }},
    {"ssignal", [](side &s) { sets_handlers(s, "ssignal", ssignal); }},
    {"setfsgid",
     [](side &s) {
         s.says("setfsgid", setfsgid(getegid()));
         s.says("setfsgid", setfsgid(getegid()));
     }},
    {"capset",
     [](side &s) {
         unsigned header[2] = {0x20080522, 0}, data[6];
         s.says("capget", syscall(SYS_capget, header, data));
         s.says("capset", capset(header, data));
         header[0] = 1;
         s.says("capset", capset(header, data));
         s.says("version", header[0]);
     }},
    {"pthread_yield", [](side &s) { s.says("pthread_yield", the_pthread_yield()); }},
    {"__h_errno_location",
     [](side &s) {
         *__h_errno_location() = TRY_AGAIN;
         s.says("h_errno", h_errno);
     }},
};

TEST(EveryName, SignalsCredentialsAndYielding) { run_all(others); }

// ---- The user and host databases

template <class E> void says_entry(side &s, const char *name, const E *entry, char *E::*text) {
    s.says(name, entry ? 1 : 0);
    if (entry)
        s.text("is", entry->*text, static_cast<long>(strlen(entry->*text)));
}

void looks_for_users(side &s) {
    says_entry(s, "getpwuid", getpwuid(0), &passwd::pw_name);
    says_entry(s, "getpwuid", getpwuid(123456789), &passwd::pw_name);
    setpwent();
    says_entry(s, "getpwent", getpwent(), &passwd::pw_name);
    says_entry(s, "getpwent", getpwent(), &passwd::pw_name);
    endpwent();
    says_entry(s, "getgrgid", getgrgid(0), &group::gr_name);
    says_entry(s, "getgrnam", getgrnam("daemon"), &group::gr_name);
    says_entry(s, "getgrnam", getgrnam("nobody there"), &group::gr_name);
    setgrent();
    says_entry(s, "getgrent", getgrent(), &group::gr_name);
    endgrent();
    says_entry(s, "getspnam", getspnam("root"), &spwd::sp_namp);
    setspent();
    says_entry(s, "getspent", getspent(), &spwd::sp_namp);
    endspent();
}

void looks_for_hosts(side &s) {
    says_entry(s, "getnetbyname", getnetbyname("loopback"), &netent::n_name);
    says_entry(s, "getnetbyaddr", getnetbyaddr(127 << 24, AF_INET), &netent::n_name);
    says_entry(s, "getprotobyname", getprotobyname("tcp"), &protoent::p_name);
    says_entry(s, "getprotobyname", getprotobyname("no such"), &protoent::p_name);
    says_entry(s, "getprotobynumber", getprotobynumber(17), &protoent::p_name);
    says_entry(s, "getservbyname", getservbyname("http", "tcp"), &servent::s_name);
    says_entry(s, "getservbyname", getservbyname("http", nullptr), &servent::s_name);
    says_entry(s, "getservbyport", getservbyport(htons(25), "tcp"), &servent::s_name);
    s.says("innetgr", innetgr("no such group", "host", nullptr, nullptr));
    s.says("setnetgrent", setnetgrent("no such group"));
    char *host, *user, *domain;
    s.says("getnetgrent", getnetgrent(&host, &user, &domain));
    endnetgrent();
}

const named_call databases[] = {
    {"users and groups", looks_for_users},
    {"networks, protocols, services, netgroups", looks_for_hosts},
};

TEST(EveryName, Databases) { run_all(databases); }

} // namespace
