// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/sites.h"

#include "co_hook/waist/decoder.h"
#include "co_hook/waist/function.h"
#include "co_hook/waist/scan.h"
#include "co_hook/waist/slots.h"

#include <cerrno>
#include <sys/syscall.h>

namespace corun::waist {
namespace {

constexpr unsigned jump_bytes = 5;
constexpr uintptr_t short_reach = 130; // how far away a rel8 branch can begin

// What a slot holds: in front all of 15 bytes; behind, 22 with the jump back, where a short jcc as
// the last instruction grows by four.
constexpr unsigned most_before = CORUN_SLOT_ENTER - 1;
constexpr unsigned most_after = CORUN_SLOT_SITE - CORUN_SLOT_LEAVE - jump_bytes - 4;

const uint8_t *bytes_at(uintptr_t address) { return reinterpret_cast<const uint8_t *>(address); }

const char *const into_middle = "a branch leads into the bytes that the jump would take";
const char *const no_function =
    "neither the unwind table nor a symbol says where its function begins";
const char *const breakpoint = "a debugger's breakpoint stands in its function: set it later";
const char *const not_decoded = "the decoder does not know an instruction in front of it";

// The instructions next to a site that may be displaced: how many bytes the first k of them take.
struct movable {
    unsigned count = 0;
    unsigned bytes[most_before + 1] = {};
    const char *stopped = nullptr; // why there are no more
};

// Where instructions cannot be told from data: the number is loaded just in front of it, or what
// follows looks at the result as libc does. Two bytes in 65,536 of anything are a syscall.
bool looks_like_a_call(const image &img, uintptr_t address, int *number) {
    if (segment_of(img, address - 5, 7)) {
        const uint8_t *mov = bytes_at(address) - 5; // mov $number, %eax
        if (mov[0] == 0xb8 && mov[2] <= 3 && !mov[3] && !mov[4]) {
            *number = mov[1] | mov[2] << 8;
            return true;
        }
        const uint8_t *copy = bytes_at(address) - 2; // mov register, %eax; xor %eax, %eax
        if ((copy[0] == 0x89 && (copy[1] & 0xc7) == 0xc0) ||
            (copy[0] == 0x8b && (copy[1] & 0xf8) == 0xc0) || (copy[0] == 0x31 && copy[1] == 0xc0))
            return true;
    }
    static constexpr uint8_t check[] = {0xf0, 0xff, 0xff}; // cmp $-4096 or -4095, %rax
    const uint8_t *behind = bytes_at(address) + syscall_bytes;
    return segment_of(img, address, 8) && behind[0] == 0x48 && behind[1] == 0x3d &&
           !__builtin_memcmp(behind + 3, check, sizeof check);
}

bool is_libc(const char *path) {
    const char *slash = __builtin_strrchr(path, '/');
    return __builtin_strcmp(slash ? slash + 1 : path, "libc.so.6") == 0;
}

class site_finder {
  public:
    explicit site_finder(const image &img) : image_(img), function_(img), neighbour_(img) {}
    int run(raw_vector<site> *out);

  private:
    bool examine(uintptr_t address, site *s);
    void choose_window(site *s);
    movable before(uintptr_t address);
    movable after(uintptr_t address);
    bool is_entered(uintptr_t start, uintptr_t end);
    bool is_entered_from(uintptr_t from, uintptr_t to, uintptr_t start, uintptr_t end);
    int number_at(uintptr_t address);

    // A site's function: what it takes for the site to be plain.
    struct owner {
        uintptr_t from;
        bool plain;
        bool exported;
    };
    static void note_exported(uintptr_t start, void *data);
    bool neighbours_keep_vectors(uintptr_t start);

    const image &image_;
    raw_vector<owner> owners_; // of each site
    code_scan scan_;
    function_map function_;
    function_map neighbour_; // of function_, where bytes look like a branch into its sites
};

int site_finder::run(raw_vector<site> *out) {
    size_t first = out->size();
    int r = scan_image(image_, &scan_);
    for (size_t i = 0; !r && i < scan_.syscalls.size(); ++i) {
        site s = {scan_.syscalls[i], site::unknown, 0, 0, false, nullptr};
        if (!examine(s.address, &s))
            continue;
        if (!out->push_back(s) || !owners_.push_back({function_.range().start, s.plain, false}))
            r = -ENOMEM;
        if (function_.failed() || neighbour_.failed())
            r = -ENOMEM;
    }
    each_function(image_, note_exported, this);
    bool libc = is_libc(image_.name);
    for (size_t i = 0; !r && i < owners_.size(); ++i) {
        const owner &o = owners_[i];
        bool as_before = i > 0 && owners_[i - 1].from == o.from; // another site of its function
        (*out)[first + i].plain =
            as_before ? (*out)[first + i - 1].plain
                      : o.exported || (libc && o.plain && !neighbours_keep_vectors(o.from));
    }
    return r;
}

// A function of libc's own is called from its own translation unit, whose code lies around it, and from
// others, which know as little of it as of an exported one.
bool site_finder::neighbours_keep_vectors(uintptr_t start) {
    constexpr uintptr_t reach = 64 * 1024; // no unit of libc's is as large
    const image_segment *s = segment_of(image_, start, 1);
    uintptr_t low = start - s->start > reach ? start - reach : s->start;
    uintptr_t high = s->end - start > reach ? start + reach : s->end;
    for (uintptr_t at = low; at + jump_bytes <= high; ++at) {
        const uint8_t *b = bytes_at(at);
        if (*b != 0xe8 && *b != 0xe9) // call, jmp
            continue;
        int32_t distance;
        __builtin_memcpy(&distance, b + 1, sizeof distance);
        if (at + jump_bytes + static_cast<uintptr_t>(static_cast<intptr_t>(distance)) != start)
            continue;
        if (!neighbour_.enter(at))
            return true;
        neighbour_.finish();
        if (neighbour_.uses_vectors())
            return true;
    }
    return false;
}

// Sites ascend, and so do their functions.
void site_finder::note_exported(uintptr_t start, void *data) {
    auto &owners = static_cast<site_finder *>(data)->owners_;
    size_t low = 0, high = owners.size();
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (owners[middle].from < start)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < owners.size() && owners[low].from == start; ++low)
        owners[low].exported |= owners[low].plain;
}

// False: the two bytes are no instruction.
bool site_finder::examine(uintptr_t address, site *s) {
    if (!function_.enter(address)) {
        s->reason = no_function;
        return looks_like_a_call(image_, address, &s->number);
    }
    if (!function_.is_start(address)) {
        bool is_stuck = function_.stopped_at() <= address;
        s->reason = is_stuck ? not_decoded : breakpoint;
        return (is_stuck || function_.has_breakpoint()) &&
               looks_like_a_call(image_, address, &s->number);
    }
    s->number = number_at(address);
    function_.finish();
    s->plain = !function_.uses_vectors();
    choose_window(s);
    return true;
}

movable site_finder::before(uintptr_t address) {
    movable m;
    for (uintptr_t at = address; (at = function_.previous(at)) != 0;) {
        instruction i;
        if (!decode(bytes_at(at), address - at, at, &i) || i.pinned ||
            i.branch != branch_kind::none || address - at > most_before) {
            m.stopped = i.pinned ? i.pinned : "is a branch";
            break;
        }
        m.bytes[++m.count] = static_cast<unsigned>(address - at);
    }
    return m;
}

movable site_finder::after(uintptr_t address) {
    movable m;
    uintptr_t end = function_.range().end;
    for (uintptr_t at = address; at < end;) {
        instruction i;
        if (!decode(bytes_at(at), end - at, at, &i) || i.pinned ||
            at + i.bytes - address > most_after) {
            m.stopped = i.pinned;
            break;
        }
        at += i.bytes;
        m.bytes[++m.count] = static_cast<unsigned>(at - address);
        if (i.branch != branch_kind::none)
            break;
    }
    return m;
}

// Something leads into [start, end).
bool site_finder::is_entered(uintptr_t start, uintptr_t end) {
    const code_range &f = function_.range();
    if (function_.is_target(start, end) || scan_.is_target(start, end))
        return true;
    // What the function does not cover, or the decoder did not.
    const image_segment *s = segment_of(image_, start, end - start);
    uintptr_t low = start - s->start < short_reach ? s->start : start - short_reach;
    uintptr_t high = s->end - end < short_reach ? s->end : end + short_reach;
    uintptr_t known = function_.stopped_at();
    return is_entered_from(low, f.start, start, end) ||
           is_entered_from(known > low ? known : low, high, start, end);
}

// By a rel8 branch in [from, to), which is not the function's: any bytes there may be one, unless
// the function that they belong to, decoded in its turn, has none at that place.
bool site_finder::is_entered_from(uintptr_t from, uintptr_t to, uintptr_t start, uintptr_t end) {
    for (uintptr_t at = from; (at = short_branch_into(at, to, start, end)) != 0; ++at) {
        if (!neighbour_.enter(at) || neighbour_.is_start(at) || neighbour_.stopped_at() <= at)
            return true;
        uintptr_t holder = neighbour_.previous(at);
        instruction i;
        if (!holder || !decode(bytes_at(holder), longest_instruction, holder, &i) ||
            (i.branch != branch_kind::none && i.target >= start && i.target < end))
            return true;
    }
    return false;
}

// In front alone, if that gives the bytes: then the code behind the syscall stays where it is. Else
// with what stands behind.
void site_finder::choose_window(site *s) {
    movable front = before(s->address), back = after(s->return_address());
    bool was_entered = false;
    for (unsigned a = 0; a <= back.count; ++a)
        for (unsigned b = 0; b <= front.count; ++b) {
            if (front.bytes[b] + syscall_bytes + back.bytes[a] < jump_bytes)
                continue;
            uintptr_t start = s->address - front.bytes[b];
            uintptr_t end = s->return_address() + back.bytes[a];
            if (is_entered(start + 1, end)) {
                was_entered = true;
                continue;
            }
            s->before = static_cast<uint8_t>(front.bytes[b]);
            s->after = static_cast<uint8_t>(back.bytes[a]);
            return;
        }
    s->reason = was_entered     ? into_middle
                : front.stopped ? front.stopped
                : back.stopped  ? back.stopped
                                : "its function is too short";
}

// Follows rax backwards through the function's bytes to the constant that was put there. Straight
// back, whatever the branches say: good for a report, and for the constants that a loop keeps in
// another register.
int site_finder::number_at(uintptr_t address) {
    constexpr int most_instructions = 200;
    int holder = rax;
    uintptr_t at = address;
    for (int n = 0; n < most_instructions && (at = function_.previous(at)) != 0; ++n) {
        instruction i;
        if (!decode(bytes_at(at), address - at, at, &i))
            break;
        if (i.constant_to == holder)
            return i.constant < 1024 ? static_cast<int>(i.constant) : site::unknown;
        if (i.copied_to == holder)
            holder = i.copied_from;
        else if (i.written & 1u << holder)
            break;
        // What a call may change: rax, rcx, rdx, rsi, rdi, r8 to r11.
        constexpr unsigned lost_in_calls = 0x0fc7;
        if (i.branch == branch_kind::call && lost_in_calls >> holder & 1)
            break;
    }
    return site::unknown;
}

} // namespace

int find_sites(const image &img, raw_vector<site> *out) {
    site_finder finder(img);
    return finder.run(out);
}

bool must_be_seen(int number) {
    switch (number) {
    case SYS_access:
    case SYS_brk:
    case SYS_capget:
    case SYS_chdir:
    case SYS_clock_getres:
    case SYS_clock_gettime:
    case SYS_epoll_create:
    case SYS_epoll_create1:
    case SYS_eventfd2:
    case SYS_exit_group:
    case SYS_getcpu:
    case SYS_getcwd:
    case SYS_getegid:
    case SYS_geteuid:
    case SYS_getgid:
    case SYS_getgroups:
    case SYS_getitimer:
    case SYS_getpeername:
    case SYS_getpgid:
    case SYS_getpgrp:
    case SYS_getpid:
    case SYS_getppid:
    case SYS_getrandom:
    case SYS_getresgid:
    case SYS_getresuid:
    case SYS_getrlimit:
    case SYS_getrusage:
    case SYS_getsid:
    case SYS_getsockname:
    case SYS_getsockopt:
    case SYS_gettimeofday:
    case SYS_getuid:
    case SYS_lseek:
    case SYS_madvise:
    case SYS_mincore:
    case SYS_mprotect:
    case SYS_sched_get_priority_max:
    case SYS_sched_get_priority_min:
    case SYS_sysinfo:
    case SYS_time:
    case SYS_umask:
    case SYS_uname:
        return false;
    }
    return true;
}

} // namespace corun::waist
