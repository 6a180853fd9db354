/* SPDX-License-Identifier: GPL-2.0 */
/* What faults did: how many there were of which kind, what is mapped, what of it counts. */
#ifndef FSDAX_VM_FAULTS_H
#define FSDAX_VM_FAULTS_H

#include <stddef.h>

/* Faults of a file between the two calls, by the tracepoints of fs_dax. */
struct dax_faults {
	long huge, fallback;	/* of 2 MiB: mapped, fell back to 4 KiB */
	long small;		/* of 4 KiB */
	long huge_zero, small_zero;	/* gave a zero page */
};

void faults_start(void);
struct dax_faults faults_stop(int fd);
/* Of a mapping, in pages of 4 KiB: present at all, in 2 MiB. */
size_t present_pages(const char *map, size_t pages);
size_t huge_pages(const char *map, size_t pages);
/* Rss in smaps of the mappings there; RssFile of the process. */
long rss_kib(const char *map, size_t pages);
long rss_file_kib(void);

#endif
