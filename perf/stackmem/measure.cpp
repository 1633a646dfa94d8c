// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/measure.h"

#include "perf/process.h"
#include "perf/stackmem/live_bytes.h"

#include <sys/mman.h>

namespace stackmem {
namespace {

[[noreturn]] void in_child(const plan &p, pid_t parent, measurement *m) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (FILE *oom = fopen("/proc/self/oom_score_adj", "we")) {
        fputs("1000", oom);
        fclose(oom);
    }
    perf::pin_to_cpu(perf::usable_cpus().front());
    set_live_bytes({p.live_bytes, p.depth, p.touched});
    ceiling c = find_ceiling(p);
    switch (p.what.how) {
    case way::thread:
        measure_threads(p, c, m);
        break;
    case way::ucontext:
        measure_ucontext(p, c, m);
        break;
    default:
        measure_coroutines(p, c, m);
    }
    _exit(0);
}

// Until the pipe's other end is gone: the child's.
void wait_for(int pipe, const measurement &m,
              const std::function<void(const measurement &)> &watch) {
    pollfd end = {pipe, POLLIN, 0};
    do
        watch(m);
    while (poll(&end, 1, 100) <= 0);
}

void say_death(int status, measurement *m) {
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        snprintf(m->stopped_by, sizeof m->stopped_by, "it was killed: memory ran out");
    else if (WIFSIGNALED(status))
        snprintf(m->stopped_by, sizeof m->stopped_by, "the child died of %s",
                 strsignal(WTERMSIG(status)));
    else
        snprintf(m->stopped_by, sizeof m->stopped_by, "the child ended early");
    snprintf(m->raise, sizeof m->raise, "memory");
}

[[noreturn]] void fail(const char *what) {
    fprintf(stderr, "corun-stackmem: %s: %s\n", what, strerror(errno));
    exit(1);
}

} // namespace

measurement measure(const plan &p, const std::function<void(const measurement &)> &watch) {
    void *shared = mmap(nullptr, sizeof(measurement), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int ends[2];
    if (shared == MAP_FAILED)
        fail("memory to share with a child");
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail("a pipe");
    auto *m = static_cast<measurement *>(shared);
    *m = {};
    fflush(nullptr);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(ends[0]);
        in_child(p, parent, m);
    }
    if (pid < 0)
        fail("fork");
    close(ends[1]);
    wait_for(ends[0], *m, watch);
    close(ends[0]);
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid");
    if (!m->complete)
        say_death(status, m);
    measurement result = *m;
    munmap(shared, sizeof(measurement));
    return result;
}

} // namespace stackmem
