// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/symbol_names.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/check.h"
#include "co_routine/base/sanitizer.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/debug/symbol_file.h"
#include "co_routine/debug/unwinder.h"

#include <sys/auxv.h>

namespace corun {
namespace {

// A few objects have most of the frames; of what else is asked the oldest goes.
struct object {
    const void *base = nullptr;
    symbol_file file;
    bool has_names = false;
};
constinit object objects[32];
unsigned next_object;

// A table of symbols is looked through from its beginning to its end, and threads wait in few places.
struct found_name {
    uintptr_t pc;
    Dl_info code; // dli_fname nullptr: of no object
};
constexpr size_t most_names = 2048;
found_name names[most_names];

bool busy;                    // atomic: one thread at a time
thread_local bool looks_here; // this one
thread_local bool fork_holds_turn;

bool take_turn() {
    if (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE))
        return false;
    san_acquire(&busy);
    return true;
}
void give_turn_back() {
    san_release(&busy);
    __atomic_clear(&busy, __ATOMIC_RELEASE);
}

void forget_all() {
    for (object &o : objects) {
        o.file.close();
        o.base = nullptr;
    }
    for (found_name &n : names)
        n = {};
}

// ---- fork

void before_fork() { fork_holds_turn = take_turn(); }

void after_fork_in_parent() {
    if (fork_holds_turn)
        give_turn_back();
}

// What another thread was in the middle of is not to be trusted: its mappings are left where they are.
void after_fork_in_child() {
    if (looks_here)
        return; // a handler has forked
    if (!fork_holds_turn) {
        for (object &o : objects)
            o = {};
        forget_all();
    }
    give_turn_back();
}

__attribute__((constructor)) void prepare_for_fork() {
    at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
}

// ----

bool is_program(const void *base) {
    ElfW(Ehdr) header;
    return copy_from_user(&header, base, sizeof header) &&
           getauxval(AT_PHDR) == reinterpret_cast<uintptr_t>(base) + header.e_phoff;
}

const object &object_at(const void *base, const char *path) {
    for (const object &o : objects)
        if (o.base == base)
            return o;
    object &o = objects[next_object++ % (sizeof objects / sizeof *objects)];
    if (o.base)
        for (found_name &n : names) // which stand in its file
            n = {};
    o.base = base;
    if (is_program(base))
        path = "/proc/self/exe";
    o.has_names = path[0] == '/' && o.file.open(path); // else relative to where it was loaded
    if (o.has_names && !o.file.begins_as(base)) {      // replaced since then
        o.file.close();
        o.has_names = false;
    }
    return o;
}

const Dl_info &look_up(uintptr_t pc) {
    found_name &n = names[(pc ^ pc >> 11) % most_names];
    if (n.pc == pc)
        return n.code;
    Dl_info found{};
    if (!code_info(reinterpret_cast<const void *>(pc), &found))
        found.dli_fname = nullptr;
    if (found.dli_fname && !found.dli_sname) {
        const object &o = object_at(found.dli_fbase, found.dli_fname);
        uintptr_t distance = 0, offset = pc - reinterpret_cast<uintptr_t>(found.dli_fbase);
        found.dli_sname = o.has_names ? o.file.name_of(offset, &distance) : nullptr;
        found.dli_saddr = reinterpret_cast<void *>(pc - distance);
    }
    n = {pc, found}; // after that: another object's file may have emptied the table
    return n.code;
}

// Not a spin lock: a look takes milliseconds, and a handler may have interrupted another one.
class turn {
  public:
    turn() : mine_(take_turn()) { looks_here |= mine_; }
    ~turn() {
        if (!mine_)
            return;
        looks_here = false;
        give_turn_back();
    }
    turn(const turn &) = delete;
    turn &operator=(const turn &) = delete;
    bool is_mine() const { return mine_; }

  private:
    bool mine_;
};

} // namespace

bool name_code(uintptr_t pc, code_name *out) {
    turn t;
    Dl_info found{};
    if (t.is_mine())
        found = look_up(pc);
    else if (!code_info(reinterpret_cast<const void *>(pc), &found))
        found.dli_fname = nullptr;
    out->file = found.dli_fname;
    out->base = reinterpret_cast<uintptr_t>(found.dli_fbase);
    out->begin = reinterpret_cast<uintptr_t>(found.dli_saddr);
    out->function[0] = '\0';
    if (found.dli_fname && found.dli_sname)
        format_line(out->function, sizeof out->function, "%s", found.dli_sname);
    return out->file != nullptr;
}

void forget_names() {
    turn t;
    if (t.is_mine())
        forget_all();
}

} // namespace corun
