# SPDX-License-Identifier: Apache-2.0
# scruple: one Makefile, objects in build/<variant>/.   make help

VARIANT ?= release
CC ?= cc
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build/$(VARIANT)

# make V=1 shows whole commands.
Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $@)

ROOMS = base quantize formats verify convert cli
LIBRARIES = zlib libcjson libzip libxxhash libpcre2-8 libcrypto libutf8proc

WARN = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
       -Wold-style-definition -Wvla -Wformat=2 -Wundef -Wcast-qual -Wpointer-arith \
       -Wwrite-strings -Wimplicit-fallthrough -Werror
OPT_release = -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
OPT_debug = -O0 -g -DSCRUPLE_DEBUG
OPT_asan = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan = -O1 -g -fsanitize=thread
OPT_fuzz = -O2 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all \
           -fno-omit-frame-pointer $(if $(TRACE),,-fno-sanitize-coverage=trace-cmp)
OPT = $(OPT_$(VARIANT))
ifeq ($(OPT),)
$(error unknown VARIANT '$(VARIANT)': release, debug, asan, tsan or fuzz)
endif

LIB_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LIBRARIES) 2>/dev/null)
LIB_LIBS := $(shell $(PKG_CONFIG) --libs $(LIBRARIES) 2>/dev/null) -lm
CHECK_CFLAGS = $(shell $(PKG_CONFIG) --cflags check)
CHECK_LIBS = $(shell $(PKG_CONFIG) --libs check)

ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -ffp-contract=off -fno-common -fPIC -pthread $(OPT) $(WARN) \
             -I. -isystem /usr/include $(LIB_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread $(filter -fsanitize=%,$(OPT)) $(LDFLAGS)

LIB_SRC := $(sort $(foreach r,$(filter-out cli,$(ROOMS)),$(wildcard $(r)/*.c)))
CLI_SRC := $(sort $(wildcard cli/*.c))
TEST_SRC := $(sort $(wildcard tests/*.c tests/*/test_*.c))
SUITES := $(patsubst test_%,%,$(basename $(notdir $(sort $(wildcard tests/*/test_*.c)))))
LIB_OBJ = $(LIB_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ = $(CLI_SRC:%.c=$(BUILD)/%.o)
CLI_LIB_OBJ = $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJ))
TEST_OBJ = $(TEST_SRC:%.c=$(BUILD)/%.o)

all: $(BUILD)/scruple ## the program (default)
	@[ $(BUILD) != build/release ] || ln -sf $(BUILD)/scruple scruple

help: ## this list; variants: make VARIANT=debug|asan|tsan ...
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' Makefile

$(BUILD)/scruple: $(CLI_OBJ) $(BUILD)/libscruple.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(CLI_OBJ) $(BUILD)/libscruple.a $(LIB_LIBS)

$(BUILD)/libscruple.a: $(LIB_OBJ)
	$(call say,AR)
	$(Q)rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/tests/all: $(TEST_OBJ) $(CLI_LIB_OBJ) $(BUILD)/libscruple.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(TEST_OBJ) $(CLI_LIB_OBJ) $(BUILD)/libscruple.a \
	  $(CHECK_LIBS) $(LIB_LIBS)

# The vector kernels are large functions of much inlined code. Compilers spend most of their time
# there on where variables lie and, with sanitizers, on checks of pointers that the address
# sanitizer sees anyway when they are used.
KERNEL_CFLAGS = -fno-var-tracking
UNCHECKED = -fno-sanitize=null,object-size,pointer-overflow,nonnull-attribute
KERNEL_CFLAGS_asan = $(UNCHECKED)
KERNEL_CFLAGS_fuzz = $(UNCHECKED) -O1
$(BUILD)/quantize/kernels_%.o: ALL_CFLAGS += $(KERNEL_CFLAGS) $(KERNEL_CFLAGS_$(VARIANT))

# The table of suites follows from the file names: tests/<room>/test_<name>.c has suite_<name>.
$(BUILD)/tests/suites.h: $(TEST_SRC) Makefile
	@mkdir -p $(@D)
	@printf 'SUITE(%s)\n' $(SUITES) > $@

$(BUILD)/tests/main.o: $(BUILD)/tests/suites.h

$(BUILD)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) $(CHECK_CFLAGS) -I$(BUILD)/tests -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(wildcard $(BUILD)/tests/fuzz/*.d)

unit: $(BUILD)/tests/all ## unit tests only
	$(BUILD)/tests/all

test: all unit fuzz-replay $(BUILD)/faults/tools ## unit tests, the fuzz targets' corpora, command-line tests, some faults
	scripts/cli-test $(BUILD)/scruple
	@$(DRIVE_FAULTS) --points 2 --quiet

DRIVE_FAULTS = tests/faults/drive.py $(BUILD)/scruple --tools $(BUILD)/faults/tools \
               --work $(BUILD)/faults/work
# Faults: what makes them is built without sanitizers, whatever the program has.
FAULT_CFLAGS = -std=c17 -D_GNU_SOURCE -O2 -g -fPIC $(WARN)
$(BUILD)/faults/tools: tests/faults/inject.c tests/faults/alloc.c Makefile
	$(call say,CC)
	$(Q)mkdir -p $@
	$(Q)$(CC) $(FAULT_CFLAGS) -o $@/inject tests/faults/inject.c
	$(Q)$(CC) $(FAULT_CFLAGS) -shared -o $@/alloc.so tests/faults/alloc.c -ldl
	$(Q)touch $@

test-faults: all $(BUILD)/faults/tools ## kills and failures at every point, full disks, lost writes (15 minutes; POINTS="--points 200" for fewer)
	$(DRIVE_FAULTS) $(POINTS)
	tests/faults/full_disk.py $(BUILD)/scruple --work $(BUILD)/faults/full
	tests/faults/crash_states.py $(BUILD)/scruple --work $(BUILD)/faults/crash

test-some-faults: all $(BUILD)/faults/tools ## 60 points of each kind, for sanitizers (VARIANT=asan)
	$(DRIVE_FAULTS) --points 60

# ---- fuzz targets (docs/testing.md): tests/fuzz/fuzz_<format>.c ----
# Their files lie in memory (tests/fuzz/files.c): the functions of base/file.h are made weak.

FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_NAMES := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)
FUZZ_SHARED = $(BUILD)/tests/fuzz/fuzz.o $(BUILD)/tests/fuzz/files.o
FUZZ_WEAK = $(BUILD)/tests/fuzz/weak_file.o $(BUILD)/tests/fuzz/weak_path.o
FUZZ_LIB = $(BUILD)/tests/fuzz/libscruple.a
FUZZ_OBJ = $(FUZZ_SRC:%.c=$(BUILD)/%.o)

$(BUILD)/tests/fuzz/weak_%.o: $(BUILD)/base/%.o
	@mkdir -p $(@D)
	@objcopy --weaken $< $@

$(FUZZ_LIB): $(filter-out $(BUILD)/base/file.o $(BUILD)/base/path.o,$(LIB_OBJ)) $(FUZZ_WEAK) \
             $(BUILD)/tests/fuzz/small_plan.o
	$(call say,AR)
	$(Q)rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/tests/fuzz/targets.h: $(FUZZ_SRC) Makefile
	@mkdir -p $(@D)
	@printf 'TARGET(%s)\n' $(FUZZ_NAMES) > $@

$(BUILD)/tests/fuzz/replay.o: $(BUILD)/tests/fuzz/targets.h
$(BUILD)/tests/fuzz/replay.o: ALL_CFLAGS += -I$(BUILD)/tests/fuzz

$(BUILD)/tests/fuzz/replay: $(BUILD)/tests/fuzz/replay.o $(FUZZ_OBJ) $(FUZZ_SHARED) $(FUZZ_LIB)
	$(call say,LINK)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS)

fuzz-replay: $(BUILD)/tests/fuzz/replay ## seeds and past findings through the fuzz targets
	$<

# libFuzzer programs, one a target. TRACE=1 records comparisons, too: fewer executions a second, and
# each knows more. The targets themselves are not what is to be covered.
$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_SHARED) $(FUZZ_LIB)
	$(call say,LINK)
	$(Q)$(CC) $(subst fuzzer-no-link,fuzzer,$(ALL_LDFLAGS)) -o $@ $^ $(LIB_LIBS)

ifeq ($(VARIANT),fuzz)
$(BUILD)/tests/fuzz/%.o: ALL_CFLAGS += -DFUZZ_ENGINE -fno-sanitize=fuzzer-no-link
fuzz-programs: $(FUZZ_NAMES:%=$(BUILD)/fuzz_%)
endif

fuzz: ## the fuzz targets with libFuzzer into build/fuzz (clang)
	+@$(MAKE) VARIANT=fuzz CC=clang BUILD=build/fuzz fuzz-programs

RUNS ?= 100000
fuzz-run: fuzz ## ... runs one: TARGET=safetensors RUNS=100000000
	scripts/fuzz --runs $(RUNS) $(TARGET)

# What an engine takes away: the pack reader and the part of base/ it stands on.
PACK_SRC = formats/pack_reader.c base/err.c base/mem.c base/str.c base/dtype.c base/file.c \
           base/path.c base/hash.c base/sys.c
pack-reader: $(BUILD)/libscruple-pack.a ## the expert pack reader as a library of its own
$(BUILD)/libscruple-pack.a: $(PACK_SRC:%.c=$(BUILD)/%.o)
	$(call say,AR)
	$(Q)rm -f $@
	$(Q)ar rcs $@ $^

# An engine's program sees no other header and links no other object than those.
PACK_HEADERS = formats/pack_reader.h base/base.h base/bytes.h base/dtype.h base/err.h base/hash.h
check-pack-reader: $(BUILD)/libscruple-pack.a $(BUILD)/scruple ## ... in an engine's program
	@rm -rf $(BUILD)/pack_engine && mkdir -p $(BUILD)/pack_engine/include
	@cp --parents $(PACK_HEADERS) $(BUILD)/pack_engine/include
	$(CC) $(filter-out -I.,$(ALL_CFLAGS)) $(ALL_LDFLAGS) -I$(BUILD)/pack_engine/include \
	  -o $(BUILD)/pack_engine/engine tests/pack_engine/main.c $(BUILD)/libscruple-pack.a -lxxhash
	$(BUILD)/scruple convert tests/data/nano -o $(BUILD)/pack_engine/nano --to experts -q >/dev/null
	$(BUILD)/pack_engine/engine $(BUILD)/pack_engine/nano

check-layers: ## who may include whom
	scripts/check-layers
check-style: ## budgets and banned calls
	scripts/check-style
check-headers: ## every header compiles alone
	@for h in $(foreach r,$(ROOMS),$(wildcard $(r)/*.h)); do \
	  $(CC) $(ALL_CFLAGS) -fsyntax-only -x c $$h || exit 1; done

docs: all ## writes docs/commands/ from the option tables
	@./scruple help --markdown > docs/commands/README.md
	@for c in $$(sed -n 's/.*(\([a-z]*\)\.md).*/\1/p' docs/commands/README.md); do \
	  ./scruple help --markdown $$c > docs/commands/$$c.md || exit 1; done

demo: all ## a trained model through the whole line, with verdicts (about a minute)
	scripts/demo ./scruple

PYTHON = build/venv/bin/python
SCRUPLE_SHARED ?= ../shared
ORACLE_MODELS = tests/data/nano $(wildcard $(SCRUPLE_SHARED)/models/mini)
test-oracle: all ## against transformers, compressed-tensors, safetensors, gguf, tokenizers (scripts/setup.sh oracle)
	scripts/test-oracle $(PYTHON) $(BUILD)/scruple $(ORACLE_MODELS)

# Needs 20 GB in BENCH_DIR and a quiet machine; about a quarter of an hour. BENCH_OPTIONS="--only p".
BENCH_DIR ?= build/bench
BENCH_TOOLS = $(BUILD)/tests/bench/copy $(BUILD)/tests/bench/run
bench: all $(BENCH_TOOLS) ## speed and memory against what the machine can do at all
	scripts/bench $(BUILD)/scruple $(BUILD)/tests/bench --dir $(BENCH_DIR) $(BENCH_OPTIONS)

$(BENCH_TOOLS): $(BUILD)/tests/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $<

test-determinism: all ## one digest over threads and CPU levels
	scripts/test-determinism $(BUILD)/scruple

aarch64: ## cross build into build/aarch64 (scripts/setup.sh ci)
	PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig $(MAKE) CC=aarch64-linux-gnu-gcc \
	  BUILD=build/aarch64 build/aarch64/scruple

install: $(BUILD)/scruple ## PREFIX=/usr/local DESTDIR=
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/scruple
	install -m 755 $(BUILD)/scruple $(DESTDIR)$(PREFIX)/bin/scruple
	install -m 644 LICENSE README.md $(DESTDIR)$(PREFIX)/share/doc/scruple

clean: ## remove build output
	rm -rf build scruple

.PHONY: all docs help unit test fuzz fuzz-replay fuzz-run fuzz-programs pack-reader check-pack-reader check-layers check-style check-headers demo \
        test-faults test-some-faults test-oracle test-determinism bench aarch64 install clean
