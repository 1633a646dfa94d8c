// SPDX-License-Identifier: Apache-2.0
/*
 * memory.h - what memory a process holds, by kind.
 *
 *     perf::process_memory before, after;
 *     perf::read_process_memory(pid, &before);
 *     ...
 *     perf::read_process_memory(pid, &after);   // after.anon_bytes - before.anon_bytes, and so on
 *
 * Rules
 *  - RSS comes from smaps_rollup, which walks the page tables and is exact; the counters in
 *    /proc/PID/status lag by some pages per CPU and are the fallback when smaps_rollup is closed to
 *    us.
 *  - The kernel does not say how many bytes of sockets, task structures, VMAs or epoll entries belong
 *    to one process. For those there is only a reading of the whole machine: other processes, and the
 *    other end of a loopback connection, are in it. Functions and labels say "machine" where that is
 *    so.
 *  - Kernel stacks are the process's threads times 16 KiB (THREAD_SIZE on x86_64 kernels, which
 *    also run 32-bit programs); the machine's KernelStack is there to check that against.
 */
#ifndef CORUN_PERF_MEMORY_H
#define CORUN_PERF_MEMORY_H

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sys/types.h>
#include <unistd.h>

namespace perf {

constexpr int64_t kernel_stack_bytes_per_thread = 16 * 1024;

struct process_memory {
    int64_t rss_bytes;          // anon + file (shared memory counts as file)
    int64_t anon_bytes;         // heap, stacks, data pages written to
    int64_t file_bytes;         // program and library text, mapped files
    int64_t page_table_bytes;   // VmPTE
    int64_t virtual_bytes;      // address space, costs nothing by itself
    int64_t threads;            // now
    int64_t kernel_stack_bytes; // threads x 16 KiB

    int64_t together() const { return rss_bytes + page_table_bytes + kernel_stack_bytes; }
};

struct machine_memory {
    int64_t available_bytes;
    int64_t slab_bytes; // sockets, task structures, VMAs, epoll entries, file objects
    int64_t kernel_stack_bytes;
    int64_t page_table_bytes;
    int64_t tcp_buffer_bytes; // pages that hold TCP data in flight
};

// The number after `key` in a text of "Key:   123 kB" lines; -1 when the key is not there.
inline int64_t proc_field(const char *text, const char *key) {
    size_t length = strlen(key);
    for (const char *line = text; line != nullptr && *line != '\0';) {
        if (strncmp(line, key, length) == 0 && line[length] == ':') {
            long long value = -1;
            if (sscanf(line + length + 1, "%lld", &value) == 1)
                return value;
            return -1;
        }
        line = strchr(line, '\n');
        if (line != nullptr)
            line++;
    }
    return -1;
}

// Reads at most size - 1 bytes of a /proc file and ends them with a NUL. False with errno.
inline bool read_proc_file(const char *path, char *text, size_t size) {
    FILE *file = fopen(path, "re");
    if (file == nullptr)
        return false;
    size_t n = fread(text, 1, size - 1, file);
    bool good = ferror(file) == 0 && n > 0;
    text[n] = '\0';
    fclose(file);
    return good;
}

// False with errno when there is no such process or it may not be looked at.
inline bool read_process_memory(pid_t pid, process_memory *out) {
    char path[64], text[8192];
    snprintf(path, sizeof path, "/proc/%d/status", static_cast<int>(pid));
    if (!read_proc_file(path, text, sizeof text))
        return false;
    int64_t anon = proc_field(text, "RssAnon"), file = proc_field(text, "RssFile");
    int64_t shmem = proc_field(text, "RssShmem");
    *out = {};
    out->anon_bytes = anon < 0 ? 0 : anon * 1024;
    out->file_bytes = ((file < 0 ? 0 : file) + (shmem < 0 ? 0 : shmem)) * 1024;
    out->page_table_bytes = proc_field(text, "VmPTE") * 1024;
    out->virtual_bytes = proc_field(text, "VmSize") * 1024;
    out->threads = proc_field(text, "Threads");
    out->kernel_stack_bytes = out->threads * kernel_stack_bytes_per_thread;

    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", static_cast<int>(pid));
    if (read_proc_file(path, text, sizeof text)) {
        int64_t rss = proc_field(text, "Rss");
        anon = proc_field(text, "Anonymous");
        if (rss >= 0 && anon >= 0) {
            out->anon_bytes = anon * 1024;
            out->file_bytes = (rss - anon) * 1024;
        }
    }
    out->rss_bytes = out->anon_bytes + out->file_bytes;
    return true;
}

inline bool read_machine_memory(machine_memory *out) {
    char text[8192];
    if (!read_proc_file("/proc/meminfo", text, sizeof text))
        return false;
    *out = {};
    out->available_bytes = proc_field(text, "MemAvailable") * 1024;
    out->slab_bytes = proc_field(text, "Slab") * 1024;
    out->kernel_stack_bytes = proc_field(text, "KernelStack") * 1024;
    out->page_table_bytes = proc_field(text, "PageTables") * 1024;
    if (read_proc_file("/proc/net/sockstat", text, sizeof text)) {
        const char *tcp = strstr(text, "TCP:");
        const char *mem = tcp == nullptr ? nullptr : strstr(tcp, " mem ");
        if (mem != nullptr) {
            long long pages = 0;
            if (sscanf(mem + 5, "%lld", &pages) == 1)
                out->tcp_buffer_bytes = pages * sysconf(_SC_PAGESIZE);
        }
    }
    return true;
}

} // namespace perf

#endif
