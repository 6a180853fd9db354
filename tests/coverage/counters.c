// SPDX-License-Identifier: GPL-2.0
/*
 * Saves the data of rust_fsdax, its coverage counters among them, to a file:
 * when it goes, after its last instruction, and when the guest ends. Who wants
 * them meanwhile reads /proc/fsdax_counters; "base" is the address of its first
 * byte.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/reboot.h>

static char *out;
module_param(out, charp, 0400);
MODULE_PARM_DESC(out, "path of the files, to which .0, .1 and so on is added");

static ulong base;
module_param(base, ulong, 0400);
MODULE_PARM_DESC(base, "set by us: the address of the data");

/* Changes under the mutex of the notifier chains, by one thread at a time. */
static struct module *loaded;
static unsigned int saved;

static void save(const struct module_memory *data)
{
	char *name = kasprintf(GFP_KERNEL, "%s.%u", out, saved);
	/* 9p does not find the pages of a module. */
	void *copy = kvmemdup(data->base, data->size, GFP_KERNEL);
	struct file *file;
	loff_t pos = 0;
	ssize_t done;

	if (!name || !copy) {
		pr_err("BUG: no memory for the counters\n");
		goto free;
	}
	file = filp_open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (IS_ERR(file)) {
		pr_err("BUG: cannot create %s: %pe\n", name, file);
		goto free;
	}
	while (pos < data->size) {
		done = kernel_write(file, copy + pos, data->size - pos, &pos);
		if (done <= 0) {
			pr_err("BUG: cannot write %s: %zd\n", name, done);
			break;
		}
	}
	filp_close(file, NULL);
	saved++;
free:
	kvfree(copy);
	kfree(name);
}

/* The module does not go while somebody reads. */
static DEFINE_MUTEX(reading);

static void set_loaded(struct module *mod)
{
	mutex_lock(&reading);
	loaded = mod;
	base = mod ? (ulong)mod->mem[MOD_DATA].base : 0;
	mutex_unlock(&reading);
}

static ssize_t read_now(struct file *file, char __user *to, size_t size,
			loff_t *pos)
{
	const struct module_memory *data;
	ssize_t done = -ENODEV;

	mutex_lock(&reading);
	if (loaded) {
		data = &loaded->mem[MOD_DATA];
		done = simple_read_from_buffer(to, size, pos, data->base,
					       data->size);
	}
	mutex_unlock(&reading);
	return done;
}

static const struct proc_ops now = {
	.proc_read = read_now,
	.proc_lseek = default_llseek,
};

static int module_changes(struct notifier_block *nb, unsigned long state,
			  void *subject)
{
	struct module *mod = subject;

	if (strcmp(mod->name, "rust_fsdax"))
		return NOTIFY_DONE;
	if (state == MODULE_STATE_COMING)
		set_loaded(mod);
	if (state == MODULE_STATE_GOING) {
		save(&mod->mem[MOD_DATA]);
		set_loaded(NULL);
	}
	return NOTIFY_OK;
}

static int guest_ends(struct notifier_block *nb, unsigned long code, void *cmd)
{
	if (loaded)
		save(&loaded->mem[MOD_DATA]);
	return NOTIFY_OK;
}

static struct notifier_block on_module = { .notifier_call = module_changes };
static struct notifier_block on_reboot = { .notifier_call = guest_ends };

/* There is no way to unload it: the guest ends first. */
static int __init counters_init(void)
{
	int err;

	if (!out)
		return -EINVAL;
	err = register_reboot_notifier(&on_reboot);
	if (err)
		return err;
	err = register_module_notifier(&on_module);
	if (!err && !proc_create("fsdax_counters", 0400, NULL, &now)) {
		unregister_module_notifier(&on_module);
		err = -ENOMEM;
	}
	if (err)
		unregister_reboot_notifier(&on_reboot);
	return err;
}
module_init(counters_init);

MODULE_DESCRIPTION("Saves the coverage counters of rust_fsdax");
MODULE_LICENSE("GPL");
