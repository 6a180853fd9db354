// SPDX-License-Identifier: GPL-2.0
/*
 * fio and dbench want System V shared memory for what their processes share, and
 * the kernels of the guests have none (CONFIG_SYSVIPC): one shared mapping will do.
 * dbench adds to a semaphore, has its processes wait until that is 0, counts who waits,
 * and takes away again.
 */
#define _GNU_SOURCE
#include <errno.h>
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
	(void)id;
	(void)number;
	return command == GETZCNT ? semaphore->waiting : 0;
}

int semop(int id, struct sembuf *operation, size_t count)
{
	(void)id;
	(void)count;
	if (operation->sem_op) {
		semaphore->value += operation->sem_op;
		return 0;
	}
	semaphore->waiting++;
	while (semaphore->value)
		usleep(1000);
	semaphore->waiting--;
	return 0;
}
