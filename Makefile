# SPDX-License-Identifier: GPL-2.0
#
# One job per target; the work is done by scripts/. Kbuild is what the kernel's make reads.

KERNEL ?= plain
ARGS ?=
# Which kernel: scripts/fsdaxlib/source.py reads these.
export SERIES KERNEL_SOURCE

.PHONY: help
help:
	@echo 'make demo             boot once, run the defects of stock Linux on stock and on rust_fsdax'
	@echo 'make test             run the tests (host, KUnit, guests with a debug kernel) [ARGS=--long]'
	@echo 'make bench            compare what both cost, as a table   [ARGS="--fs ext4 --only fault_*"]'
	@echo 'make soak             the randomized stress for long      [ARGS="--minutes 60"]'
	@echo 'make fuzz             random programs of system calls, compared with a model [ARGS="--seconds 3600"]'
	@echo 'make powerfail        what a power failure leaves, stock and rust_fsdax [ARGS="--seed 7"]'
	@echo 'make clients          programs such as libpmemobj, LMDB and SQLite on both [ARGS="--fs xfs --only lmdb*"]'
	@echo 'make kcsan            data races, in C and Rust: planted ones, KUnit, removal, stress [ARGS="--minutes 5"]'
	@echo 'make model            check the model of the protocol, and that it rejects mistakes [ARGS=--long]'
	@echo 'make replay           replay what the module traces against that protocol  [ARGS="--long --ops 2000"]'
	@echo 'make coverage         which lines of the module the tests reach, and why not the others'
	@echo 'make mutants          small mistakes in src/, and whether a test sees each [ARGS="--sample 40 --kunit-only"]'
	@echo 'make check            formatting, clippy, checkpatch, sparse, types, spelling'
	@echo 'make matrix           every kernel series: apply, check, build, boot, KUnit, demo'
	@echo 'make arm64            compile for arm64, boot it emulated, KUnit, short scenarios [ARGS="test_xfs"]'
	@echo 'make htmldocs         render Documentation/ as HTML, with the kernel-doc of the API'
	@echo 'make rustdoc          render what src/ says of its items, as HTML'
	@echo 'make series           unpack the patches onto a git tree, or write them back [ARGS="unpack DIR"]'
	@echo 'make shell            open a shell in a guest             [KERNEL=plain|debug]'
	@echo 'make kernel           build the kernels with the series   (the targets above do it too)'
	@echo 'make modules          build rust_fsdax.ko                 [KERNEL=plain|debug] [KDIR=DIR]'
	@echo 'make modules_install  install it           INSTALL_MOD_PATH=DIR [KERNEL=...] [KDIR=DIR]'
	@echo 'make install          fsdax-pins, its man page, completion and units  [PREFIX=/usr/local] [DESTDIR=]'
	@echo 'make deb              Debian packages: kernel, headers, module, tools [ARGS="--small --config FILE"]'
	@echo 'make clean            remove build/'
	@echo
	@echo 'scripts/vm run SCRIPT runs your own script in a guest; see scripts/vm run --help.'
	@echo 'KDIR=DIR builds for your own kernel with the series, by clang or gcc as that was.'
	@echo 'SERIES=X.Y chooses the kernel series (default: the newest whose source can be had);'
	@echo 'KERNEL_SOURCE=TARBALL|DIR takes its source from there and not from the archive.'
	@echo 'Kernels and tools are kept in $${XDG_CACHE_HOME:-~/.cache}/rust_fsdax.'

.PHONY: python
python:
	@command -v python3 >/dev/null || \
		{ echo 'rust_fsdax: python3 is missing: install the package python3.' >&2; exit 1; }

.PHONY: demo test bench check soak fuzz clients model replay powerfail kcsan coverage mutants matrix arm64 htmldocs rustdoc series deb
demo test bench check soak fuzz clients model replay powerfail kcsan coverage mutants matrix arm64 htmldocs rustdoc series deb: python
	@scripts/$@ $(ARGS)

.PHONY: shell
shell: python
	@scripts/vm shell --kernel $(KERNEL) $(ARGS)

.PHONY: kernel
kernel: python
	@scripts/build kernel

.PHONY: modules modules_install
ifdef KDIR
# By the compiler of that kernel.
OWN_CONFIG := $(firstword $(wildcard $(KDIR)/.config $(KDIR)/include/config/auto.conf))
OWN_LLVM := $(if $(shell grep -s '^CONFIG_CC_IS_CLANG=y' $(OWN_CONFIG) /dev/null),LLVM=1)
modules modules_install:
	@test -f '$(KDIR)/Makefile' -a -f '$(OWN_CONFIG)' || { \
		echo 'rust_fsdax: KDIR=$(KDIR) is no configured kernel: name the directory that it was built in.' >&2; \
		exit 2; }
	@test '$@' = modules_install || scripts/preflight '$(KDIR)' >&2
	@mkdir -p build/modules-own
	$(MAKE) -C $(KDIR) $(OWN_LLVM) M=$(CURDIR) MO=$(CURDIR)/build/modules-own $@
else
modules: python
	@scripts/build modules --kernel $(KERNEL) $(ARGS)

modules_install: python
	@test -n '$(INSTALL_MOD_PATH)' || { \
		echo 'rust_fsdax: INSTALL_MOD_PATH is missing: say where to install (or KDIR=... for your own kernel).' >&2; \
		exit 2; }
	@scripts/build modules_install --kernel $(KERNEL) '$(INSTALL_MOD_PATH)'
endif

# What is for a running system. Nothing is built; Python 3 is needed to run it.
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
DATADIR ?= $(PREFIX)/share/rust_fsdax
MANDIR ?= $(PREFIX)/share/man
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
UNITDIR ?= $(PREFIX)/lib/systemd/system
INSTALL ?= install

.PHONY: install uninstall
install:
	$(INSTALL) -d '$(DESTDIR)$(SBINDIR)' '$(DESTDIR)$(DATADIR)/fsdaxpins' '$(DESTDIR)$(MANDIR)/man8' \
		'$(DESTDIR)$(COMPLETIONDIR)' '$(DESTDIR)$(UNITDIR)'
	$(INSTALL) -m 755 scripts/fsdax-pins '$(DESTDIR)$(SBINDIR)'
	$(INSTALL) -m 644 scripts/fsdaxpins/*.py '$(DESTDIR)$(DATADIR)/fsdaxpins'
	$(INSTALL) -m 755 scripts/break-waits.bt '$(DESTDIR)$(DATADIR)'
	$(INSTALL) -m 644 man/fsdax-pins.8 '$(DESTDIR)$(MANDIR)/man8'
	$(INSTALL) -m 644 scripts/fsdax-pins.bash-completion '$(DESTDIR)$(COMPLETIONDIR)/fsdax-pins'
	for unit in fsdax-pins.service fsdax-pins.timer; do \
		sed 's|@SBINDIR@|$(SBINDIR)|' scripts/systemd/$$unit >'$(DESTDIR)$(UNITDIR)'/$$unit && \
		chmod 644 '$(DESTDIR)$(UNITDIR)'/$$unit || exit 1; \
	done

uninstall:
	rm -f '$(DESTDIR)$(SBINDIR)/fsdax-pins' '$(DESTDIR)$(MANDIR)/man8/fsdax-pins.8' \
		'$(DESTDIR)$(COMPLETIONDIR)/fsdax-pins' '$(DESTDIR)$(UNITDIR)'/fsdax-pins.service \
		'$(DESTDIR)$(UNITDIR)'/fsdax-pins.timer
	rm -rf '$(DESTDIR)$(DATADIR)/fsdaxpins' '$(DESTDIR)$(DATADIR)/break-waits.bt'
	-rmdir '$(DESTDIR)$(DATADIR)'

.PHONY: clean
clean:
	rm -rf build scripts/fsdaxlib/__pycache__
