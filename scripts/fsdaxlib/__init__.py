# SPDX-License-Identifier: GPL-2.0
"""What the scripts of rust_fsdax share: cache, toolchain, kernels, modules and guests."""
