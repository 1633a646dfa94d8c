// SPDX-License-Identifier: Apache-2.0
/*
 * mem_probe - prints the memory of a process by kind.
 *
 *     mem_probe [PID] [--kv]      without PID: of mem_probe itself; --kv: one line of key=value
 *
 * The second half of the table is the whole machine's: the kernel keeps no account of sockets, task
 * structures and VMAs by process.
 */
#include "perf/memory.h"

#include "perf/process.h"

namespace {

void row(const char *what, int64_t bytes, const char *note) {
    printf("  %-28s %18s  %s\n", what, perf::with_commas(bytes).c_str(), note);
}

void print_table(pid_t pid, const perf::process_memory &m, const perf::machine_memory &all) {
    std::string threads = perf::with_commas(m.threads) + " threads x 16 KiB";
    printf("process %d, bytes\n", static_cast<int>(pid));
    row("RSS", m.rss_bytes, "");
    row("  anonymous", m.anon_bytes, "heap, stacks, written data");
    row("  file", m.file_bytes, "text and mapped files, shared with other processes");
    row("page tables", m.page_table_bytes, "VmPTE");
    row("kernel stacks", m.kernel_stack_bytes, threads.c_str());
    row("together", m.together(), "");
    row("(address space", m.virtual_bytes, "costs nothing by itself)");
    printf("whole machine, bytes: every process, both ends of loopback connections\n");
    row("slab", all.slab_bytes, "sockets, tasks, VMAs, epoll entries, files");
    row("TCP buffers", all.tcp_buffer_bytes, "");
    row("kernel stacks", all.kernel_stack_bytes, "to check the line above against");
    row("page tables", all.page_table_bytes, "");
    row("available", all.available_bytes, "");
}

void print_line(pid_t pid, const perf::process_memory &m, const perf::machine_memory &all) {
    printf(
        "memory pid=%d rss=%lld anon=%lld file=%lld page_tables=%lld kernel_stacks=%lld "
        "threads=%lld virtual=%lld machine_slab=%lld machine_tcp=%lld machine_kernel_stacks=%lld "
        "machine_page_tables=%lld machine_available=%lld\n",
        static_cast<int>(pid), static_cast<long long>(m.rss_bytes),
        static_cast<long long>(m.anon_bytes), static_cast<long long>(m.file_bytes),
        static_cast<long long>(m.page_table_bytes), static_cast<long long>(m.kernel_stack_bytes),
        static_cast<long long>(m.threads), static_cast<long long>(m.virtual_bytes),
        static_cast<long long>(all.slab_bytes), static_cast<long long>(all.tcp_buffer_bytes),
        static_cast<long long>(all.kernel_stack_bytes),
        static_cast<long long>(all.page_table_bytes), static_cast<long long>(all.available_bytes));
}

} // namespace

int main(int argc, char **argv) {
    pid_t pid = getpid();
    bool as_line = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--kv") == 0) {
            as_line = true;
        } else if (argv[i][0] == '-') {
            fprintf(stderr, "usage: mem_probe [PID] [--kv]\n");
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        } else {
            pid = static_cast<pid_t>(perf::parse_number("PID", argv[i], 1, 1 << 22));
        }
    }
    perf::process_memory memory;
    perf::machine_memory machine;
    if (!perf::read_process_memory(pid, &memory)) {
        fprintf(stderr, "mem_probe: process %d: %s\n", static_cast<int>(pid), strerror(errno));
        return 1;
    }
    if (!perf::read_machine_memory(&machine)) {
        fprintf(stderr, "mem_probe: /proc/meminfo: %s\n", strerror(errno));
        return 1;
    }
    if (as_line)
        print_line(pid, memory, machine);
    else
        print_table(pid, memory, machine);
    return 0;
}
