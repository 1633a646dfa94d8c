// SPDX-License-Identifier: Apache-2.0
// shapes_prog LIBSHAPES: loads it, calls each of its functions, has it patched, calls them again: the
// results are the same, and now the calls come through the slots. Under libnative_waist.so.
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

namespace {

constexpr long parent = 0; // as a result: the parent's process id

struct expected {
    const char *name;
    long argument = 0;
    long long result = parent;
    unsigned long calls = 1; // through slots, once it is patched
};

const expected shapes[] = {
    {"plain"},
    {"entered_at_syscall"},
    {"entered_at_syscall", 1},
    {"entered_on_both_sides", 0, parent, 0},
    {"entered_by_table"},
    {"entered_by_table", 1},
    {"entered_by_neighbour"},
    {"neighbour_below"},
    {"between_push_and_pop", 0, parent, 0},
    {"between_call_and_return", 0, parent, 0},
    {"repeats", 1},
    {"repeats", 5, parent, 5},
    {"branches_behind"},
    {"branches_behind", 1, -1},
    {"funnel"},
    {"relative_operand", 0, 0x1122334455667788},
    {"relative_operand", 1, 0x1122334455667788},
    {"number_with_bytes", 0, 0x11050f22, 0},
    {"ends_early"},
    {"undecodable", 0, parent, 0},
    {"keeps_flags_and_red_zone", 0, 1},
};

int failures;

void run(void *library, unsigned long (*calls)(), bool is_patched) {
    for (const expected &e : shapes) {
        auto function = reinterpret_cast<long (*)(long)>(dlsym(library, e.name));
        if (!function) {
            printf("%s: missing\n", e.name);
            ++failures;
            continue;
        }
        long long wanted = e.result == parent ? getppid() : e.result;
        unsigned long before = calls();
        long result = function(e.argument);
        unsigned long made = calls() - before;
        if (result == wanted && made == (is_patched ? e.calls : 0))
            continue;
        printf("%s(%ld): %ld, not %lld; %lu calls through slots\n", e.name, e.argument, result,
               wanted, made);
        ++failures;
    }
}

} // namespace

int main(int argc, char **argv) {
    auto calls = reinterpret_cast<unsigned long (*)()>(dlsym(RTLD_DEFAULT, "native_waist_calls"));
    auto patch = reinterpret_cast<int (*)(const void *, unsigned *)>(
        dlsym(RTLD_DEFAULT, "native_waist_patch"));
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : nullptr;
    if (!calls || !patch || !library) {
        printf("not preloaded, or no library: %s\n", argc > 1 ? dlerror() : "");
        return 1;
    }
    run(library, calls, false);
    auto *map = static_cast<link_map *>(library);
    unsigned patched = 0;
    int r = patch(reinterpret_cast<const void *>(map->l_addr), &patched);
    if (r != 0 || patched != 10) {
        printf("patch: %d, %u sites\n", r, patched);
        ++failures;
    }
    run(library, calls, true);
    printf("%d failures\n", failures);
    return failures != 0;
}
