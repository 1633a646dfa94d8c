// SPDX-License-Identifier: Apache-2.0
// Credentials, capabilities and filters, in threads that share one of the kernel's, and its helpers:
// rights_test.sh compares with native threads, but for the part `refused`, which is corun's alone.
#include "tests/waist/signals.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static const char path[] = "file", inside[] = "directory"; // where it is run

// What helpers make, and what io_uring would make.
static void try_all(const char *when) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    puts(when);
    say("  fsync", fsync(fd));
    say("  truncate", truncate(path, 0));
    say("  mkdir", mkdir(inside, 0700));
    rmdir(inside);
    bind(listener, (struct sockaddr *)&here, sizeof here);
    listen(listener, 4);
    getsockname(listener, (struct sockaddr *)&here, &length);
    say("  connect", connect(client, (struct sockaddr *)&here, sizeof here));
    close(listener);
    close(client);
    close(fd);
}
static void *try_in_thread(void *when) {
    try_all(when);
    return when;
}
static void in_thread(const char *when) {
    pthread_t t;
    pthread_create(&t, NULL, try_in_thread, (void *)(size_t)when);
    pthread_join(t, NULL);
}

static struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 3, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 2, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV)}; // which none of them says itself
static struct sock_fprog filter = {sizeof code / sizeof code[0], code};

static long forbid(unsigned flags) {
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
}

// ---- A filter

static void part_early(void) {
    say("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    say("filter", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
    try_all("at once");
    in_thread("in a thread");
}
static void part_late(void) {
    pthread_t other;
    pthread_create(&other, NULL, just_read, NULL);
    in_thread("before"); // makes helpers
    say("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    say("filter for all", forbid(SECCOMP_FILTER_FLAG_TSYNC));
    try_all("in the first thread");
    in_thread("in a thread");
    end_read();
    pthread_join(other, NULL);
}
static void part_alone(void) {
    in_thread("before");
    say("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    say("filter", forbid(0));
    in_thread("in a thread");
}

// ---- Capabilities and credentials

static long drop_capabilities(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &head, data) != 0)
        return -1;
    memset(data, 0, sizeof data);
    return syscall(SYS_capset, &head, data);
}
static void part_capabilities(void) {
    chmod(path, 0);
    in_thread("before");
    say("capset", drop_capabilities());
    in_thread("in a thread");
}
// contract 39
static void part_setuid(void) {
    pthread_t other;
    pthread_create(&other, NULL, just_read, NULL);
    in_thread("before");
    say("setuid", setuid(65534));
    try_all("in the first thread");
    in_thread("in a thread");
    end_read();
    pthread_join(other, NULL);
}

// ---- For one thread alone

static void part_refused(void) {
    pthread_t other;
    pthread_create(&other, NULL, just_read, NULL);
    say("setuid", syscall(SYS_setuid, 65534));
    for (int i = 0; i < 2; ++i) // said once
        say("setfsuid", syscall(SYS_setfsuid, 65534) == (long)geteuid());
    say("capset", drop_capabilities());
    say("unshare", unshare(CLONE_NEWNS));
    say("setns", setns(0, 0));
    say("landlock_restrict_self", syscall(SYS_landlock_restrict_self, -1, 0));
    say("filter", forbid(0));
    say("prctl: filter", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
    say("prctl: strict", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    say("bounding set", prctl(PR_CAPBSET_DROP, 0));
    say("ambient set", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    say("securebits", prctl(PR_SET_SECUREBITS, 0));
    say("keepcaps", prctl(PR_SET_KEEPCAPS, 1));
    say("keepcaps now", prctl(PR_GET_KEEPCAPS));
    say("only asked", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 0, 0, 0));
    try_all("and nothing has changed");
    end_read();
    pthread_join(other, NULL);
}

// ---- contract 39: the holder needs the helpers that the waiters must not occupy

enum { waiters = 64 };
static atomic_int arrived, held;
static void *wait_for_flock(void *unused) {
    int fd = open(path, O_RDWR);
    ++arrived;
    if (flock(fd, LOCK_EX) == 0)
        ++held;
    flock(fd, LOCK_UN);
    close(fd);
    return unused;
}
static void part_flocks(void) {
    pthread_t t[waiters];
    int fd = open(path, O_RDWR);
    say("flock", flock(fd, LOCK_EX));
    for (int i = 0; i < waiters; ++i)
        pthread_create(&t[i], NULL, wait_for_flock, NULL);
    while (arrived < waiters)
        pause_ms(1);
    pause_ms(20);
    say("write", write(fd, "x", 1));
    say("fsync", fsync(fd));
    printf("%d hold it meanwhile\n", held);
    say("unlock", flock(fd, LOCK_UN));
    for (int i = 0; i < waiters; ++i)
        pthread_join(t[i], NULL);
    printf("%d have held it\n", held);
}

static const struct part parts[] = {{"early", part_early},    {"late", part_late},
                                    {"alone", part_alone},    {"capabilities", part_capabilities},
                                    {"setuid", part_setuid},  {"flocks", part_flocks},
                                    {"refused", part_refused}};

int main(int argc, char **argv) {
    if (argc > 1)
        close(open(path, O_RDWR | O_CREAT, 0600));
    int r = run_part(parts, sizeof parts / sizeof parts[0], argc, argv);
    unlink(path);
    return r;
}
