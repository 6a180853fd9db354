// SPDX-License-Identifier: GPL-2.0
/*
 * fio and dbench want System V shared memory for what their processes share, and
 * the kernels of the guests have none (CONFIG_SYSVIPC): one shared mapping will do.
 * dbench has its processes wait until a semaphore is 0, and counts who waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

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

static struct {
	atomic_int value, waiting;
} *semaphore;

int semget(key_t key, int semaphores, int flags)
{
	(void)key;
	(void)semaphores;
	(void)flags;
	semaphore = mmap(NULL, sizeof(*semaphore), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return semaphore == MAP_FAILED ? -1 : 1;
}

int semctl(int id, int number, int command, ...)
{
	va_list args;

	(void)id;
	(void)number;
	if (command == GETZCNT)
		return semaphore->waiting;
	if (command == SETVAL) {
		va_start(args, command);
		semaphore->value = va_arg(args, int);
		va_end(args);
	}
	return 0;
}

int semop(int id, struct sembuf *operations, size_t count)
{
	(void)id;
	(void)operations;
	(void)count;
	semaphore->waiting++;
	while (semaphore->value)
		usleep(1000);
	return 0;
}
