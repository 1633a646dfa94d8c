// SPDX-License-Identifier: Apache-2.0
// Loads objects as the dynamic linker does and by it, while other files are mapped in between. Their
// number_of_thread makes a system call of its own, which shows whether it is led to corun: under it
// a second thread's number is not the kernel's.
// loads_prog LIBRARY LIBRARY-ALIGNED-TO-2-MIB
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { page = 4096, most_headers = 16, others = 200 };

struct object {
    int fd;
    char *start;
    Elf64_Ehdr elf;
    Elf64_Phdr headers[most_headers];
};

static void check(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static int protection(const Elf64_Phdr *h) {
    return (h->p_flags & PF_R ? PROT_READ : 0) | (h->p_flags & PF_W ? PROT_WRITE : 0) |
           (h->p_flags & PF_X ? PROT_EXEC : 0);
}

// The first segment, as large as all.
static void begin_object(struct object *o, const char *path) {
    o->fd = open(path, O_RDONLY | O_CLOEXEC);
    check(o->fd >= 0 && read(o->fd, &o->elf, sizeof o->elf) == sizeof o->elf &&
              o->elf.e_phnum <= most_headers,
          path);
    size_t headers = o->elf.e_phnum * sizeof o->headers[0];
    check(pread(o->fd, o->headers, headers, (off_t)o->elf.e_phoff) == (ssize_t)headers, "headers");
    size_t bytes = 0;
    const Elf64_Phdr *first = NULL;
    for (int i = 0; i < o->elf.e_phnum; i++)
        if (o->headers[i].p_type == PT_LOAD) {
            first = first ? first : &o->headers[i];
            bytes = o->headers[i].p_vaddr + o->headers[i].p_memsz;
        }
    o->start = mmap(NULL, bytes, protection(first), MAP_PRIVATE, o->fd, 0);
    check(o->start != MAP_FAILED, "mmap");
}
static void map_the_rest(const struct object *o) {
    int first = 1;
    for (int i = 0; i < o->elf.e_phnum; i++) {
        const Elf64_Phdr *h = &o->headers[i];
        if (h->p_type != PT_LOAD || first) {
            first = first && h->p_type != PT_LOAD;
            continue;
        }
        size_t low = h->p_vaddr & ~(size_t)(page - 1);
        void *at = mmap(o->start + low, h->p_vaddr + h->p_filesz - low, protection(h),
                        MAP_PRIVATE | MAP_FIXED, o->fd, (off_t)(h->p_offset & ~(size_t)(page - 1)));
        check(at != MAP_FAILED, "mmap of a segment");
    }
}
static void *symbol(const struct object *o, const char *name) {
    void *self = dlopen(name, RTLD_NOW); // by the dynamic linker: where it is in the object
    check(self != NULL, "dlopen");
    void *there = dlsym(self, "number_of_thread");
    Dl_info info;
    check(there && dladdr(there, &info) != 0, "dlsym");
    return o->start + ((char *)there - (char *)info.dli_fbase);
}
static void show(const char *what, void *function) {
    int (*number_of_thread)(void);
    memcpy(&number_of_thread, &function, sizeof function);
    printf("%s: %s\n", what, number_of_thread() == gettid() ? "as libc's" : "another number");
}

static void map_file(const char *path, int protections) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd >= 0 && mmap(NULL, page, protections, MAP_PRIVATE, fd, 0) != MAP_FAILED, "mmap");
}

static char **paths;

static void *second_thread(void *argument) {
    struct object a, b;
    begin_object(&a, paths[1]);
    map_file("/proc/self/exe", PROT_READ);
    map_the_rest(&a);
    close(a.fd);
    show("a file is mapped in between", symbol(&a, paths[1]));

    begin_object(&a, paths[1]);
    begin_object(&b, paths[1]);
    map_the_rest(&a);
    map_the_rest(&b);
    close(a.fd);
    close(b.fd);
    show("one of two at a time", symbol(&a, paths[1]));
    show("the other", symbol(&b, paths[1]));

    for (int i = 0; i < others; i++) // and their descriptors stay open
        map_file("/proc/self/exe", PROT_READ | PROT_EXEC);
    begin_object(&a, paths[1]);
    map_the_rest(&a);
    close(a.fd);
    show("after many that stay", symbol(&a, paths[1]));

    begin_object(&a, paths[1]);
    munmap(a.start, page);
    close(a.fd); // what was left out is nobody's
    puts("a part of an object, closed");

    void *aligned = dlopen(paths[2], RTLD_NOW);
    check(aligned != NULL, "dlopen");
    show("aligned to 2 MiB", dlsym(aligned, "number_of_thread"));
    return argument;
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    paths = argv;
    pthread_t t;
    pthread_create(&t, NULL, second_thread, NULL);
    pthread_join(t, NULL);
    return 0;
}
