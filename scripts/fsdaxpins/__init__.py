# SPDX-License-Identifier: GPL-2.0
"""What fsdax-pins is made of; it imports nothing outside the standard library."""
