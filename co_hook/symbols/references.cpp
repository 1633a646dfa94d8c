// SPDX-License-Identifier: Apache-2.0
#include "co_hook/symbols/references.h"

#include "co_hook/symbols/table.h"

#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>

namespace corun::symbols {
namespace {

#if defined(__x86_64__)
using relocation = Elf64_Rela;
constexpr ElfW(Sxword) tag_relocations = DT_RELA, tag_relocations_size = DT_RELASZ;
unsigned type_of(const relocation &r) { return static_cast<unsigned>(ELF64_R_TYPE(r.r_info)); }
size_t symbol_of(const relocation &r) { return ELF64_R_SYM(r.r_info); }
bool is_function_slot(unsigned type) {
    return type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT || type == R_X86_64_64;
}
#else
using relocation = Elf32_Rel;
constexpr ElfW(Sword) tag_relocations = DT_REL, tag_relocations_size = DT_RELSZ;
unsigned type_of(const relocation &r) { return ELF32_R_TYPE(r.r_info); }
size_t symbol_of(const relocation &r) { return ELF32_R_SYM(r.r_info); }
bool is_function_slot(unsigned type) {
    return type == R_386_JMP_SLOT || type == R_386_GLOB_DAT || type == R_386_32;
}
#endif

struct walk {
    references *out;
    const char *const *names;
    size_t count;
    uintptr_t ours;
    bool no_memory = false;
};

// The tables of one object.
struct dynamic_tables {
    const ElfW(Sym) *symbols = nullptr;
    const char *strings = nullptr;
    const relocation *at[2] = {};
    size_t bytes[2] = {};
};

dynamic_tables tables_of(const dl_phdr_info *info, const ElfW(Dyn) * dynamic) {
    dynamic_tables t;
    // libc adds the base where the section is writable; the vDSO's, for one, is not.
    auto address = [info](ElfW(Addr) value) {
        return value < info->dlpi_addr ? value + info->dlpi_addr : value;
    };
    for (; dynamic->d_tag != DT_NULL; ++dynamic) {
        ElfW(Addr) value = dynamic->d_un.d_ptr;
        switch (dynamic->d_tag) {
        case DT_SYMTAB:
            t.symbols = reinterpret_cast<const ElfW(Sym) *>(address(value));
            break;
        case DT_STRTAB:
            t.strings = reinterpret_cast<const char *>(address(value));
            break;
        case DT_JMPREL:
            t.at[0] = reinterpret_cast<const relocation *>(address(value));
            break;
        case DT_PLTRELSZ:
            t.bytes[0] = value;
            break;
        case tag_relocations:
            t.at[1] = reinterpret_cast<const relocation *>(address(value));
            break;
        case tag_relocations_size:
            t.bytes[1] = value;
            break;
        default:
            break;
        }
    }
    return t;
}

bool find_name(const walk &w, const char *name, uint32_t *index) {
    size_t low = 0, high = w.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(w.names[middle], name);
        if (order == 0) {
            *index = static_cast<uint32_t>(middle);
            return true;
        }
        (order < 0 ? low : high) = order < 0 ? middle + 1 : middle;
    }
    return false;
}

void read_relocations(walk &w, const dl_phdr_info *info, const dynamic_tables &t,
                      const loaded_object &object, uint32_t object_index) {
    for (int table = 0; table < 2; ++table)
        for (size_t i = 0; t.at[table] && i < t.bytes[table] / sizeof(relocation); ++i) {
            const relocation &r = t.at[table][i];
            const ElfW(Sym) &symbol = t.symbols[symbol_of(r)];
            uint32_t name;
            if (!is_function_slot(type_of(r)) || symbol.st_name == 0 ||
                !find_name(w, t.strings + symbol.st_name, &name))
                continue;
            auto value = *reinterpret_cast<const uintptr_t *>(info->dlpi_addr + r.r_offset);
            // Its own procedure linkage: the first call will look it up, and so do we, later.
            bool unbound = symbol.st_shndx == SHN_UNDEF && value >= object.low &&
                           value < object.high && !(object.program && symbol.st_value != 0);
            void *target = unbound ? RTLD_NEXT : reinterpret_cast<void *>(value);
            w.no_memory |= !w.out->found.push_back({name, object_index, target});
        }
}

bool is_left_out(const loaded_object &o, uintptr_t ours) {
    return (!o.program && ours >= o.low && ours < o.high) || strncmp(o.name, "libc.so", 7) == 0 ||
           strncmp(o.name, "ld-linux", 8) == 0 || strncmp(o.name, "linux-", 6) == 0;
}

int on_object(dl_phdr_info *info, size_t, void *argument) {
    walk &w = *static_cast<walk *>(argument);
    loaded_object object{};
    object.program = w.out->objects.empty(); // always the first
    const char *path = object.program ? program_invocation_short_name : info->dlpi_name;
    const char *slash = strrchr(path, '/');
    strncpy(object.name, slash ? slash + 1 : path, sizeof object.name - 1);
    object.low = UINTPTR_MAX;
    const ElfW(Dyn) *dynamic = nullptr;
    bool has_interpreter = false;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr) &p = info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + p.p_vaddr;
        if (p.p_type == PT_DYNAMIC)
            dynamic = reinterpret_cast<const ElfW(Dyn) *>(from);
        has_interpreter |= p.p_type == PT_INTERP;
        if (p.p_type != PT_LOAD)
            continue;
        object.low = from < object.low ? from : object.low;
        object.high = from + p.p_memsz > object.high ? from + p.p_memsz : object.high;
    }
    if (object.program && !has_interpreter)
        w.out->is_static = true;
    object.left_out = is_left_out(object, w.ours);
    auto index = static_cast<uint32_t>(w.out->objects.size());
    w.no_memory |= !w.out->objects.push_back(object);
    if (!dynamic || object.left_out || w.out->is_static)
        return 0;
    dynamic_tables t = tables_of(info, dynamic);
    if (t.symbols && t.strings)
        read_relocations(w, info, t, object, index);
    return w.no_memory ? 1 : 0;
}

uint64_t order_of(const reference &r) { return uint64_t{r.name} << 32 | r.object; }

// By name and object, each pair once: where an object has several slots, one that differs from the
// rest cannot be told from here anyway. Shell sort: a few thousand at most.
void sort_and_thin(raw_vector<reference> &list) {
    for (size_t gap = list.size() / 2; gap > 0; gap /= 2)
        for (size_t i = gap; i < list.size(); ++i)
            for (size_t j = i; j >= gap && order_of(list[j]) < order_of(list[j - gap]); j -= gap) {
                reference swapped = list[j];
                list[j] = list[j - gap];
                list[j - gap] = swapped;
            }
    size_t kept = 0;
    for (size_t i = 0; i < list.size(); ++i)
        if (kept == 0 || order_of(list[i]) != order_of(list[kept - 1]))
            list[kept++] = list[i];
    while (list.size() > kept)
        list.pop_back();
}

} // namespace

const loaded_object *references::object_at(const void *address) const {
    auto at = reinterpret_cast<uintptr_t>(address);
    for (size_t i = 0; i < objects.size(); ++i)
        if (at >= objects[i].low && at < objects[i].high)
            return &objects[i];
    return nullptr;
}

bool references::gather(const char *const *names, size_t count, const void *ours) {
    walk w{this, names, count, reinterpret_cast<uintptr_t>(ours)};
    dl_iterate_phdr(on_object, &w);
    if (w.no_memory)
        return false;
    // Outside the walk, which holds the dynamic linker's lock.
    for (size_t i = 0; i < found.size(); ++i)
        if (found[i].target == RTLD_NEXT)
            found[i].target = dlsym(RTLD_DEFAULT, names[found[i].name]);
    sort_and_thin(found);
    return true;
}

} // namespace corun::symbols
