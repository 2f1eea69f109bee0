# The front door. 'make run' and 'make test' do all the set-up themselves.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
DESTDIR ?=
BUILD := build
JOBS := $(shell nproc)
NINJA := ninja -C $(BUILD) -j $(JOBS) $(if $(VERBOSE),-v,--quiet)
# One line for each stage of long work.
say = @printf '==> %s\n' "$(1)"

.PHONY: help run test test-unit test-asan test-tsan fuzz fuzz-targets build kernel bench lint format \
  install clean packages test-packages configure programs

help:
	@echo "make run        build everything, start the system, run a first container (offline)"
	@echo "make test       every test, from units to containers in real VMs"
	@echo "make test-unit  the unit tests alone, in seconds"
	@echo "make test-asan  the unit tests under the address and undefined-behaviour sanitizers"
	@echo "make test-tsan  the unit tests under the thread sanitizer"
	@echo "make fuzz       SECONDS=60 of fuzzing for each parser of strangers' input"
	@echo "make build      the programs, runnable in place from $(BUILD)/bin"
	@echo "make kernel     the guest's kernel (cached outside the checkout)"
	@echo "make bench      side-by-side benchmarks against the peers"
	@echo "make lint       clang-format and clang-tidy;  make format  rewrites the sources"
	@echo "make install    PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)"
	@echo "make clean      removes the build folders, not the cached kernel"

packages:
	$(call say,Debian packages)
	@scripts/install-packages build kernel run

test-packages: packages
	@scripts/install-packages test

configure: packages
	@cmake --preset release -Wno-dev >$(BUILD)-configure.log 2>&1 \
	  || { cat $(BUILD)-configure.log; exit 1; }
	@mv $(BUILD)-configure.log $(BUILD)/configure.log

# The kernel and the programs are built side by side: the kernel's link steps and the programs'
# long compilations leave a core idle in turn.
build: configure
	$(call say,Programs and kernel)
	@scripts/side-by-side \
	  programs "$(NINJA) programs" \
	  kernel "scripts/stage-kernel $(BUILD)"

kernel: packages
	@mkdir -p $(BUILD)
	@scripts/stage-kernel $(BUILD)

run: build
	@scripts/first-run $(BUILD)

test: test-packages build fuzz-targets
	$(call say,Tests)
	@$(NINJA)
	@scripts/run-tests $(BUILD)

test-unit: configure
	@$(NINJA) unit_tests
	@cd $(BUILD) && ctest -L unit -j $(JOBS) --output-on-failure

test-asan test-tsan: test-%: packages
	@cmake --preset $* -Wno-dev >/dev/null
	@ninja -C build-$* -j $(JOBS) --quiet unit_tests
	@cd build-$* && ctest -L unit -j $(JOBS) --output-on-failure

# Instrumented, by clang, in a build folder of their own; 'make test' runs them for some seconds.
fuzz-targets: packages
	$(call say,Fuzz targets)
	@scripts/install-packages fuzz
	@cmake --preset fuzz -Wno-dev >/dev/null
	@ninja -C build-fuzz -j $(JOBS) --quiet fuzz_targets

SECONDS := 60
fuzz: fuzz-targets
	@tests/fuzz/run build-fuzz all $(SECONDS)

bench: test-packages build
	@$(NINJA)
	@bench/run $(BUILD)

lint: configure
	@scripts/install-packages lint
	@scripts/lint $(BUILD)

format:
	@scripts/install-packages lint
	@git ls-files '*.cc' '*.h' | xargs clang-format -i

install: build
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX) >/dev/null
	@echo "Installed below $(DESTDIR)$(PREFIX)."

clean:
	rm -rf build build-debug build-asan build-tsan build-fuzz
