// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/check.h"

#include "co_hook/launcher/environment.h"
#include "co_hook/launcher/text.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace corun::launcher {

namespace {

constexpr char loader_name[] = "ld-linux-x86-64.so.2";

// "2.36" as 2036; 0: not a version.
long version_number(const char *version) {
    char *end = nullptr;
    long major = version == nullptr ? 0 : strtol(version, &end, 10);
    return major == 0 || *end != '.' ? 0 : major * 1000 + strtol(end + 1, nullptr, 10);
}

// The newest libc that libcorun_waist.so was linked with names from.
const char *newest_needed(const elf_file &waist) {
    constexpr char prefix[] = "GLIBC_";
    const char *newest = nullptr;
    for (size_t i = 0; const char *name = waist.needed_version(i); i++) {
        const char *version = begins(name, prefix) ? name + sizeof prefix - 1 : nullptr;
        if (version_number(version) > version_number(newest))
            newest = version;
    }
    return newest;
}

void judge_privilege(const program &p, findings *out) {
    if (p.privilege == nullptr)
        return;
    bool capabilities = same(p.privilege, "file capabilities");
    out->add(weight::never,
             text("%s %s %s, and the loader ignores what is preloaded into such a program",
                  same(p.privileged_file, p.path) ? "it" : p.privileged_file,
                  capabilities ? "has" : "is", p.privilege),
             "start it without corun, or start a copy without privileges as the user it is to be");
}

void judge_libc(const subject &s, findings *out) {
    if (s.libc == nullptr || s.libc->path == nullptr || s.waist == nullptr)
        return;
    elf_file waist;
    const char *has = libc_version(s.libc->elf);
    const char *wants = open_elf(s.waist, &waist) ? newest_needed(waist) : nullptr;
    if (version_number(has) != 0 && version_number(has) < version_number(wants))
        out->add(weight::cannot,
                 text("it is loaded with glibc %s (%s), and this corun needs %s", has, s.libc->path,
                      wants),
                 "build corun on the system that the program runs on");
}

// Run times that keep accounts of threads and stacks of their own.
void judge_run_time(const elf_file &e, findings *out) {
    static const struct {
        const char *symbol, *name;
    } sanitizers[] = {{"__asan_init", "AddressSanitizer"},
                      {"__tsan_init", "ThreadSanitizer"},
                      {"__msan_init", "MemorySanitizer"},
                      {"__hwasan_init", "HWAddressSanitizer"}};
    for (const auto &s : sanitizers)
        if (e.mentions(s.symbol))
            out->add(weight::cannot,
                     text("it is built with %s, which must be loaded first", s.name),
                     "build it without for corun");
    if (e.has_section(".note.go.buildid") || e.has_section(".go.buildinfo"))
        out->add(weight::cannot, "it is a Go program, which has coroutines and stacks of its own",
                 "there is nothing to gain; start it without corun");
}

void judge_loading(const elf_file &e, findings *out) {
    elf_file loader;
    if (e.interpreter == nullptr && e.soname != nullptr && same(e.soname, loader_name))
        out->add(weight::cannot, "it is the dynamic loader itself",
                 "name the program that it is to load");
    else if (e.interpreter == nullptr)
        out->add(weight::cannot, "it is a static program, into which nothing can be preloaded",
                 "link it dynamically, or build it with libcorun.a");
    else if (!same(base_name(e.interpreter), loader_name))
        out->add(
            weight::cannot,
            text("it is loaded by %s; corun knows glibc's %s only", e.interpreter, loader_name),
            strstr(e.interpreter, "musl") != nullptr ? "it is built for musl: build it for glibc"
                                                     : "build it for glibc");
    else if (!open_elf(e.interpreter, &loader))
        out->add(weight::cannot,
                 text("its loader %s: %s", e.interpreter,
                      errno == 0 ? "no x86_64 ELF file" : strerror(errno)),
                 "install the libc that it was built for");
    else if (loader.soname == nullptr || !same(loader.soname, loader_name))
        out->add(weight::cannot, text("its loader %s is not glibc's", e.interpreter),
                 "build it for glibc");
}

void judge_rivals(const subject &s, findings *out) {
    const char *found = rival_in_preload();
    for (size_t i = 0; i < s.libraries.count && found == nullptr; i++)
        if (is_rival(s.libraries.items[i].name))
            found = s.libraries.items[i].name;
    if (found != nullptr)
        out->add(weight::cannot, text("it has coroutines of its own already (%s)", found),
                 "run it without corun; a process has the one or the other");
}

void judge_machine(const machine &m, findings *out) {
    if (m.forbidden != nullptr && (m.deny_write_exec || begins(m.forbidden, "mprotect")))
        out->add(
            weight::cannot,
            text("MemoryDenyWriteExecute or its like forbids to change code (%s)", m.forbidden),
            "MemoryDenyWriteExecute=no in the service's unit, or execmem in its SELinux policy");
    else if (m.forbidden != nullptr)
        out->add(weight::cannot, text("what corun needs is forbidden here (%s)", m.forbidden),
                 m.seccomp_filter ? "allow it in the seccomp filter" : nullptr);
    else if (m.deny_write_exec)
        out->add(weight::cannot, "MemoryDenyWriteExecute forbids to change code",
                 "MemoryDenyWriteExecute=no in the service's unit");
}

} // namespace

void findings::add(weight is, const char *what, const char *advice) {
    if (count < most)
        items[count++] = {is, what, advice};
}

const finding *findings::reason() const {
    const finding *found = nullptr;
    for (size_t i = 0; i < count; i++)
        if (items[i].is != weight::note && (found == nullptr || items[i].is > found->is))
            found = &items[i];
    return found;
}

subject look_at(char **command) {
    subject s = {};
    s.what = find_program(command);
    s.where = look_at_machine();
    // A filter may kill for the call by which it is found.
    bool may_look = s.where.forbidden == nullptr || !begins(s.where.forbidden, "readlink:");
    s.waist_looked = "not looked for";
    if (may_look)
        s.waist = find_waist(&s.waist_looked);
    if (s.what.elf.good()) {
        s.libraries = libraries_of(s.what.elf, s.what.file);
        s.libc = s.libraries.find("libc.so.6");
    }
    return s;
}

void judge(const subject &s, findings *out) {
    judge_privilege(s.what, out);
    if (!s.what.elf.good()) {
        const char *advice = s.what.other != nullptr && strstr(s.what.other, "i386") != nullptr
                                 ? "build it for x86_64, or with libcorun.a for i386"
                                 : "corun is for x86_64 programs of glibc";
        out->add(weight::cannot,
                 text("it is %s", s.what.other == nullptr ? "damaged" : s.what.other), advice);
        return;
    }
    judge_loading(s.what.elf, out);
    judge_libc(s, out);
    judge_run_time(s.what.elf, out);
    judge_rivals(s, out);
    judge_machine(s.where, out);
    if (s.waist == nullptr)
        out->add(weight::cannot, text("libcorun_waist.so is not there (%s)", s.waist_looked),
                 "it comes with make, where libcapstone-dev is installed, and with make install");
}

} // namespace corun::launcher
