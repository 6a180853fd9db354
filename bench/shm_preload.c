// SPDX-License-Identifier: GPL-2.0
/*
 * fio wants System V shared memory for what its processes share, and the
 * kernels of the guests have none (CONFIG_SYSVIPC): one shared mapping will do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/shm.h>

static size_t wanted;

int shmget(key_t key, size_t size, int flags)
{
	(void)key;
	(void)flags;
	if (wanted) {
		errno = ENOSPC;
		return -1;
	}
	wanted = size;
	return 1;
}

void *shmat(int id, const void *addr, int flags)
{
	(void)id;
	(void)addr;
	(void)flags;
	return mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

int shmdt(const void *addr)
{
	(void)addr;
	return 0;
}

int shmctl(int id, int command, struct shmid_ds *buf)
{
	(void)id;
	(void)command;
	(void)buf;
	return 0;
}
