// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/program.h"

#include "co_hook/launcher/text.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

constexpr int most_interpreters = 4; // the kernel's own limit
constexpr size_t first_bytes = 256;  // what the kernel reads of a script's first line

[[noreturn]] void not_executable(const char *path, int error) {
    fail(error == ENOENT || error == ENOTDIR ? exit_not_found : exit_not_executable, "%s: %s", path,
         strerror(error));
}

// 0, or why it cannot be executed.
int executable(const char *path) {
    struct stat about;
    if (stat(path, &about) != 0)
        return errno;
    if (!S_ISREG(about.st_mode))
        return S_ISDIR(about.st_mode) ? EISDIR : EACCES;
    return access(path, X_OK) == 0 ? 0 : errno;
}

// As execvp: a name without a slash is looked for in PATH, and one that may not be executed is
// remembered in case no other is found.
const char *in_path(const char *name) {
    if (strchr(name, '/') != nullptr) {
        int error = executable(name);
        if (error != 0)
            not_executable(name, error);
        return name;
    }
    const char *list = getenv("PATH");
    if (list == nullptr)
        list = "/bin:/usr/bin";
    bool denied = false;
    while (char *directory = next_part(&list, ":")) {
        const char *path = *directory == '\0' ? name : text("%s/%s", directory, name);
        int error = executable(path);
        if (error == 0)
            return path;
        denied = denied || error == EACCES || error == EISDIR;
    }
    not_executable(name, denied ? EACCES : ENOENT);
}

const char *privilege_of(const char *path) {
    struct stat about;
    if (stat(path, &about) != 0)
        return nullptr;
    if (about.st_mode & S_ISUID)
        return "setuid";
    if ((about.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        return "setgid";
    return getxattr(path, "security.capability", nullptr, 0) > 0 ? "file capabilities" : nullptr;
}

// argv with `words` in the place of argv[0], as the kernel does for scripts.
char **replaced(char **words, size_t word_count, char **arguments) {
    size_t count = 0;
    while (arguments[count] != nullptr)
        count++;
    auto **made = static_cast<char **>(memory((word_count + count + 1) * sizeof(char *)));
    memcpy(made, words, word_count * sizeof(char *));
    if (count > 1)
        memcpy(made + word_count, arguments + 1, (count - 1) * sizeof(char *));
    return made;
}

struct first_line {
    char *interpreter, *argument; // argument: nullptr, or all the rest of the line
};

// False: it names no interpreter.
bool read_first_line(const char *bytes, first_line *out) {
    *out = {};
    const char *at = bytes + 2;
    size_t length = strcspn(at, "\n");
    while (length > 0 && strchr(" \t\r", at[length - 1]) != nullptr)
        length--;
    char *line = text_of(at, length);
    line += strspn(line, " \t");
    size_t name = strcspn(line, " \t");
    out->interpreter = text_of(line, name);
    char *rest = line + name + strspn(line + name, " \t");
    out->argument = *rest == '\0' ? nullptr : rest;
    return name > 0;
}

// The words that env would execute, when its argument is simple: "X" or "-S X Y Z". 0: it is not.
size_t env_words(const first_line &line, char **words, size_t most) {
    const char *argument = line.argument;
    if (!same(base_name(line.interpreter), "env") || argument == nullptr)
        return 0;
    bool split = begins(argument, "-S");
    if (split)
        argument += 2 + strspn(argument + 2, " \t");
    if (*argument == '-' || *argument == '\0' || strpbrk(argument, "\"'\\$#=") != nullptr ||
        (!split && strpbrk(argument, " \t") != nullptr))
        return 0;
    size_t count = 0;
    for (const char *rest = argument; char *word = next_part(&rest, " \t");)
        if (*word != '\0') {
            if (count == most)
                return 0;
            words[count++] = word;
        }
    return count;
}

bool is_one_of(const char *path, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (same(base_name(path), names[i]))
            return true;
    return false;
}

struct walk {
    program found = {};
    char *first = nullptr; // the first bytes of `found.file`
    size_t length = 0;

    void look_at(const char *path);
    bool step();
};

void walk::look_at(const char *path) {
    found.file = path;
    const char *privilege = privilege_of(path);
    if (privilege != nullptr && found.privilege == nullptr) {
        found.privilege = privilege;
        found.privileged_file = path;
    }
    // Executable and not readable: nothing can be said of it but that it is no script.
    if (open_elf(path, &found.elf)) {
        found.other = nullptr;
        return;
    }
    first = static_cast<char *>(memory(first_bytes + 1));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, first, first_bytes);
    if (fd >= 0)
        close(fd);
    length = n < 0 ? 0 : static_cast<size_t>(n);
    found.other = fd < 0 ? "a file that cannot be read"
                         : other_kind(reinterpret_cast<unsigned char *>(first), length);
    if (found.other == nullptr) // the header says x86_64, and it could not be mapped
        found.other = "a damaged file";
}

// From a script to what runs it. False: that was the end of the way.
bool walk::step() {
    first_line line;
    bool script_file = found.other != nullptr && same(found.other, "script");
    bool has_interpreter = script_file && read_first_line(first, &line);
    if (found.other != nullptr && (same(found.other, "text") || script_file != has_interpreter)) {
        // execvp's own rule for a file without a first line that the kernel knows.
        char *words[] = {const_cast<char *>("/bin/sh"), const_cast<char *>(found.file)};
        found.arguments = replaced(words, 2, found.arguments);
        found.script = found.script == nullptr ? found.file : found.script;
        found.path = words[0];
        look_at(words[0]);
        return false;
    }
    if (!has_interpreter)
        return false;
    const char *script = found.file;
    found.script = found.script == nullptr ? script : found.script;
    char *words[32];
    size_t count = env_words(line, words, 30);
    if (count > 0 && found.path == script) {
        found.path = in_path(words[0]);
        words[count++] = const_cast<char *>(script);
        found.arguments = replaced(words, count, found.arguments);
        look_at(found.path);
        return true;
    }
    int error = executable(line.interpreter);
    if (error != 0)
        fail(exit_not_executable, "%s: its interpreter %s: %s", script, line.interpreter,
             strerror(error));
    look_at(line.interpreter);
    return true;
}

} // namespace

program find_program(char **command) {
    walk w;
    w.found.path = in_path(command[0]);
    w.found.arguments = command;
    w.look_at(w.found.path);
    for (int steps = 0; w.step(); steps++)
        if (steps == most_interpreters)
            fail(exit_not_executable, "%s: more than %d interpreters, one behind the other",
                 command[0], most_interpreters);
    return w.found;
}

bool is_wrapper(const char *path) {
    static const char *const names[] = {"chpst",    "chroot",  "chrt",    "env",
                                        "gdb",      "ionice",  "ltrace",  "nice",
                                        "nohup",    "numactl", "prlimit", "runuser",
                                        "setarch",  "setpriv", "setsid",  "start-stop-daemon",
                                        "stdbuf",   "strace",  "su",      "sudo",
                                        "taskset",  "time",    "timeout", "unshare",
                                        "valgrind", "xargs"};
    return is_one_of(path, names, sizeof names / sizeof *names);
}

bool is_shell(const char *path) {
    static const char *const names[] = {"ash", "bash", "busybox", "dash", "fish",
                                        "ksh", "mksh", "sh",      "tcsh", "zsh"};
    return is_one_of(path, names, sizeof names / sizeof *names);
}

} // namespace corun::launcher
