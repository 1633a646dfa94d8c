// SPDX-License-Identifier: Apache-2.0
// Users, groups and syslog.
#include "tests/hooks/both.h"

#include <cstdarg>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <shadow.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

namespace {

void says_text(side &s, const char *what, const std::string &t) {
    s.text(what, t.data(), static_cast<long>(t.size()));
}

std::string text_of(const passwd *p) {
    if (!p)
        return "none";
    return std::string(p->pw_name) + ":" + p->pw_passwd + ":" + std::to_string(p->pw_uid) + ":" +
           std::to_string(p->pw_gid) + ":" + p->pw_gecos + ":" + p->pw_dir + ":" + p->pw_shell;
}
std::string text_of(const group *g) {
    if (!g)
        return "none";
    std::string all =
        std::string(g->gr_name) + ":" + g->gr_passwd + ":" + std::to_string(g->gr_gid);
    for (char **m = g->gr_mem; *m; ++m)
        all += std::string(" ") + *m;
    return all;
}

} // namespace

TEST(Users, EntriesAsNative) {
    expect_same([](side &s) {
        alignas(16) char buffer[8192];
        passwd p, *user;
        for (const char *name : {"root", "daemon", "nobody", "no-such-user", ""}) {
            s.says(name, getpwnam_r(name, &p, buffer, sizeof buffer, &user));
            says_text(s, "is", text_of(user));
        }
        for (size_t room : {100UL, 40UL, 30UL, 20UL, 4UL, 1UL, 0UL}) {
            s.says("room", getpwnam_r("root", &p, buffer + 1, room, &user));
            says_text(s, "is", text_of(user));
        }
        s.says("uid", getpwuid_r(1, &p, buffer, sizeof buffer, &user));
        says_text(s, "is", text_of(user));
        s.says("no uid", getpwuid_r(123456789, &p, buffer, sizeof buffer, &user));
        says_text(s, "is", text_of(user));
        group g, *found;
        for (const char *name : {"root", "daemon", "no-such-group"}) {
            s.says(name, getgrnam_r(name, &g, buffer, sizeof buffer, &found));
            says_text(s, "is", text_of(found));
        }
        for (size_t room : {100UL, 40UL, 24UL, 8UL, 0UL}) {
            s.says("room", getgrnam_r("root", &g, buffer + 3, room, &found));
            says_text(s, "is", text_of(found));
        }
        s.says("gid", getgrgid_r(2, &g, buffer, sizeof buffer, &found));
        says_text(s, "is", text_of(found));
        spwd sp, *secret;
        s.says("getspnam_r", getspnam_r("root", &sp, buffer, sizeof buffer, &secret));
        says_text(s, "is", secret ? secret->sp_namp : "none");
        setpwent();
        for (int i = 0; i < 3; ++i) {
            s.says("getpwent_r", getpwent_r(&p, buffer, sizeof buffer, &user));
            says_text(s, "is", text_of(user));
        }
        endpwent();
        gid_t groups[8];
        for (int room : {8, 1, 0}) {
            int count = room;
            bool all = getgrouplist("root", 77, groups, &count) >= 0; // errno says nothing here
            s.says("getgrouplist", all ? 1 : 0);
            s.says("count", count);
            s.says("first", room > 0 ? groups[0] : 0);
        }
    });
}

// contract 37
TEST(Users, TwoOnOneSharedStackKeepTheirFrames) {
    stShareStack_t *shared = co_alloc_sharestack(1, 256 * 1024);
    std::vector<stCoRoutine_t *> all;
    int right = 0;
    for (uid_t id : {0U, 1U})
        all.push_back(go(
            [&right, id] {
                for (int round = 0; round < 10; ++round) {
                    char canary[1024];
                    memset(canary, 'a' + static_cast<int>(id), sizeof canary);
                    alignas(16) char buffer[2048];
                    passwd p, *user = nullptr;
                    getpwuid_r(id, &p, buffer, sizeof buffer, &user);
                    bool whole = user && user->pw_uid == id &&
                                 strcmp(user->pw_name, id == 0 ? "root" : "daemon") == 0;
                    for (char c : canary)
                        whole = whole && c == 'a' + static_cast<int>(id);
                    right += whole;
                }
            },
            shared));
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
    co_release_sharestack(shared);
    EXPECT_EQ(right, 20);
}

namespace {

void log_list(int priority, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsyslog(priority, format, list);
    va_end(list);
}

// In a process with a /dev of its own, where this program is the log daemon. 77: not allowed to.
int with_own_log(const std::function<bool(int log)> &f) {
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr))
            _exit(77);
        if (mount("none", "/dev", "tmpfs", 0, nullptr) != 0)
            _exit(77);
        int log = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockaddr_un a{AF_UNIX, "/dev/log"};
        if (bind(log, reinterpret_cast<sockaddr *>(&a), sizeof a) != 0)
            _exit(77);
        _exit(f(log) ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

std::string next_message(int log) {
    char text[4096];
    ssize_t n = recv(log, text, sizeof text, MSG_DONTWAIT);
    std::string all(text, n > 0 ? static_cast<size_t>(n) : 0U);
    size_t date = all.find('>');
    if (date != std::string::npos && all.size() > date + 17)
        all.erase(date + 1, 16); // "Nov 22 04:36:49 "
    return all;
}

} // namespace

TEST(Syslog, MessagesAsNative) {
    int r = with_own_log([](int log) {
        expect_same([log](side &s) {
            openlog("corun-test", LOG_PID, LOG_DAEMON);
            syslog(LOG_INFO, "plain %d %s", 7, "text");
            errno = ENOENT;
            log_list(LOG_ERR | LOG_LOCAL1, "why: %m");
            s.says("errno", errno);
            log_list(LOG_WARNING, "%s", std::string(1500, 'x').c_str());
            closelog();
            openlog("other", 0, LOG_USER);
            syslog(LOG_DEBUG, "100%% %%s");
            closelog();
            for (int i = 0; i < 4; ++i)
                says_text(s, "message", next_message(log));
            closelog();
        });
        return !testing::Test::HasFailure();
    });
    if (r == 77)
        GTEST_SKIP() << "no mount namespace of its own here";
    EXPECT_EQ(r, 0);
}

// contract 26: the daemon does not read, so that the socket fills up and syslog waits.
TEST(Syslog, OthersTickWhileTheDaemonIsStuck) {
    int r = with_own_log([](int log) {
        int ticks = 0, written = 0;
        stCoRoutine_t *writing = go([&] {
            for (; written < 40; ++written)
                syslog(LOG_INFO, "%01000d", written);
        });
        stCoRoutine_t *ticking = go([&] {
            int before = -1;
            while (before != written) { // until it waits
                before = written;
                usleep(20000);
            }
            if (written < 40)
                for (ticks = 0; ticks < 50; ++ticks)
                    usleep(1000);
            char text[2048];
            while (written < 40)
                if (recv(log, text, sizeof text, MSG_DONTWAIT) < 0)
                    usleep(1000);
        });
        co_run();
        co_release(writing);
        co_release(ticking);
        return ticks == 50 && written == 40;
    });
    if (r == 77)
        GTEST_SKIP() << "no mount namespace of its own here";
    EXPECT_EQ(r, 0);
}
