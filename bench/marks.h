/* SPDX-License-Identifier: GPL-2.0 */
/* Where the benchmark has code whose execution the plugin notices. */
#ifndef FSDAX_MARKS_H
#define FSDAX_MARKS_H

#define MARK_BEGIN	0x5fda0000UL
#define MARK_END	0x5fda1000UL
#define MARK_REPORT	0x5fda2000UL

#endif
