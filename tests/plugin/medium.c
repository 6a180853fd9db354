// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin of QEMU: keeps, for each pmem device, what a power failure would leave
 * of it. The memory of the guest is what its CPUs see, with all caches. The medium is
 * a second copy here, that takes a cache line when it is written back (clwb,
 * clflushopt, clflush) and the bytes of a store that bypasses the caches (movnti and
 * its like), and nothing else.
 *
 * It can also record how the medium of one device changes: the states that it has on the
 * way, at each fence and after each page between two, of which any may be what a power
 * failure leaves.
 *
 * QEMU installs no header for plugins in Debian; what is used of the interface,
 * version 7, and of glib is declared here, as their documentation has it.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEDIUM_PLUGIN
#include "../vm/medium.h"

#define API_VERSION	7
#define EXPORT		__attribute__((visibility("default")))

#define LINE		64
#define PAGE		4096
#define MAX_INSN	15
#define REGISTERS	16
#define MAX_DEVICES	4

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
struct qemu_plugin_register;
struct qemu_info;

/* glib's GByteArray and GArray. */
struct bytes {
	uint8_t *data;
	unsigned int len;
};

struct list {
	char *data;
	unsigned int len;
};

/* More of it follows in newer ones. */
struct reg {
	struct qemu_plugin_register *handle;
	const char *name, *feature;
};

struct value {
	int log2_size;
	union {
		uint8_t bytes[16];
		uint64_t words[2];
	};
};

enum { READ_REGS = 1, WRITE_REGS = 2 };
enum { MEM_WRITE = 2 };

typedef void (*cpu_fn)(unsigned int cpu, void *data);
typedef void (*translated_fn)(struct qemu_plugin_tb *tb, void *data);
typedef void (*memory_fn)(unsigned int cpu, uint32_t info, uint64_t address, void *data);

struct bytes *g_byte_array_new(void);
struct bytes *g_byte_array_set_size(struct bytes *bytes, unsigned int size);
unsigned int g_array_get_element_size(struct list *list);
struct list *qemu_plugin_get_registers(void);
bool qemu_plugin_read_register(struct qemu_plugin_register *handle, struct bytes *buf);
bool qemu_plugin_write_register(struct qemu_plugin_register *handle, struct bytes *buf);
bool qemu_plugin_translate_vaddr(uint64_t address, uint64_t *physical);
int qemu_plugin_read_memory_hwaddr(uint64_t physical, struct bytes *buf, size_t size);
int qemu_plugin_write_memory_hwaddr(uint64_t physical, struct bytes *buf);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(uint32_t info, uint64_t address);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *hwaddr);
struct value qemu_plugin_mem_get_value(uint32_t info);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *buf, size_t size);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_init_cb(uint64_t id, cpu_fn fn, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn fn, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, cpu_fn fn, int flags,
					    void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, memory_fn fn, int flags,
				      int access, void *data);
EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);

EXPORT int qemu_plugin_version = API_VERSION;

struct device {
	uint64_t start;		/* physical */
	uint8_t *medium;
};

static struct device devices[MAX_DEVICES];
static unsigned int device_count;
static uint64_t device_bytes, copy_start;

/* What was written to the medium of one device, in order, and the states that it had. */
static struct {
	const struct device *device;	/* NULL: nothing is recorded */
	uint8_t *state;			/* the medium with the first @applied of the writes */
	size_t applied;
	struct write {
		uint64_t at;
		unsigned int bytes;
		uint8_t data[LINE];
	} *writes;
	size_t write_count, write_max;
	size_t *states;			/* how many of them each has */
	size_t state_count, state_max;
	size_t bytes;			/* since the last one */
} record;

/* By their number in an instruction, and the buffer for all traffic with QEMU. */
static struct qemu_plugin_register *registers[REGISTERS];
static struct bytes *buffer;
/* A power failure is one moment for all CPUs. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const register_names[REGISTERS] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
};

enum { RAX = 0, RCX = 1, RDX = 2, RSP = 4, RBP = 5, RSI = 6, RDI = 7, NONE = -1 };

/* What a ModRM byte and what follows it say about an address. */
struct operand {
	int base, index;	/* register or NONE */
	unsigned int shift;
	int64_t displacement;	/* with the address of the next instruction, if relative to that */
};

__attribute__((noreturn))
static void give_up(const char *why)
{
	fprintf(stderr, "medium: %s\n", why);
	abort();
}

static uint64_t read_register(int number)
{
	uint64_t value;

	g_byte_array_set_size(buffer, 0);
	if (!qemu_plugin_read_register(registers[number], buffer) || buffer->len < sizeof(value))
		give_up("a register cannot be read");
	memcpy(&value, buffer->data, sizeof(value));
	return value;
}

static void write_register(int number, uint64_t value)
{
	g_byte_array_set_size(buffer, sizeof(value));
	memcpy(buffer->data, &value, sizeof(value));
	if (!qemu_plugin_write_register(registers[number], buffer))
		give_up("a register cannot be written");
}

static const uint8_t *read_memory(uint64_t physical, size_t size)
{
	if (qemu_plugin_read_memory_hwaddr(physical, buffer, size))
		give_up("memory cannot be read");
	return buffer->data;
}

static void write_memory(uint64_t physical, const uint8_t *data, size_t size)
{
	g_byte_array_set_size(buffer, size);
	memcpy(buffer->data, data, size);
	if (qemu_plugin_write_memory_hwaddr(physical, buffer))
		give_up("memory cannot be written");
}

/* Where the medium keeps what is at a physical address, NULL if that is no pmem. */
static uint8_t *medium_of(uint64_t physical)
{
	for (unsigned int i = 0; i < device_count; i++)
		if (physical - devices[i].start < device_bytes)
			return devices[i].medium + (physical - devices[i].start);
	return NULL;
}

static void *room_for(void *array, size_t count, size_t *max, size_t size)
{
	if (count < *max)
		return array;
	*max = 2 * *max + 1024;
	array = realloc(array, *max * size);
	if (!array)
		give_up("there is no memory for what is recorded");
	return array;
}

static void end_state(void)
{
	if (!record.device || !record.bytes)
		return;
	record.states = room_for(record.states, record.state_count, &record.state_max,
				 sizeof(*record.states));
	record.states[record.state_count++] = record.write_count;
	record.bytes = 0;
}

/* Between two fences lines get to the medium one by one: there is a state for each page of them. */
static void keep(uint8_t *to, const void *data, unsigned int bytes)
{
	const struct device *device = record.device;
	struct write *write;

	memcpy(to, data, bytes);
	if (!device || to < device->medium || to >= device->medium + device_bytes)
		return;
	record.writes = room_for(record.writes, record.write_count, &record.write_max,
				 sizeof(*record.writes));
	write = &record.writes[record.write_count++];
	write->at = to - device->medium;
	write->bytes = bytes;
	memcpy(write->data, data, bytes);
	record.bytes += bytes;
	if (record.bytes >= PAGE)
		end_state();
}

static void fence(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	pthread_mutex_lock(&lock);
	end_state();
	pthread_mutex_unlock(&lock);
}

static void write_back_line(unsigned int cpu, void *data)
{
	const struct operand *operand = data;
	uint64_t address = operand->displacement, physical;
	uint8_t *to;

	(void)cpu;
	pthread_mutex_lock(&lock);
	if (operand->base != NONE)
		address += read_register(operand->base);
	if (operand->index != NONE)
		address += read_register(operand->index) << operand->shift;
	if (qemu_plugin_translate_vaddr(address & -LINE, &physical)) {
		to = medium_of(physical);
		if (to)
			keep(to, read_memory(physical, LINE), LINE);
	}
	pthread_mutex_unlock(&lock);
}

static void store_past_caches(unsigned int cpu, uint32_t info, uint64_t address, void *data)
{
	const struct qemu_plugin_hwaddr *hwaddr = qemu_plugin_get_hwaddr(info, address);
	struct value value;
	uint8_t *to;

	(void)cpu;
	(void)data;
	if (!hwaddr)
		return;
	to = medium_of(qemu_plugin_hwaddr_phys_addr(hwaddr));
	if (!to)
		return;
	value = qemu_plugin_mem_get_value(info);
	pthread_mutex_lock(&lock);
	keep(to, value.bytes, 1u << value.log2_size);
	pthread_mutex_unlock(&lock);
}

static uint64_t unflushed(const struct device *device, uint64_t start, uint64_t bytes)
{
	const uint64_t end = start + bytes;
	uint64_t lines = 0;

	if (start % LINE || bytes % LINE || end < start || end > device_bytes)
		return MEDIUM_BAD;
	for (; start < end; start += LINE)
		lines += !!memcmp(device->medium + start,
				  read_memory(device->start + start, LINE), LINE);
	return lines;
}

static uint64_t copy_medium(const uint8_t *medium)
{
	for (uint64_t at = 0; at < device_bytes; at += PAGE)
		if (memcmp(medium + at, read_memory(copy_start + at, PAGE), PAGE))
			write_memory(copy_start + at, medium + at, PAGE);
	return 0;
}

static uint64_t start_record(const struct device *device)
{
	if (!record.state)
		record.state = malloc(device_bytes);
	if (!record.state)
		give_up("there is no memory for another medium");
	memcpy(record.state, device->medium, device_bytes);
	record.device = device;
	record.applied = 0;
	record.write_count = 0;
	record.state_count = 0;
	record.bytes = 0;
	return 0;
}

/* States have numbers from 0, which is that before the first write, and are copied in order. */
static uint64_t copy_state(const struct device *device, uint64_t number)
{
	size_t last;

	if (device != record.device || number > record.state_count)
		return MEDIUM_BAD;
	last = number ? record.states[number - 1] : 0;
	if (last < record.applied)
		return MEDIUM_BAD;
	for (; record.applied < last; record.applied++) {
		const struct write *write = &record.writes[record.applied];

		memcpy(record.state + write->at, write->data, write->bytes);
	}
	return copy_medium(record.state);
}

static uint64_t answer(void)
{
	const uint64_t request = read_register(RDI), number = read_register(RSI);

	if (request == MEDIUM_DEVICES)
		return device_count;
	if (number >= device_count)
		return MEDIUM_BAD;
	if (request == MEDIUM_UNFLUSHED)
		return unflushed(&devices[number], read_register(RDX), read_register(RCX));
	if (request == MEDIUM_POWER_FAILURE)
		return copy_medium(devices[number].medium);
	if (request == MEDIUM_RECORD)
		return start_record(&devices[number]);
	if (request == MEDIUM_STATES) {
		end_state();
		return record.state_count;
	}
	if (request == MEDIUM_STATE)
		return copy_state(&devices[number], read_register(RDX));
	return MEDIUM_BAD;
}

static void request(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	pthread_mutex_lock(&lock);
	write_register(RAX, answer());
	pthread_mutex_unlock(&lock);
}

/* Reads what follows the opcode at @code; @next is the address of the next instruction. */
static struct operand *operand_of(const uint8_t *code, unsigned int rex, uint64_t next)
{
	const unsigned int mod = code[0] >> 6;
	struct operand *operand = calloc(1, sizeof(*operand));
	int8_t byte;
	int32_t word = 0;

	if (!operand)
		abort();
	operand->base = code[0] & 7;
	operand->index = NONE;
	code++;
	if (operand->base == RSP) {
		operand->base = *code & 7;
		operand->index = (*code >> 3 & 7) | (rex & 2) << 2;
		operand->shift = *code++ >> 6;
		if (operand->index == RSP)
			operand->index = NONE;
		if (operand->base == RBP && mod == 0)
			operand->base = NONE;
	} else if (operand->base == RBP && mod == 0) {
		operand->base = NONE;
		operand->displacement = next;
	}
	if (mod == 1) {
		memcpy(&byte, code, sizeof(byte));
		operand->displacement += byte;
	} else if (mod == 2 || operand->base == NONE) {
		memcpy(&word, code, sizeof(word));
		operand->displacement += word;
	}
	if (operand->base != NONE)
		operand->base |= (rex & 1) << 3;
	return operand;
}

static bool is_prefix(uint8_t byte)
{
	return byte && strchr("\x26\x2e\x36\x3e\x64\x65\x66\xf0\xf2\xf3", byte);
}

/* Whether @code is a store of AVX that bypasses the caches. The VEX prefix replaces all others. */
static bool is_vex_store(const uint8_t *code)
{
	if (code[0] == 0xc5)
		code += 2;
	else if (code[0] == 0xc4 && (code[1] & 0x1f) == 1)
		code += 3;
	else
		return false;
	/* vmovntdq, vmovntps and vmovntpd */
	return (code[0] == 0xe7 || code[0] == 0x2b) && code[1] >> 6 != 3;
}

static void look_at(struct qemu_plugin_insn *insn)
{
	/* Zeros behind the end spare bounds checks. */
	uint8_t code[2 * MAX_INSN] = { 0 }, *at = code;
	const size_t size = qemu_plugin_insn_data(insn, code, MAX_INSN);
	struct operand *operand;
	unsigned int rex = 0;
	bool data16 = false;
	uint32_t word;

	for (; is_prefix(*at); at++)
		data16 |= *at == 0x66;
	if (is_vex_store(at)) {
		qemu_plugin_register_vcpu_mem_cb(insn, store_past_caches, 0, MEM_WRITE, NULL);
		return;
	}
	if (*at >> 4 == 4)
		rex = *at++;
	if (*at++ != 0x0f)
		return;
	switch (*at++) {
	case 0xae:
		/* sfence, mfence. */
		if (*at == 0xf8 || *at == 0xf0) {
			qemu_plugin_register_vcpu_insn_exec_cb(insn, fence, 0, NULL);
			break;
		}
		/* /7 is clflush or clflushopt, /6 with this prefix clwb. */
		if (*at >> 6 == 3 || ((*at >> 3 & 7) != 7 && (!data16 || (*at >> 3 & 7) != 6)))
			break;
		operand = operand_of(at, rex, qemu_plugin_insn_vaddr(insn) + size);
		qemu_plugin_register_vcpu_insn_exec_cb(insn, write_back_line, READ_REGS, operand);
		break;
	case 0xc3:	/* movnti */
	case 0xe7:	/* movntq, movntdq */
	case 0x2b:	/* movntps, movntpd */
		if (*at >> 6 != 3)
			qemu_plugin_register_vcpu_mem_cb(insn, store_past_caches, 0, MEM_WRITE,
							 NULL);
		break;
	case 0x1f:
		memcpy(&word, at + 1, sizeof(word));
		if (*at == 0x80 && word == MEDIUM_REQUEST)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, request, WRITE_REGS, NULL);
		break;
	}
}

static void translated(struct qemu_plugin_tb *tb, void *data)
{
	(void)data;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++)
		look_at(qemu_plugin_tb_get_insn(tb, i));
}

/* All CPUs have the same registers. */
static void find_registers(unsigned int cpu, void *data)
{
	struct list *found = qemu_plugin_get_registers();
	const unsigned int size = g_array_get_element_size(found);

	(void)cpu;
	(void)data;
	for (unsigned int i = 0; i < found->len; i++) {
		const struct reg *reg = (void *)(found->data + i * size);

		for (int k = 0; k < REGISTERS; k++)
			if (!strcmp(reg->name, register_names[k]))
				registers[k] = reg->handle;
	}
	for (int k = 0; k < REGISTERS; k++)
		if (!registers[k])
			give_up("QEMU does not name all registers");
}

static bool parse(const char *argument)
{
	char *end;
	uint64_t value;
	const char *text = strchr(argument, '=');

	if (!text)
		return false;
	value = strtoull(text + 1, &end, 0);
	if (*end || !value)
		return false;
	if (!strncmp(argument, "device=", 7) && device_count < MAX_DEVICES)
		devices[device_count++].start = value;
	else if (!strncmp(argument, "copy=", 5))
		copy_start = value;
	else if (!strncmp(argument, "size=", 5))
		device_bytes = value;
	else
		return false;
	return true;
}

/* The arguments are device=ADDRESS for each device, copy=ADDRESS and size=BYTES. */
int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++)
		if (!parse(argv[i])) {
			fprintf(stderr, "medium: bad argument %s\n", argv[i]);
			return -1;
		}
	if (!device_count || !copy_start || !device_bytes) {
		fprintf(stderr, "medium: device=, copy= or size= is missing\n");
		return -1;
	}
	/* The memory of a new guest is zero, and so is this. */
	for (unsigned int i = 0; i < device_count; i++) {
		devices[i].medium = calloc(1, device_bytes);
		if (!devices[i].medium)
			return -1;
	}
	buffer = g_byte_array_new();
	qemu_plugin_register_vcpu_init_cb(id, find_registers, NULL);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	return 0;
}
