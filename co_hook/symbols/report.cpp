// SPDX-License-Identifier: Apache-2.0
// co_hook_is_hooked and co_hook_report: which names really lead to us.
//
//     corun: hooks in server
//     name             treatment    family       leads to     used by
//     accept           waits        descriptors  corun        server, libmariadb.so.3
//     poll             waits        readiness    corun        server, libfoo.so.1 (-> libbar.so.2)
//     imported, may block, not covered
//     name             used by                     why
//     ftok             server                      ...
//     corun: 118 names, 118 in effect
#include "co_hook/symbols/hook.h"
#include "co_hook/symbols/references.h"
#include "co_hook/symbols/table.h"
#include "co_hook/symbols/uncovered.h"

#include "co_routine/base/check.h"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>

namespace corun::symbols {
namespace {

// One name, a hook's or an uncovered one.
struct known {
    const char *name;
    const hook_entry *entry; // nullptr: uncovered
    const char *why;
    unsigned family;
};

struct listing {
    raw_vector<known> names;
    raw_vector<const char *> sorted; // the same order
    references refs;

    bool gather();
    void *global(size_t i) const {
        return refs.is_static ? nullptr : dlsym(RTLD_DEFAULT, sorted[i]);
    }
    bool is_ours(size_t i, void *target) const;
    bool program_is_ours(size_t i) const;
    const char *owner_of(void *target) const;

  private:
    bool add(const known &k) { return names.push_back(k); }
};

// Entries of hooks first; of a name that has become a hook the uncovered entry is left out.
bool listing::gather() {
    table_list list = all_tables();
    bool room = true;
    for (size_t t = 0; t < list.count; ++t)
        for (size_t i = 0; i < list.tables[t]->count; ++i) {
            const hook_entry &e = list.tables[t]->entries[i];
            room &= names.push_back({e.name, &e, nullptr, list.tables[t]->family});
        }
    for (const uncovered_name &u : uncovered)
        room &= names.push_back({u.name, nullptr, u.why, 0});
    for (size_t gap = names.size() / 2; gap > 0; gap /= 2)
        for (size_t i = gap; i < names.size(); ++i)
            for (size_t j = i; j >= gap && strcmp(names[j].name, names[j - gap].name) < 0;
                 j -= gap) {
                known swapped = names[j];
                names[j] = names[j - gap];
                names[j - gap] = swapped;
            }
    size_t kept = 0;
    for (size_t i = 0; i < names.size(); ++i)
        if (kept != 0 && strcmp(names[i].name, names[kept - 1].name) == 0) {
            if (names[i].entry)
                names[kept - 1] = names[i];
        } else {
            names[kept++] = names[i];
        }
    while (names.size() > kept)
        names.pop_back();
    for (size_t i = 0; i < names.size(); ++i)
        room &= sorted.push_back(names[i].name);
    return room && refs.gather(sorted.data(), sorted.size(), list.tables[0]->entries[0].ours);
}

const reference *program_reference(const references &refs, size_t name) {
    for (size_t i = 0; i < refs.found.size(); ++i)
        if (refs.found[i].name == name && refs.objects[refs.found[i].object].program)
            return &refs.found[i];
    return nullptr;
}

// A fixed-address program's own linkage entry stands for the function: then what that leads to.
bool listing::is_ours(size_t i, void *target) const {
    if (target == names[i].entry->ours)
        return true;
    const loaded_object *in = refs.object_at(target);
    if (!in || !in->program || !is_stand_in(target))
        return false;
    const reference *p = program_reference(refs, i);
    return p && (p->target == names[i].entry->ours);
}

bool listing::program_is_ours(size_t i) const {
    if (refs.is_static)
        return names[i].entry->is_chosen();
    if (const reference *p = program_reference(refs, i))
        if (!is_stand_in(p->target))
            return is_ours(i, p->target);
    void *found = global(i);
    return !found || is_ours(i, found) || is_stand_in(found);
}

const char *listing::owner_of(void *target) const {
    const loaded_object *in = target ? refs.object_at(target) : nullptr;
    return in ? in->name : "nothing";
}

// ---- Writing

struct sink {
    FILE *file; // nullptr: descriptor 2
    char line[1024];
    unsigned length = 0;

    void add(const char *text, unsigned width = 0) {
        unsigned begin = length;
        while (*text && length < sizeof line - 2)
            line[length++] = *text++;
        while (length < begin + width && length < sizeof line - 2)
            line[length++] = ' ';
    }
    void end() {
        while (length > 0 && line[length - 1] == ' ')
            --length;
        line[length++] = '\n';
        if (file)
            fwrite(line, 1, length, file);
        else
            sys::write(2, line, length);
        length = 0;
    }
};

constexpr unsigned name_width = 28, treatment_width = 12, family_width = 13, leads_width = 16,
                   users_width = 32;

const char *treatment_word(treatment t) {
    switch (t) {
    case treatment::E:
        return "waits";
    case treatment::T:
        return "sleeps";
    case treatment::P:
        return "coroutines";
    case treatment::O:
        return "helper";
    case treatment::B:
        return "noted";
    }
    return "?";
}

const char *family_word(unsigned family) {
    static const char *const words[] = {
        "descriptors", "read",   "write", "copy",  "readiness",  "sleep", "signals",
        "children",    "names",  "users", "locks", "files",      "stdio", "ipc",
        "threads",     "locals", "raw",   "aio",   "environment"};
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; ++i)
        if (family == 1U << i)
            return words[i];
    return "?";
}

// The objects that import it; those that are led elsewhere say where. True: all lead to us.
bool add_users(const listing &l, size_t i, sink &out) {
    bool all = true, first = true;
    for (size_t r = 0; r < l.refs.found.size(); ++r) {
        const reference &ref = l.refs.found[r];
        if (ref.name != i)
            continue;
        out.add(first ? "" : ", ");
        first = false;
        out.add(l.refs.objects[ref.object].name);
        if (!l.names[i].entry || l.is_ours(i, ref.target))
            continue;
        all = false;
        out.add(" (-> ");
        out.add(l.owner_of(ref.target));
        out.add(")");
    }
    return all;
}

bool write_hook(const listing &l, size_t i, sink &out) {
    const known &k = l.names[i];
    out.add(k.name, name_width);
    out.add(treatment_word(k.entry->how), treatment_width);
    out.add(family_word(k.family), family_width);
    bool ours = l.program_is_ours(i);
    out.add(ours ? "corun" : l.refs.is_static ? "libc" : l.owner_of(l.global(i)), leads_width);
    bool users = add_users(l, i, out);
    if (l.refs.is_static)
        out.add("(the linker)");
    out.end();
    return ours && users;
}

bool is_imported(const listing &l, size_t i) {
    for (size_t r = 0; r < l.refs.found.size(); ++r)
        if (l.refs.found[r].name == i)
            return true;
    return false;
}

void write_uncovered(const listing &l, sink &out) {
    bool headed = false;
    for (size_t i = 0; i < l.names.size(); ++i) {
        if (l.names[i].entry || !is_imported(l, i))
            continue;
        if (!headed) {
            out.add("imported, may block, not covered");
            out.end();
        }
        headed = true;
        out.add(l.names[i].name, name_width);
        unsigned begin = out.length;
        add_users(l, i, out);
        out.add("", begin + users_width > out.length ? begin + users_width - out.length : 0);
        out.add(" ");
        out.add(l.names[i].why);
        out.end();
    }
}

int write_report(FILE *file) {
    listing l;
    sink out{file, {}, 0};
    if (!l.gather()) {
        out.add("corun: no memory for the report of hooks");
        out.end();
        return 0;
    }
    out.add("corun: hooks in ");
    out.add(l.refs.objects[0].name);
    out.add(l.refs.is_static ? " (static)" : "");
    out.end();
    out.add("name", name_width);
    out.add("treatment", treatment_width);
    out.add("family", family_width);
    out.add("leads to", leads_width);
    out.add("used by");
    out.end();
    unsigned hooks = 0, lost = 0;
    for (size_t i = 0; i < l.names.size(); ++i)
        if (l.names[i].entry) {
            ++hooks;
            lost += write_hook(l, i, out) ? 0 : 1;
        }
    write_uncovered(l, out);
    out.length =
        format_line(out.line, sizeof out.line - 2, "corun: %u names, %u in effect%s", hooks,
                    hooks - lost, lost ? ": see the arrows and what leads elsewhere" : "");
    out.end();
    return static_cast<int>(lost);
}

} // namespace

void report_on_stderr() { write_report(nullptr); }

} // namespace corun::symbols

using namespace corun;

int co_hook_is_hooked(const char *name) {
    symbols::listing l;
    if (!name || !l.gather())
        return -1;
    for (size_t i = 0; i < l.names.size(); ++i)
        if (l.names[i].entry && strcmp(l.names[i].name, name) == 0)
            return l.program_is_ours(i) ? 1 : 0;
    return -1;
}

int co_hook_report(FILE *out) { return symbols::write_report(out); }
