// SPDX-License-Identifier: Apache-2.0
/*
 * stack_memory - what a suspended coroutine costs in memory, by kind, beside a waiting thread.
 *
 *     stack_memory [--count N[,N...]] [--live BYTES] [--kind WORD] [--csv]
 *
 *     --count     how many at once (default 1000,10000,100000,1000000)
 *     --live      bytes of stack variables in each one's own frame (default 200)
 *     --kind      only the kinds whose name contains WORD
 *     --csv       bytes in all, not each, one line a measurement
 *
 * Each measurement is made by a child process of its own, which makes N coroutines (or threads), runs
 * each until it is suspended, and reads what it holds then, less what it held before: RSS and page
 * tables from /proc, kernel stacks as threads times 16 KiB. Afterwards every one is resumed and checks
 * that its variables are as it left them.
 *
 * "of it saved" and "save buffers" are parts of RSS: the stack bytes of suspended coroutines that are
 * copied out, and the memory held for them. "of it block" is the control block.
 *
 * Threads stop where the machine does. A thousand process numbers are left for everybody else.
 */
#include "co_routine/co_routine.h"
#include "co_routine/core/coroutine.h"
#include "perf/memory.h"
#include "perf/process.h"

#include <alloca.h>
#include <atomic>
#include <semaphore.h>
#include <sys/mman.h>

namespace {

constexpr long tasks_left_free = 1000;

enum class way { private_stack, shared_stack, thread };

struct kind {
    const char *name;
    way how;
    int stack_bytes;   // 0 for threads: libc's default
    int shared_stacks; // how many
};

const kind kinds[] = {
    {"private 16 KiB", way::private_stack, 16 * 1024, 0},
    {"private 128 KiB", way::private_stack, 128 * 1024, 0},
    {"shared, 1 stack", way::shared_stack, 128 * 1024, 1},
    {"shared, 16 stacks", way::shared_stack, 128 * 1024, 16},
    {"pthread, default stack", way::thread, 0, 0},
    {"pthread, 16 KiB stack", way::thread, 16 * 1024, 0},
};

// What a child writes into memory it shares with its parent.
struct measurement {
    int64_t made; // less than asked for: `error` says why, or the process numbers end
    int error;
    bool at_task_limit;
    int64_t rss, page_tables, kernel_stacks, virtual_bytes;
    int64_t saved, save_buffers;
    int64_t damaged; // variables not as they were left
    double seconds;  // to make and suspend them all
    bool complete;
};

long live_bytes = 200;

/* ---- In the child: one frame with live bytes, in a coroutine or a thread ----------------------- */

unsigned char pattern(uintptr_t number, long i) {
    return static_cast<unsigned char>(number * 31 + static_cast<uintptr_t>(i) * 7 + 1);
}

// Calls wait() with live_bytes of variables in this frame; returns how many came back changed.
template <typename Wait>
__attribute__((noinline)) long with_live_bytes(uintptr_t number, Wait wait) {
    auto *live = static_cast<volatile unsigned char *>(alloca(static_cast<size_t>(live_bytes)));
    for (long i = 0; i < live_bytes; i++)
        live[i] = pattern(number, i);
    wait();
    long changed = 0;
    for (long i = 0; i < live_bytes; i++)
        changed += live[i] != pattern(number, i);
    return changed;
}

void *suspended_coroutine(void *number) {
    long changed = with_live_bytes(reinterpret_cast<uintptr_t>(number), [] { co_yield_ct(); });
    return reinterpret_cast<void *>(static_cast<intptr_t>(changed));
}

sem_t threads_may_end;
std::atomic<long> threads_waiting, damage_in_threads;

void *waiting_thread(void *number) {
    damage_in_threads += with_live_bytes(reinterpret_cast<uintptr_t>(number), [] {
        threads_waiting++;
        while (sem_wait(&threads_may_end) != 0) {
        }
    });
    return nullptr;
}

// A line on stderr at most once a second, while a measurement takes long.
class progress {
  public:
    explicit progress(const char *name) : name_(name), next_ns_(perf::now_ns() + 1000000000u) {}
    ~progress() {
        if (shown_ && tty_)
            fprintf(stderr, "\r%60s\r", "");
    }
    void at(long done, long all) {
        if ((done & 1023) != 0 || perf::now_ns() < next_ns_)
            return;
        next_ns_ = perf::now_ns() + 1000000000u;
        shown_ = true;
        fprintf(stderr, "%s%s: %s of %s%s", tty_ ? "\r" : "", name_,
                perf::with_commas(done).c_str(), perf::with_commas(all).c_str(), tty_ ? "" : "\n");
    }

  private:
    const char *name_;
    uint64_t next_ns_;
    bool shown_ = false, tty_ = isatty(STDERR_FILENO) != 0;
};

void take_reading(const perf::process_memory &before, uint64_t start_ns, measurement *m) {
    m->seconds = static_cast<double>(perf::now_ns() - start_ns) / 1e9;
    perf::process_memory after;
    perf::read_process_memory(getpid(), &after);
    m->rss = after.rss_bytes - before.rss_bytes;
    m->page_tables = after.page_table_bytes - before.page_table_bytes;
    m->kernel_stacks = after.kernel_stack_bytes - before.kernel_stack_bytes;
    m->virtual_bytes = after.virtual_bytes - before.virtual_bytes;
}

// Memory that is there before the first reading, so that it is not counted.
template <typename T> T *prepared_array(long count) {
    auto *array = static_cast<T *>(malloc(static_cast<size_t>(count) * sizeof(T)));
    if (array != nullptr)
        memset(static_cast<void *>(array), 1, static_cast<size_t>(count) * sizeof(T));
    return array;
}

void measure_coroutines(const kind &k, long count, measurement *m) {
    auto **all = prepared_array<stCoRoutine_t *>(count);
    if (all == nullptr) {
        m->error = ENOMEM;
        return;
    }
    perf::process_memory before;
    perf::read_process_memory(getpid(), &before);
    progress show(k.name);
    uint64_t start_ns = perf::now_ns();
    stCoRoutineAttr_t attributes;
    attributes.stack_size = k.stack_bytes;
    if (k.how == way::shared_stack)
        attributes.share_stack = co_alloc_sharestack(k.shared_stacks, k.stack_bytes);
    for (; m->made < count; m->made++) {
        void *number = reinterpret_cast<void *>(m->made);
        m->error = co_create(&all[m->made], &attributes, suspended_coroutine, number);
        if (m->error != 0)
            break;
        co_resume(all[m->made]);
        show.at(m->made, count);
    }
    take_reading(before, start_ns, m);
    co_stats stats;
    co_get_stats(&stats);
    m->saved = static_cast<int64_t>(stats.bytes_saved);
    m->save_buffers = static_cast<int64_t>(stats.save_buffer_bytes);
    for (long i = 0; i < m->made; i++) {
        co_resume(all[i]);
        void *changed = nullptr;
        co_join(all[i], &changed);
        m->damaged += reinterpret_cast<intptr_t>(changed);
        co_release(all[i]);
    }
    m->complete = true;
}

// How many more threads the machine's process numbers allow, some being left for the others.
long thread_room() {
    char text[256];
    long limit = 32768, tasks = 0;
    if (perf::read_proc_file("/proc/sys/kernel/pid_max", text, sizeof text))
        limit = strtol(text, nullptr, 10);
    if (perf::read_proc_file("/proc/sys/kernel/threads-max", text, sizeof text))
        limit = std::min(limit, strtol(text, nullptr, 10));
    if (perf::read_proc_file("/proc/loadavg", text, sizeof text)) {
        const char *slash = strchr(text, '/');
        tasks = slash == nullptr ? 0 : strtol(slash + 1, nullptr, 10);
    }
    return std::max(0L, limit - tasks - tasks_left_free);
}

void measure_threads(const kind &k, long count, measurement *m) {
    long room = thread_room(), wanted = std::min(count, room);
    auto *all = prepared_array<pthread_t>(wanted + 1);
    pthread_attr_t attributes;
    if (all == nullptr || pthread_attr_init(&attributes) != 0) {
        m->error = ENOMEM;
        return;
    }
    if (k.stack_bytes != 0)
        pthread_attr_setstacksize(&attributes, static_cast<size_t>(k.stack_bytes));
    sem_init(&threads_may_end, 0, 0);
    perf::process_memory before;
    perf::read_process_memory(getpid(), &before);
    uint64_t start_ns = perf::now_ns();
    {
        progress show(k.name);
        for (; m->made < wanted; m->made++) {
            void *number = reinterpret_cast<void *>(m->made);
            m->error = pthread_create(&all[m->made], &attributes, waiting_thread, number);
            if (m->error != 0)
                break;
            show.at(m->made, count);
        }
        while (threads_waiting < m->made)
            sched_yield();
    }
    m->at_task_limit = m->made == room && room < count;
    take_reading(before, start_ns, m);
    for (long i = 0; i < m->made; i++)
        sem_post(&threads_may_end);
    for (long i = 0; i < m->made; i++)
        pthread_join(all[i], nullptr);
    m->damaged = damage_in_threads;
    m->complete = true;
}

/* ---- In the parent: one child a measurement, and the table ------------------------------------- */

struct options {
    std::vector<long> counts = {1000, 10000, 100000, 1000000};
    const char *word = "";
    bool csv = false;
};

// How the child ended goes to *status.
measurement measure(const kind &k, long count, int *status) {
    void *shared = mmap(nullptr, sizeof(measurement), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    auto *m = static_cast<measurement *>(shared);
    *m = {};
    fflush(nullptr);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        // Where memory runs out after all, it is this process that goes.
        if (FILE *oom = fopen("/proc/self/oom_score_adj", "we")) {
            fputs("1000", oom);
            fclose(oom);
        }
        if (getppid() == parent) {
            if (k.how == way::thread)
                measure_threads(k, count, m);
            else
                measure_coroutines(k, count, m);
        }
        fflush(nullptr);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, status, 0) != pid) {
        perror("fork");
        exit(1);
    }
    measurement result = *m;
    munmap(shared, sizeof(measurement));
    return result;
}

void print_header(const options &o) {
    if (o.csv) {
        printf("kind,count,made,live_bytes,rss,page_tables,kernel_stacks,saved,save_buffers,"
               "control_block,virtual,seconds\n");
        return;
    }
    printf("bytes for each suspended coroutine or waiting thread, %ld bytes of variables live\n\n",
           live_bytes);
    printf("%-23s %9s %8s %8s %8s %9s %8s %8s %8s %8s\n", "", "", "", "page", "kernel", "",
           "of RSS:", "save", "control", "us to");
    printf("%-23s %9s %8s %8s %8s %9s %8s %8s %8s %8s\n", "kind", "count", "RSS", "tables", "stack",
           "together", "saved", "buffers", "block", "make");
}

std::string note_of(const measurement &m, long count) {
    if (m.at_task_limit)
        return "  stops at " + perf::with_commas(m.made) +
               " threads: kernel.pid_max, less 1,000 left for others";
    if (m.made < count)
        return "  stops at " + perf::with_commas(m.made) + ": " + strerror(m.error);
    return "";
}

void print_row(const options &o, const kind &k, long count, const measurement &m) {
    bool coroutine = k.how != way::thread;
    int64_t block = coroutine ? static_cast<int64_t>(sizeof(stCoRoutine_t)) : 0;
    if (o.csv) {
        printf("\"%s\",%ld,%lld,%ld,%lld,%lld,%lld,%lld,%lld,%lld,%lld,%.3f\n", k.name, count,
               static_cast<long long>(m.made), live_bytes, static_cast<long long>(m.rss),
               static_cast<long long>(m.page_tables), static_cast<long long>(m.kernel_stacks),
               static_cast<long long>(m.saved), static_cast<long long>(m.save_buffers),
               static_cast<long long>(block * m.made), static_cast<long long>(m.virtual_bytes),
               m.seconds);
        return;
    }
    if (m.made == 0) {
        printf("%-23s %9s%s\n", k.name, "0", note_of(m, count).c_str());
        return;
    }
    int64_t n = m.made;
    auto each = [n](int64_t bytes) { return perf::with_commas((bytes + n / 2) / n); };
    printf("%-23s %9s %8s %8s %8s %9s %8s %8s %8s %8.2f%s\n", k.name,
           perf::with_commas(m.made).c_str(), each(m.rss).c_str(), each(m.page_tables).c_str(),
           each(m.kernel_stacks).c_str(), each(m.rss + m.page_tables + m.kernel_stacks).c_str(),
           coroutine ? each(m.saved).c_str() : "-", coroutine ? each(m.save_buffers).c_str() : "-",
           coroutine ? perf::with_commas(block).c_str() : "-",
           m.seconds * 1e6 / static_cast<double>(n), note_of(m, count).c_str());
}

// A private stack holds at least one page; two thirds of what is free are for us.
bool enough_memory(const kind &k, long count) {
    perf::machine_memory machine;
    if (!perf::read_machine_memory(&machine))
        return true;
    int64_t each = k.how == way::shared_stack ? 512 + live_bytes : 5000 + 2 * live_bytes;
    if (k.how == way::thread)
        return true; // they stop by themselves
    return each * count < machine.available_bytes / 3 * 2;
}

// The promise of the project's first issue, said where it is measured.
void print_target(const options &o, const kind &k, const measurement &m) {
    if (o.csv || k.how != way::shared_stack || m.made < 1000000 || live_bytes > 200)
        return;
    int64_t each = (m.rss + m.made / 2) / m.made;
    printf("%-23s %9s %8s  target: at most 600 bytes of RSS each%s\n", "", "", "",
           each > 600 ? ": MISSED" : ", met");
}

// Returns whether all went well.
bool run_kind(const options &o, const kind &k) {
    bool good = true;
    for (long count : o.counts) {
        if (!enough_memory(k, count)) {
            if (!o.csv)
                printf("%-23s %9s  not measured: too little memory\n", k.name,
                       perf::with_commas(count).c_str());
            continue;
        }
        int status = 0;
        measurement m = measure(k, count, &status);
        if (!m.complete || m.damaged != 0) {
            good = false;
            fprintf(stderr, "stack_memory: %s x %ld: %s\n", k.name, count,
                    m.complete            ? "stack variables were damaged"
                    : WIFSIGNALED(status) ? strsignal(WTERMSIG(status))
                    : m.error != 0        ? strerror(m.error)
                                          : "the child ended early");
            continue;
        }
        print_row(o, k, count, m);
        print_target(o, k, m);
        if (m.made < count)
            break; // more will not fit either
    }
    return good;
}

options parse(int argc, char **argv) {
    options o;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : nullptr;
        if (strcmp(argv[i], "--csv") == 0) {
            o.csv = true;
        } else if (strcmp(argv[i], "--live") == 0) {
            live_bytes = perf::parse_number(argv[i++], value, 1, 8192);
        } else if (strcmp(argv[i], "--kind") == 0 && value != nullptr) {
            o.word = argv[++i];
        } else if (strcmp(argv[i], "--count") == 0 && value != nullptr) {
            o.counts.clear();
            std::string list = argv[++i];
            for (size_t from = 0; from <= list.size();) {
                size_t comma = std::min(list.find(',', from), list.size());
                std::string number = list.substr(from, comma - from);
                o.counts.push_back(perf::parse_number("--count", number.c_str(), 1, 10000000));
                from = comma + 1;
            }
        } else {
            fprintf(stderr, "usage: stack_memory [--count N[,N...]] [--live BYTES] [--kind WORD] "
                            "[--csv]\n");
            exit(2);
        }
    }
    return o;
}

} // namespace

int main(int argc, char **argv) {
    options o = parse(argc, argv);
    print_header(o);
    bool good = true;
    for (const kind &k : kinds) {
        if (strstr(k.name, o.word) == nullptr)
            continue;
        good = run_kind(o, k) && good;
        fflush(stdout);
    }
    return good ? 0 : 1;
}
