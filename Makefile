# SPDX-License-Identifier: Apache-2.0
# corun: build, test, install. `make help` lists the targets, CONTRIBUTING.md the rules.
#
# There are no file lists: a file added to a room is in the library, a new tests/<dir> with
# *_test.cpp in it is a suite, each example/*.{c,cpp} and perf/*.cpp is a program.
# Everything made stands in build/$(ARCH)[-$(SAN)]. Another compiler wants another BUILD.

ARCH    ?= x86_64
SAN     ?=
BUILD   ?= build
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
GDB_DIR ?= $(PREFIX)/share/gdb/auto-load
VERSION := 0.1.0

B := $(BUILD)/$(ARCH)$(SAN:%=-%)

ifeq ($(filter x86_64 i386,$(ARCH)),)
$(error ARCH is x86_64 or i386, not '$(ARCH)')
endif
ifneq ($(SAN),$(filter address undefined thread,$(SAN)))
$(error SAN is address, undefined, thread or empty, not '$(SAN)')
endif

# ---- Flags ---------------------------------------------------------------------------------------

# SSE2 on i386: coctx keeps MXCSR, and doubles then behave as on x86_64.
arch_x86_64 := -m64
arch_i386   := -m32 -msse2
ARCHFLAGS   := $(arch_$(ARCH))

# Shipped objects are what the plain runs test. Under SAN= every check is on (base/check.h).
ifeq ($(SAN),)
MODE := -O2 -g
else
MODE := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SAN) -DCO_CHECK_LEVEL=2
MODE += $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=all)
endif

# The public headers are installed flat, so they include each other by bare name.
COMMON   := $(ARCHFLAGS) $(MODE) -pthread -D_GNU_SOURCE -I. -Ico_routine -Ico_hook -Ico_ctx -MMD -MP
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Werror

# hidden: what a public header declares between its visibility pragmas is exported, nothing else.
# initial-exec: a thread-local costs one load. No stack protector: a frame may end on another
# thread pointer than it began on, where another canary stands. No fortify: the library is what
# defines __read_chk and its like.
LIBFLAGS := -std=c++20 -fPIC -fno-exceptions -fno-rtti -fvisibility=hidden \
            -ftls-model=initial-exec -fasynchronous-unwind-tables -fcf-protection=branch \
            -fno-stack-protector -U_FORTIFY_SOURCE
SOFLAGS  := -shared -static-libgcc -Wl,-soname,libcorun.so.1 -Wl,-z,defs -Wl,-z,now -Wl,-z,relro \
            -Wl,-z,text -Wl,-z,noexecstack -Wl,-Bsymbolic-functions -Wl,--as-needed
# gcc 12 sees overlapping copies in std::string where there are none (its bug 105651).
CXXSTD   := -std=c++20 -Wno-restrict
LIBS     := -pthread -ldl

# ---- What there is -------------------------------------------------------------------------------

find      = $(sort $(shell find $1 -type f 2>/dev/null))
to_obj    = $(addprefix $(B)/obj/,$(addsuffix .o,$(basename $1)))

# co_hook/waist is libcorun_waist.so's alone, co_hook/launcher is corun's.
lib_src   := $(filter-out co_hook/corun.cpp co_hook/launcher/% co_hook/waist/%, $(wildcard co_ctx/*.cpp co_ctx/$(ARCH)/*.cpp co_ctx/$(ARCH)/*.S) \
             $(filter %.cpp %.S,$(call find,co_routine co_hook)))
# The waist needs x86_64 and libcapstone's static library: without them there is no launcher.
capstone  := $(if $(filter x86_64,$(ARCH)$(SAN)),$(wildcard /usr/lib/x86_64-linux-gnu/libcapstone.a))
launcher  := $(if $(capstone),$(wildcard co_hook/corun.cpp co_hook/launcher/*.cpp))
finder    := $(patsubst %,co_hook/waist/%.cpp,decoder function image scan sites)
walker    := $(patsubst %,co_routine/%.cpp,base/check base/user_memory debug/libunwind debug/remote_walk debug/symbol_file)
run_by    := $(if $(capstone),$(B)/corun $(B)/libcorun_waist.so)
# What a plain build has besides: it measures, and is installed beside corun.
stackmem  := $(wildcard perf/stackmem/*.cpp)
tools     := $(if $(SAN),,$(B)/corun-stackmem)
waist_src := $(if $(capstone),$(filter-out co_hook/symbols/%,$(lib_src)) $(filter %.cpp %.S,$(call find,co_hook/waist)))
headers   := $(wildcard co_ctx/coctx.h co_routine/*.h co_routine/*.hpp co_hook/*.h)
manpages  := $(wildcard man/*.1 man/*.3)
man_names := s/^\.BI* "\{0,1\}[^"(]*[ *]\(co[a-z]*_[a-z_0-9]*\)(.*/\1/p

test_src  := $(filter-out $(if $(capstone),,tests/waist/%),$(filter %_test.cpp %_test.c %_test.S,$(call find,$(wildcard tests/*/))))
suites    := $(sort $(foreach f,$(test_src),$(word 2,$(subst /, ,$f))))
support   := $(call to_obj,$(wildcard tests/support/*.cpp))
progs     := $(filter-out $(if $(capstone),,tests/waist/%),$(filter %_prog.c %_prog.cpp,$(call find,$(wildcard tests/*/))))

# A program that says "// needs: libmariadb" (pkg-config's name) is built where that is installed.
needed    := $(shell grep -oH '^// needs: .*' $(wildcard example/*.cpp tests/clients/*.cpp) | sed 's|:// needs: |=|')
needs      = $(patsubst $1=%,%,$(filter $1=%,$(needed)))
installed := $(if $(filter x86_64,$(ARCH)),$(shell for p in $(sort $(foreach n,$(needed),$(lastword \
               $(subst =, ,$n)))); do pkg-config --exists $$p 2>/dev/null && echo $$p; done))
can_build  = $(foreach f,$1,$(if $(filter-out $(installed),$(call needs,$f)),,$f))
pkg_cflags = $(patsubst -I%,-isystem %,$(if $(call needs,$<),$(shell pkg-config --cflags $(call needs,$<))))
pkg_libs   = $(if $(call needs,$1),$(shell pkg-config --libs $(call needs,$1)))
examples  := $(call can_build,$(wildcard example/*.c example/*.cpp))
clients   := $(call can_build,$(wildcard tests/clients/*_client.cpp))

libs        := $(B)/libcorun.a $(B)/libcorun.so
suite_bins  := $(suites:%=$(B)/tests/%_test)
prog_bins   := $(addprefix $(B)/,$(basename $(progs)))
example_bins:= $(addprefix $(B)/,$(basename $(examples)))
client_bins := $(addprefix $(B)/,$(basename $(clients)))
perf_parts  := $(foreach f,$(basename $(wildcard perf/*.cpp)),$(if $(wildcard $f.h),$f))
perf_bins   := $(addprefix $(B)/,$(filter-out $(perf_parts),$(basename $(wildcard perf/*.c perf/*.cpp))))
waist_bins  := $(if $(capstone),$(B)/tests/waist/libnative_waist.so $(B)/tests/waist/libshapes.so)

# ---- Targets -------------------------------------------------------------------------------------

.DEFAULT_GOAL := all
.PHONY: all tests test-programs test test-i386 test-servers test-cpython perf-servers soak-servers test-deps soak demo demo-programs demo-linked examples perf perf-programs perf-stacks lint tidy hook-table format install uninstall clean \
        help list-suites list-built-suites list-environment
.SECONDARY:
.DELETE_ON_ERROR:

all: $(libs) $(run_by) $(tools)                ## the library, static and shared, corun and corun-stackmem
	$(if $(launcher)$(filter-out x86_64,$(ARCH)$(SAN)),,@echo '  corun, the launcher, is left out: it needs libcapstone-dev (apt install libcapstone-dev)')
examples: $(example_bins)                      ## example/*, linked with libcorun.a
perf-programs: $(perf_bins)                    ## the benchmarks, built
tests: test-programs $(suite_bins) $(if $(SAN),,$(perf_bins))  ## build what `make test` runs
test-programs: all examples $(prog_bins) $(client_bins) $(waist_bins) $(if $(SAN),,$(addprefix $(B)/perf/,demo echo_load))  # what shell tests use

# ---- How it is made ------------------------------------------------------------------------------

Q   := $(if $(V),,@)
say  = @mkdir -p $(@D)$(if $(V),,; echo '  $1 $(or $2,$<)')

$(B)/obj/%.o: %.S Makefile
	$(call say,AS )
	$(Q)$(CC) $(COMMON) -fcf-protection=branch -c $< -o $@

$(B)/obj/co_%.o: co_%.cpp Makefile
	$(call say,CXX)
	$(Q)$(CXX) $(COMMON) $(WARNINGS) $(LIBFLAGS) $(CXXFLAGS) -c $< -o $@

$(B)/obj/tests/%.o: tests/%.cpp Makefile
	$(call say,CXX)
	$(Q)$(CXX) $(COMMON) $(WARNINGS) $(CXXSTD) -isystem $(GTEST)/include $(pkg_cflags) $(CXXFLAGS) -c $< -o $@

$(B)/obj/%.o: %.cpp Makefile
	$(call say,CXX)
	$(Q)$(CXX) $(COMMON) $(WARNINGS) $(CXXSTD) $(perf_flags) $(pkg_cflags) $(CXXFLAGS) -c $< -o $@

$(B)/obj/%.o: %.c Makefile
	$(call say,CC )
	$(Q)$(CC) $(COMMON) $(WARNINGS) $(CFLAGS) -c $< -o $@

# The names of system calls: CORUN_CALL(read) and so on, from this architecture's header.
$(B)/calls.inc: Makefile
	$(call say,GEN,$@)
	$(Q)echo '#include <sys/syscall.h>' | $(CC) $(ARCHFLAGS) -E -dM - | \
	    sed -n 's/^#define __NR_\([a-z_0-9]*\) [0-9].*/CORUN_CALL(\1)/p' | LC_ALL=C sort >$@
$(B)/obj/co_routine/debug/call_name.o: $(B)/calls.inc
$(B)/obj/co_routine/debug/call_name.o $(B)/tidy/co_routine/debug/call_name.ok: CXXFLAGS += -DCORUN_CALLS='"$(abspath $(B))/calls.inc"'

# q, not r: two rooms may have a file of the same name, and r keeps the last one only.
$(B)/libcorun.a: $(call to_obj,$(lib_src))
	$(call say,AR ,$@)
	$(Q)rm -f $@ && $(AR) qcs $@ $^

# Linked by the C driver: the library needs libc.so.6 and no C++ run time.
# (static_program.cpp: for -static programs alone.)
$(B)/libcorun.so: $(call to_obj,$(filter-out %/static_program.cpp,$(lib_src)))
	$(call say,LD ,$@)
	$(Q)$(CC) $(ARCHFLAGS) $(MODE) $(SOFLAGS) -o $@ $^ -ldl
	$(Q)ln -sf $(@F) $@.1

# The launcher knows where it will be installed; another LIBDIR makes these two anew.
$(B)/obj/co_hook/launcher/environment.o $(B)/obj/co_hook/launcher/options.o: $(B)/obj/libdir
$(B)/obj/co_hook/launcher/%.o $(B)/tidy/co_hook/launcher/%.ok: CXXFLAGS += -DCORUN_LIBDIR='"$(LIBDIR)"' -DCORUN_VERSION='"$(VERSION)"'
$(B)/obj/libdir: always
	@mkdir -p $(@D); echo '$(LIBDIR) $(VERSION)' | cmp -s - $@ || echo '$(LIBDIR) $(VERSION)' >$@
.PHONY: always

# What corun puts in front of a program: everything but door 1, and nothing of it is exported. First of
# all constructors; libcapstone's decoder is linked in, of its architectures x86 alone.
$(B)/libcorun_waist.so: $(call to_obj,$(waist_src)) co_hook/waist/exports.map
	$(call say,LD ,$@)
	$(Q)$(CC) $(ARCHFLAGS) $(MODE) $(SOFLAGS) -Wl,-soname,$(@F) -Wl,-z,initfirst \
	    -Wl,--version-script=co_hook/waist/exports.map -o $@ $(filter %.o,$^) $(capstone)

# corun --check finds the sites that the library will find; corun stack walks and names as the library does.
$(B)/corun: $(call to_obj,$(launcher) $(finder) $(walker))
	$(call say,LD ,$@)
	$(Q)$(CC) $(ARCHFLAGS) $(MODE) -static-libgcc -o $@ $^ $(capstone)

# A program of the library's, like the ones that it compares.
$(B)/corun-stackmem: $(call to_obj,$(stackmem)) $(B)/libcorun.a
	$(call say,LD ,$@)
	$(Q)$(CXX) $(ARCHFLAGS) $(MODE) -static-libgcc -static-libstdc++ -o $@ $^ $(LIBS)

# A C example is linked by the C driver too: it shows that libcorun.a asks for no C++.
$(B)/example/%: $(B)/obj/example/%.o $(B)/libcorun.a
	$(call say,LD ,$@)
	$(Q)$(if $(wildcard example/$*.c),$(CC),$(CXX)) $(ARCHFLAGS) $(MODE) -o $@ $^ $(call pkg_libs,example/$*.cpp) $(LIBS)

# example/legacy_*: programs that know nothing of corun, for the launcher.
$(B)/example/legacy_%: $(B)/obj/example/legacy_%.o
	$(call say,LD ,$@)
	$(Q)$(CC) $(ARCHFLAGS) $(MODE) -o $@ $^ $(LIBS)

# A perf/x.cpp with an x.h beside it is a part of every program there, not a program. Boost is the
# competitor in the switch benchmark, where it is installed.
perf_flags := $(and $(filter x86_64,$(ARCH)),$(wildcard /usr/include/boost/context/detail/fcontext.hpp),-DHAVE_BOOST_CONTEXT)
perf_libs  := $(if $(perf_flags),-lboost_context)
$(B)/perf/%: $(B)/obj/perf/%.o $(perf_parts:%=$(B)/obj/%.o) $(B)/libcorun.a
	$(call say,LD ,$@)
	$(Q)$(CXX) $(ARCHFLAGS) $(MODE) -o $@ $^ -Wl,--as-needed $(perf_libs) $(LIBS)

# perf/echo_*: the baselines and the load make the kernel's own calls; with corun linked in, their
# recv and send would pass through the hooks. (They check that themselves.)
$(B)/perf/echo_%: $(B)/obj/perf/echo_%.o
	$(call say,LD ,$@)
	$(Q)$(CXX) $(ARCHFLAGS) $(MODE) -o $@ $^ $(LIBS)

# perf/*.c: programs that know nothing of corun, for the launcher.
$(patsubst %.c,$(B)/%,$(wildcard perf/*.c)): $(B)/perf/%: $(B)/obj/perf/%.o
	$(call say,LD ,$@)
	$(Q)$(CC) $(ARCHFLAGS) $(MODE) -o $@ $^ $(LIBS)

# A *_prog is a program that knows nothing of corun: tests put the library in front of it.
$(B)/tests/%_prog: $(B)/obj/tests/%_prog.o
	$(call say,LD ,$@)
	$(Q)$(CXX) $(ARCHFLAGS) $(MODE) -o $@ $^ $(LIBS)

# Client libraries with hooks in front of them: tests/clients has the servers.
$(B)/tests/clients/%_client: $(B)/obj/tests/clients/%_client.o $(B)/libcorun.a
	$(call say,LD ,$@)
	$(Q)$(CXX) $(ARCHFLAGS) $(MODE) -o $@ $^ $(call pkg_libs,tests/clients/$*_client.cpp) $(LIBS)

# GoogleTest is built from Debian's sources: so it comes for i386 and with each sanitizer.
GTEST ?= /usr/src/googletest/googletest
$(B)/libgtest.a: $(GTEST)/src/gtest-all.cc $(GTEST)/src/gtest_main.cc
	$(call say,GTEST,$@)
	$(Q)for f in $^; do $(CXX) $(ARCHFLAGS) $(MODE) -O1 -w -pthread $(CXXSTD) -I$(GTEST)/include \
	    -I$(GTEST) -c $$f -o $(B)/$$(basename $$f .cc).o || exit; done
	$(Q)rm -f $@ && $(AR) qcs $@ $(B)/gtest-all.o $(B)/gtest_main.o

# The waist's tests: the finder on its own, and what it does with a native waist_entry behind the slots.
finder_objs := $(if $(capstone),$(call to_obj,$(finder)))
waist_test_objs := $(finder_objs) $(capstone)
$(B)/obj/tests/waist/native_waist.o: CXXFLAGS += $(LIBFLAGS)
$(B)/tests/waist/libnative_waist.so: $(B)/obj/tests/waist/native_waist.o $(B)/obj/tests/waist/counting_entry.o \
    $(patsubst %,$(B)/obj/co_hook/waist/%.o,slots slot_code patch) $(finder_objs) $(addprefix $(B)/obj/co_routine/base/,check.o sanitizer.o)
	$(call say,LD ,$@)
	$(Q)$(CC) $(ARCHFLAGS) $(MODE) $(SOFLAGS) -Wl,-soname,$(@F) -Wl,-z,initfirst -Wl,--exclude-libs,ALL -o $@ $^ $(capstone)
$(B)/tests/waist/libshapes.so: $(B)/obj/tests/waist/shapes.o
	$(call say,LD ,$@)
	$(Q)$(CC) $(ARCHFLAGS) -shared -nostdlib -o $@ $^

# tests/<suite>/**/*_test.* and tests/support/*.cpp become $(B)/tests/<suite>_test.
define suite_rule
$(B)/tests/$1_test: $(call to_obj,$(filter tests/$1/%,$(test_src))) $(support) $($1_test_objs) $(B)/libgtest.a $(B)/libcorun.a
	$$(call say,LD ,$$@)
	$(Q)$(CXX) $(ARCHFLAGS) $(MODE) -o $$@ $$^ $(LIBS)
endef
$(foreach s,$(suites),$(eval $(call suite_rule,$s)))

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)

# ---- Tests ---------------------------------------------------------------------------------------

# Everything, or with ARCH=, SAN= or SUITES="loop sync" on the command line that part only.
only := $(strip $(foreach v,ARCH SAN SUITES,$(if $(filter command,$(origin $v)),$v)))
# Under SAN=thread; suite:gtest-filter names a part of one. Not hooks: TSan has functions of the same names in
# front of libc's and knows its locks by them, it starts no threads after a fork and dies of what it does not
# know. Not co_ctx: it delays signals. Not stress: five
# minutes. Not waist: corun refuses programs of sanitizers. What users see of the hooks under it, debug/sanitizers_test.sh runs.
TSAN_SUITES ?= $(filter-out co_ctx hooks stress waist,$(suites))
export ARCH SAN BUILD B CC CXX AR ARCHFLAGS TSAN_SUITES

test: test-deps                                ## all suites, every ARCH and SAN (or the one given)
	@tests/support/run_suites $(if $(only),--arch '$(ARCH)' --san '$(SAN)' --suites '$(SUITES)')

test-i386:                                     ## the suites for i386
	@$(MAKE) --no-print-directory test ARCH=i386

servers := microsocks nbdkit libnbd-bin tinyproxy privoxy pdns-server pdns-backend-bind stunnel4 mariadb-server curl openssl
server_programs := all $(B)/example/legacy_server $(B)/tests/servers/load_prog
test-servers:                                  ## Debian's servers under corun, installed first (SERVERS="nbdkit pdns")
	@tests/support/test_deps g++ libcapstone-dev $(servers)
	@$(MAKE) --no-print-directory -j$(shell nproc) $(server_programs)
	@BUILD_DIR=$(B) tests/servers/servers_test.sh $(SERVERS)

soak-servers:                                  ## three of them while clients stall, reset and vanish (SOAK_MINUTES=20)
	@tests/support/test_deps g++ libcapstone-dev microsocks nbdkit
	@$(MAKE) --no-print-directory -j$(shell nproc) $(server_programs)
	@BUILD_DIR=$(B) /usr/bin/python3 -B tests/servers/soak.py

perf-servers:                                  ## the same natively and under corun, interleaved (ROUNDS=3)
	@tests/support/test_deps g++ libcapstone-dev $(servers)
	@$(MAKE) --no-print-directory -j$(shell nproc) $(server_programs)
	@BUILD_DIR=$(B) /usr/bin/python3 -B perf/servers.py $(SERVERS)

test-cpython:                                  ## CPython's own tests natively and under corun, verdict by verdict
	@tests/support/test_deps g++ libcapstone-dev libpython3.11-testsuite
	@$(MAKE) --no-print-directory -j$(shell nproc) all
	@BUILD_DIR=$(B) /usr/bin/python3 -B tests/servers/cpython.py $(MODULES)

test-deps:                                     ## install or name what the tests need
	@tests/support/test_deps

soak:                                          ## the stress suite and random programs for SOAK_MINUTES (10)
	@tests/support/run_suites --arch '$(ARCH)' --san '$(SAN)' --soak $(or $(SOAK_MINUTES),10)

lint: all                                      ## the laws, the headers, the format, the symbols
	@LIBFLAGS='$(LIBFLAGS)' tests/lint/run

tidy: $(patsubst %.cpp,$(B)/tidy/%.ok,$(filter %.cpp,$(lib_src) $(launcher)))  ## clang-tidy (a part of lint)

$(B)/tidy/%.ok: %.cpp $(B)/obj/%.o .clang-tidy
	$(call say,TIDY)
	$(Q)clang-tidy --quiet $< -- $(filter-out -M%,$(COMMON)) $(LIBFLAGS) $(CXXFLAGS) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@

hook-table:                                    ## co_hook/HOOKS.md, from the sources
	@tests/lint/hooks --write

format:                                        ## clang-format over everything
	@find $(wildcard co_ctx co_routine co_hook tests example perf) -name '*.h' ! -name asm.h -o -name '*.hpp' \
	    -o -name '*.c' -o -name '*.cpp' | xargs clang-format -i

demo-programs: $(run_by) $(B)/example/legacy_server $(addprefix $(B)/perf/,demo echo_load)
linked_programs := $(B)/example/echo_server $(addprefix $(B)/perf/,demo_linked echo_load echo_pthread)
demo:                                          ## a server of threads natively and under corun; every byte checked
	@command -v $(CXX) >/dev/null && [ -n '$(capstone)' ] || tests/support/test_deps g++ libcapstone-dev
	@$(MAKE) --no-print-directory -j$(shell nproc) demo-programs
	@$(B)/perf/demo

demo-linked:                                   ## 10,000 connections to a server linked with corun
	@command -v $(CXX) >/dev/null || tests/support/test_deps g++
	@$(MAKE) --no-print-directory -j$(shell nproc) $(linked_programs)
	@$(B)/perf/demo_linked

benchmarks := $(addprefix $(B)/perf/,switch_bench coroutine_bench sync_bench echo_compare idle_bench) '$(B)/corun-stackmem --live 200' \
    'taskset -c 0 $(B)/perf/pingpong' $(if $(run_by),'taskset -c 0 $(B)/corun $(B)/perf/pingpong')
perf: $(perf_bins) $(B)/example/echo_server $(run_by) $(tools)  ## runs the benchmarks, one after the other
	@set -e; for b in $(benchmarks); do printf '\n==== %s\n' "$$b"; $$b; done

perf-stacks: $(tools)                          ## kinds of stack compared: bytes and ns (STACKS="--quick --csv x.csv")
	@$(B)/corun-stackmem $(STACKS)

shell_tests := $(shell find tests -name '*_test.sh' ! -path 'tests/lint/*')
list-suites:                                   ## what SUITES= may name
	@echo $(sort $(suites) $(foreach t,$(shell_tests:tests/%.sh=%),$(firstword $(subst /, ,$t))))
list-built-suites: # for tests/support/run_suites: those of GoogleTest
	@echo $(suites)
list-environment: # for tests/support/run_suites
	@printf '%s\n' 'ARCHFLAGS=$(ARCHFLAGS)' 'CC=$(CC)' 'CXX=$(CXX)'

# ---- Install -------------------------------------------------------------------------------------

dest := $(DESTDIR)$(PREFIX)
libdest := $(DESTDIR)$(LIBDIR)
# gdb loads by itself what is named after a library, in its directory of such files.
gdb_links := $(addprefix $(DESTDIR)$(GDB_DIR)$(LIBDIR)/,libcorun.so.1-gdb.py $(if $(run_by),corun/libcorun_waist.so-gdb.py))

install: all                                   ## to $(DESTDIR)$(PREFIX)
	install -d $(dest)/include/corun $(libdest)/pkgconfig $(addprefix $(dest)/share/man/man,$(sort $(subst .,,$(suffix $(manpages)))))
	install -m 644 $(headers) $(dest)/include/corun
	install -m 644 $(B)/libcorun.a $(libdest)
	install -m 755 $(B)/libcorun.so $(libdest)/libcorun.so.1
	ln -sf libcorun.so.1 $(libdest)/libcorun.so
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|' corun.pc.in \
	    > $(libdest)/pkgconfig/corun.pc
	$(foreach m,$(manpages),install -m 644 $m $(dest)/share/man/man$(subst .,,$(suffix $m));)
	@for page in co_hook co_routine; do for f in $$(sed -n '$(man_names)' man/$$page.3); do \
	    echo ".so man3/$$page.3" > $(dest)/share/man/man3/$$f.3; done; done
	$(if $(run_by),install -d $(dest)/bin $(libdest)/corun && install -m 755 $(B)/corun $(dest)/bin && \
	    install -m 755 $(B)/libcorun_waist.so $(libdest)/corun)
	$(if $(tools),install -d $(dest)/bin && install -m 755 $(tools) $(dest)/bin)
	install -d $(dest)/share/corun $(dir $(gdb_links))
	install -m 644 co_routine/debug/co_gdb.py $(dest)/share/corun
	$(foreach l,$(gdb_links),ln -srf $(dest)/share/corun/co_gdb.py $l;)
	@case '$(GDB_DIR)' in /usr/share/gdb/auto-load) ;; *) echo 'gdb: put "source $(PREFIX)/share/corun/co_gdb.py" into ~/.gdbinit, or install with GDB_DIR=/usr/share/gdb/auto-load';; esac
	@$(if $(DESTDIR),:,[ "$$(id -u)" = 0 ] && ldconfig || echo 'now run ldconfig, or set LD_LIBRARY_PATH=$(libdest)')

uninstall:                                     ## what install put there, nothing else
	rm -f $(addprefix $(dest)/include/corun/,$(notdir $(headers))) \
	    $(addprefix $(libdest)/,libcorun.a libcorun.so.1 libcorun.so pkgconfig/corun.pc) \
	    $(foreach m,$(manpages),$(dest)/share/man/man$(subst .,,$(suffix $m))/$(notdir $m)) \
	    $$(sed -n '$(man_names)' man/co_hook.3 man/co_routine.3 | sed 's|.*|$(dest)/share/man/man3/&.3|') \
	    $(if $(run_by),$(dest)/bin/corun $(libdest)/corun/libcorun_waist.so) $(if $(tools),$(dest)/bin/corun-stackmem) $(dest)/share/corun/co_gdb.py $(gdb_links)
	-rmdir $(dest)/include/corun $(libdest)/corun $(dest)/share/corun
	@rmdir -p --ignore-fail-on-non-empty $(sort $(dir $(gdb_links))) 2>/dev/null || :

clean:                                         ## removes $(BUILD)
	rm -rf $(BUILD)

help:                                          ## this list
	@awk -F ': .*## |:  *## ' '/^[a-z0-9-]+:.*## / { split($$1, t, ":"); printf "  make %-14s %s\n", t[1], $$2 }' \
	    Makefile
	@echo '  with any: ARCH=x86_64|i386  SAN=address|undefined|thread  BUILD=build  CXX=g++  V=1; test: SUITES="loop sync"; install: PREFIX=/usr/local LIBDIR= GDB_DIR= DESTDIR='
