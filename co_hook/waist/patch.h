// SPDX-License-Identifier: Apache-2.0
// Leads the system calls of loaded objects into the slots, and through them to waist_entry. Each site
// becomes a jump to a slot of its own; the slot holds what the jump displaced.
//
// The code is never writable and executable at once: the pages are copied, changed and made
// executable elsewhere, then moved over the old ones, each range by one mremap. All of it is prepared
// before the first is moved; until then a failure leaves everything as it was.
//
// At the start the caller is the only thread. Later a newly mapped object is patched by whoever loads
// it, before anything runs there; its stack may be a coroutine's (16 KiB suffice).
#pragma once

#include <cstdint>

namespace corun::waist {

struct patch_summary {
    unsigned objects; // looked at
    unsigned sites;
    unsigned patched;
    unsigned native; // sites - patched
    unsigned unseen; // of them, those whose calls have to be caught in another way (must_be_seen)

    void add(const patch_summary &more) {
        objects += more.objects;
        sites += more.sites;
        patched += more.patched;
        native += more.native;
        unseen += more.unseen;
    }
};

extern patch_summary patched_so_far __attribute__((visibility("hidden"))); // for who keeps one

// All loaded objects but our own and the vdso. 0, or -errno and the step that failed. report: lists
// to fd 2, for each object, how many sites it has and which ones stay native and why.
int patch_loaded_objects(patch_summary *summary, const char **failed_step, bool report);

// One object, by the ELF header that its first segment begins with. Adds to the summary. -ENOEXEC: it
// is not an x86_64 object.
int patch_image_at(const void *elf_header, const char *name, patch_summary *summary, bool report);

// pc is in a slot that is in use; the address behind the syscall that it stands for: what a signal
// frame or a report shows in place of pc.
bool is_slot(uintptr_t pc);
uintptr_t site_of_slot(uintptr_t pc);

// Where the code of a site stands now, for a signal frame that names the site and is returned to: for
// the address of its syscall, where the slot makes the call (again); for the one behind it (what
// site_of_slot gives), where the slot goes on. Any other address is its own answer.
uintptr_t moved_code(uintptr_t address);

} // namespace corun::waist
