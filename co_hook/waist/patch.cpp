// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/patch.h"

#include "co_hook/waist/decoder.h"
#include "co_hook/waist/sites.h"
#include "co_hook/waist/slot_code.h"
#include "co_routine/base/check.h"
#include "co_routine/base/raw_vector.h"
#include "co_routine/base/spinlock.h"

#include <cerrno>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>

extern "C" __attribute__((visibility("hidden"))) uint8_t corun_slots[];

namespace corun::waist {
namespace {

constexpr uintptr_t page = 4096;
constexpr uintptr_t page_down(uintptr_t a) { return a & ~(page - 1); }
constexpr uintptr_t page_up(uintptr_t a) { return page_down(a + page - 1); }
// Sites nearer than this share a range: copied pages cost memory, ranges cost mappings.
constexpr uintptr_t most_between = 8 * page;

unsigned slots_used; // the first ones; changed under patching
unsigned patching;   // spinlock.h

uintptr_t slot_address(size_t i) {
    return reinterpret_cast<uintptr_t>(corun_slots) + i * CORUN_SLOT_BYTES;
}

uintptr_t load_word(uintptr_t address) {
    uintptr_t value;
    __builtin_memcpy(&value, reinterpret_cast<const void *>(address), sizeof value);
    return value;
}

// Code pages and their changed copy, until it takes their place.
struct page_range {
    uintptr_t start;
    uintptr_t end;
    uintptr_t copy; // 0: not made yet, or moved
    bool reserved;  // islands: there was nothing before

    uint8_t *copied(uintptr_t address) const {
        return reinterpret_cast<uint8_t *>(copy + (address - start));
    }
};

// Room for islands: the nearest free place below an object. (Above it a program's heap grows.) 0: none.
uintptr_t reserve_below(uintptr_t start, size_t bytes) {
    constexpr uintptr_t step = 1 << 18, most = 1 << 30;
    for (uintptr_t down = step; down < most && down + bytes < start; down += step) {
        uintptr_t wanted = page_down(start - down - bytes);
        // Readable, so that it can be copied as any other range is.
        sys::word r = sys::call(SYS_mmap, wanted, bytes, PROT_READ,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (r == static_cast<sys::word>(wanted))
            return wanted;
        if (!sys::failed(r)) // a kernel older than the flag
            sys::munmap(reinterpret_cast<void *>(r), bytes);
    }
    return 0;
}

void give_back(raw_vector<page_range> *list) {
    for (size_t i = 0; i < list->size(); ++i) {
        const page_range &p = (*list)[i];
        if (p.copy)
            sys::munmap(p.copied(p.start), p.end - p.start);
        if (p.reserved)
            sys::munmap(reinterpret_cast<void *>(p.start), p.end - p.start);
    }
}

// ---- One patching, of one object or of many -------------------------------------------------------

class patcher {
  public:
    explicit patcher(patch_summary *summary) : summary_(summary) {}
    patcher(const patcher &) = delete;
    patcher &operator=(const patcher &) = delete;
    ~patcher();

    int add(const image &img, bool report);
    int commit();
    const char *step = "finding the system calls";

  private:
    int place(const image &img, site *s);
    int cover(const image_segment &segment, uintptr_t start, uintptr_t end);
    uintptr_t place_for_island(const image &img);
    int order_ranges();
    int copy_pages();
    void write_changes();
    int make_executable();
    page_range *range_of(uintptr_t address);

    struct change { // of one site
        site where;
        slot_code slot;
        uintptr_t island; // 0: none is needed
    };

    patch_summary *summary_;
    raw_vector<change> changes_;
    raw_vector<page_range> ranges_;  // of the objects
    raw_vector<page_range> islands_; // the last one has room from next_island_ on, for one object
    uintptr_t next_island_ = 0;
    uintptr_t island_owner_ = 0; // its lowest address
};

patcher::~patcher() {
    give_back(&ranges_);
    give_back(&islands_);
}

void list_native(const image &img, const site &s) {
    char line[320], number[16] = "?";
    uintptr_t distance = 0;
    const char *symbol = symbol_name(img, s.address, &distance);
    if (s.number != site::unknown)
        format_line(number, sizeof number, "%d", s.number);
    unsigned n = format_line(line, sizeof line, "corun:   native: %p %s+%lu, system call %s: %s\n",
                             reinterpret_cast<void *>(s.address - img.bias), symbol ? symbol : "?",
                             distance, number, s.reason);
    sys::write(2, line, n);
}

// Gives the image's sites their slots. Nothing is changed yet.
int patcher::add(const image &img, bool report) {
    raw_vector<site> sites;
    int r = find_sites(img, &sites);
    unsigned patched = 0;
    for (size_t i = 0; !r && i < sites.size(); ++i) {
        if (!sites[i].reason)
            r = place(img, &sites[i]);
        patched += !sites[i].reason;
        if (sites[i].reason && must_be_seen(sites[i].number))
            ++summary_->unseen;
    }
    if (r)
        return r;
    auto count = static_cast<unsigned>(sites.size());
    ++summary_->objects;
    summary_->sites += count;
    summary_->patched += patched;
    summary_->native += count - patched;
    if (!report || !count)
        return 0;
    char line[320];
    sys::write(2, line,
               format_line(line, sizeof line, "corun: %s: %u of %u system call sites covered\n",
                           img.name, patched, count));
    for (size_t i = 0; i < sites.size(); ++i)
        if (sites[i].reason)
            list_native(img, sites[i]);
    return 0;
}

// The site's slot, or the reason why it has none.
int patcher::place(const image &img, site *s) {
    size_t index = slots_used + changes_.size();
    change c = {};
    if (index >= CORUN_SLOT_COUNT) {
        s->reason = "all slots are taken";
        return 0;
    }
    if (!c.slot.build(*s, slot_address(index))) {
        c.island = place_for_island(img);
        if (!c.island)
            s->reason =
                "it is more than 2 GiB away from libcorun_waist.so, and no place is near it";
        else if (!c.slot.build_over_island(*s, slot_address(index), c.island))
            s->reason = "what a jump would displace there cannot stand elsewhere";
        if (s->reason)
            return 0;
        next_island_ += c.slot.island_bytes;
    }
    c.where = *s;
    if (!changes_.push_back(c))
        return -ENOMEM;
    return cover(*segment_of(img, s->address, 1), s->window(), s->window_end());
}

uintptr_t patcher::place_for_island(const image &img) {
    constexpr size_t room = 4 * page;
    uintptr_t owner = img.segments[0].start;
    if (owner != island_owner_ || next_island_ + most_island_bytes > islands_.back().end) {
        uintptr_t start = reserve_below(page_down(owner), room);
        if (!start || !islands_.push_back({start, start + room, 0, true}))
            return 0;
        island_owner_ = owner;
        next_island_ = start;
    }
    return next_island_;
}

// Sites come in ascending order within an image. A range stays within its segment: what lies between
// two of them is not code.
int patcher::cover(const image_segment &segment, uintptr_t start, uintptr_t end) {
    start = page_down(start);
    end = page_up(end);
    if (!ranges_.empty()) {
        page_range &last = ranges_.back();
        bool is_here = last.start >= page_down(segment.start) && last.start < segment.end;
        if (is_here && start <= last.end + most_between) {
            last.end = end > last.end ? end : last.end;
            return 0;
        }
    }
    return ranges_.push_back({start, end, 0, false}) ? 0 : -ENOMEM;
}

page_range *patcher::range_of(uintptr_t address) {
    for (size_t i = 0; i < ranges_.size(); ++i)
        if (address >= ranges_[i].start && address < ranges_[i].end)
            return &ranges_[i];
    return nullptr;
}

int patcher::copy_pages() {
    step = "copying code pages";
    for (size_t i = 0; i < ranges_.size(); ++i) {
        page_range &p = ranges_[i];
        sys::word r = sys::mmap_anonymous(p.end - p.start, PROT_READ | PROT_WRITE, 0);
        if (sys::failed(r))
            return static_cast<int>(r);
        p.copy = static_cast<uintptr_t>(r);
        __builtin_memcpy(p.copied(p.start), reinterpret_cast<const void *>(p.start),
                         p.end - p.start);
    }
    return 0;
}

void patcher::write_changes() {
    page_range *range = nullptr;
    for (size_t i = 0; i < changes_.size(); ++i) {
        const change &c = changes_[i];
        uintptr_t slot = slot_address(slots_used + i);
        __builtin_memcpy(range_of(slot)->copied(slot), c.slot.bytes, sizeof c.slot.bytes);
        uintptr_t window = c.where.window();
        if (!range || window < range->start || window >= range->end)
            range = range_of(window);
        // What is left of the displaced bytes is nobody's: whoever arrives there is stopped.
        __builtin_memset(range->copied(window), 0xcc, c.where.window_end() - window);
        write_jump(range->copied(window), window, c.slot.entry);
        if (c.island)
            __builtin_memcpy(range_of(c.island)->copied(c.island), c.slot.island,
                             c.slot.island_bytes);
    }
}

int patcher::make_executable() {
    step = "making the copied code executable (forbidden by MemoryDenyWriteExecute= of systemd, "
           "PR_SET_MDWE or SELinux's execmem: allow it for this program)";
    for (size_t i = 0; i < ranges_.size(); ++i) {
        page_range &p = ranges_[i];
        sys::word r = sys::mprotect(p.copied(p.start), p.end - p.start, PROT_READ | PROT_EXEC);
        if (sys::failed(r))
            return static_cast<int>(r);
    }
    return 0;
}

// Slots first, then islands: no jump may lead where nothing is yet.
int patcher::order_ranges() {
    page_range slots = {page_down(slot_address(slots_used)),
                        page_up(slot_address(slots_used + changes_.size())), 0, false};
    size_t sites = ranges_.size(), in_front = 1 + islands_.size();
    for (size_t i = 0; i < in_front; ++i)
        if (!ranges_.push_back({}))
            return -ENOMEM;
    for (size_t i = sites; i-- > 0;)
        ranges_[i + in_front] = ranges_[i];
    ranges_[0] = slots;
    for (size_t i = 1; i < in_front; ++i)
        ranges_[i] = islands_[i - 1];
    islands_.clear();
    return 0;
}

// 0 or -errno; only if the last step failed has anything been changed, and then the code is whole.
int patcher::commit() {
    if (changes_.empty())
        return 0;
    int r = order_ranges();
    if (r)
        return r;
    r = copy_pages();
    if (r)
        return r;
    write_changes();
    r = make_executable();
    if (r)
        return r;
    // From here on libc's own pages change: no call into it.
    step = "putting the copied code in its place";
    for (size_t i = 0; i < ranges_.size(); ++i) {
        page_range &p = ranges_[i];
        size_t bytes = p.end - p.start;
        sys::word moved =
            sys::call(SYS_mremap, p.copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p.start);
        if (sys::failed(moved))
            return static_cast<int>(moved);
        p.copy = 0;
        p.reserved = false;
        if (i == 0)
            __atomic_store_n(&slots_used, slots_used + static_cast<unsigned>(changes_.size()),
                             __ATOMIC_RELEASE);
    }
    return 0;
}

// ---- The loaded objects ---------------------------------------------------------------------------

struct loaded {
    raw_vector<image> images;
    int error = 0;
};

int note_loaded(dl_phdr_info *info, size_t, void *data) {
    auto *out = static_cast<loaded *>(data);
    const char *name = info->dlpi_name && *info->dlpi_name ? info->dlpi_name : "the program";
    image img;
    if (!image_from_headers(&img, name, info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum))
        out->error = -ENOEXEC;
    img.relocated = true;
    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    if (segment_of(img, slot_address(0), 1) || (vdso && segment_of(img, vdso, 1)))
        return 0;
    if (!out->error && !out->images.push_back(img))
        out->error = -ENOMEM;
    return out->error;
}

} // namespace

patch_summary patched_so_far;

int patch_loaded_objects(patch_summary *summary, const char **failed_step, bool report) {
    *summary = {};
    patcher p(summary);
    loaded objects;
    dl_iterate_phdr(note_loaded, &objects);
    *failed_step = "reading the program headers";
    int r = objects.error;
    if (!r) {
        *failed_step = "starting the decoder";
        r = open_decoder();
    }
    if (r)
        return r;
    for (size_t i = 0; !r && i < objects.images.size(); ++i)
        r = p.add(objects.images[i], report);
    if (!r)
        r = p.commit();
    *failed_step = r ? p.step : nullptr;
    return r;
}

int patch_image_at(const void *elf_header, const char *name, patch_summary *summary, bool report) {
    image img;
    int r = image_from_memory(&img, name, elf_header);
    if (r)
        return r;
    spin_guard guard(&patching);
    r = open_decoder();
    if (r)
        return r;
    patcher p(summary);
    r = p.add(img, report);
    return r ? r : p.commit();
}

bool is_slot(uintptr_t pc) {
    unsigned used = __atomic_load_n(&slots_used, __ATOMIC_ACQUIRE);
    return pc - slot_address(0) < used * CORUN_SLOT_BYTES;
}

uintptr_t site_of_slot(uintptr_t pc) {
    return load_word((pc & ~uintptr_t{CORUN_SLOT_BYTES - 1}) + CORUN_SLOT_SITE);
}

uintptr_t moved_code(uintptr_t address) {
    unsigned used = __atomic_load_n(&slots_used, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < used; ++i) {
        uintptr_t slot = slot_address(i), behind = load_word(slot + CORUN_SLOT_SITE);
        if (address == behind)
            return slot + CORUN_SLOT_LEAVE;
        if (address + 2 == behind)
            return slot + CORUN_SLOT_ENTER;
    }
    return address;
}

} // namespace corun::waist
