// SPDX-License-Identifier: Apache-2.0
#include "perf/stackmem/table.h"

#include "perf/process.h"

#include <cmath>

namespace stackmem {
namespace {

std::string each(int64_t bytes, int64_t made) {
    if (made == 0)
        return "-";
    return perf::with_commas(std::llround(static_cast<double>(bytes) / static_cast<double>(made)));
}

std::string time_of(double ns) {
    if (ns < 0)
        return "-";
    if (ns >= 100)
        return perf::with_commas(std::llround(ns));
    char text[32];
    snprintf(text, sizeof text, "%.1f", ns);
    return text;
}

void columns(const char *kind_name, const char *count, const std::string (&words)[12]) {
    constexpr int widths[12] = {8, 8, 8, 8, 8, 8, 7, 9, 8, 8, 9, 9};
    printf("%-11s %9s", kind_name, count);
    for (size_t i = 0; i < std::size(words); i++)
        printf("%*s", widths[i], words[i].c_str());
    printf("\n");
}

// The promise of the project's first issue, said where it is measured.
void print_target(const plan &p, const measurement &m) {
    if (p.what.how != way::shared_stack || m.made < 1000000 || p.live_bytes > 200)
        return;
    int64_t bytes = (m.rss + m.made / 2) / m.made;
    printf("%21s  target: at most 600 bytes of RSS each%s\n", "",
           bytes > 600 ? ": MISSED" : ", met");
}

} // namespace

void print_group(const options &o, long live_bytes) {
    printf("\n%s bytes live in %ld frame%s, written: %s; stacks of %s\n\n",
           perf::with_commas(live_bytes).c_str(), o.depth, o.depth == 1 ? "" : "s",
           word_of(o.touched), short_size(o.stack_bytes).c_str());
    columns("", "",
            {"", "page", "kernel", "slab,", "of RSS:", "save", "ctl.", "", "two in", "in", "", ""});
    columns("kind", "count",
            {"RSS", "tables", "stack", "all", "saved", "buffer", "block", "create", "turn", "order",
             "shuffled", "end"});
}

void print_row(const plan &p, const measurement &m) {
    bool shared = p.what.how == way::shared_stack, threads = p.what.how == way::thread;
    columns(p.what.name, perf::with_commas(m.made).c_str(),
            {each(m.rss, m.made), each(m.page_tables, m.made), each(m.kernel_stacks, m.made),
             each(m.slab, m.made), shared ? each(m.saved, m.made) : "-",
             shared ? each(m.save_buffers, m.made) : "-",
             threads ? "-" : perf::with_commas(m.control_block), time_of(m.create_ns),
             time_of(m.two_ns), time_of(m.order_ns), time_of(m.shuffled_ns), time_of(m.end_ns)});
    if (m.stopped_by[0] != '\0')
        printf("%12s stops at %s of %s: %s; raise: %s\n", "", perf::with_commas(m.made).c_str(),
               perf::with_commas(p.count).c_str(), m.stopped_by, m.raise);
    if (m.unguarded > 0)
        printf("%12s %s of them have no guard: the kernel has no MADV_GUARD_INSTALL (Linux 6.13)\n",
               "", perf::with_commas(m.unguarded).c_str());
    print_target(p, m);
}

void print_explanation() {
    printf("Bytes of each suspended coroutine or waiting thread, and ns: to create one and run it "
           "until it is\n"
           "suspended; to run a suspended one until it is suspended again (two switches), of two "
           "in turn, of\n"
           "all in order and shuffled; to let it end and free it. Slab is the whole machine's, "
           "others in it.\n");
}

} // namespace stackmem
