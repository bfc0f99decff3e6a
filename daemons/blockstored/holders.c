/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Only the kernel knows for sure whether a device is in use (it refuses an exclusive open); it does not say by whom. This looks where a person would: what
 * is stacked on the disk and its partitions, and on that in turn, mounts, swaps, and the descriptors of processes. It reads links and small files and opens or stats nothing, so that a hung file system
 * cannot hang it.
 *
 * Mounts are taken from PID 1's table, since the supervisor lives in a mount namespace of its own; file systems with an anonymous device number (btrfs) are recognised by
 * their source. */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "holders.h"
#include "octal-escapes.h"

#define HOLDERS_NAMED   4U
#define NODES_MAX       128U /* a disk and its partitions */
#define FDS_PER_PROCESS 65536U

DEFINE_CLEANUP(DIR *, closedir);

struct node {
        char name[24];   /* "nbd0", "nbd0p1", "dm-0" */
        char alias[64];  /* "mapper/NAME"; "" for none */
        char number[24]; /* "43:0" */
};

struct search {
        const struct holders_roots *roots;
        const char *link_name;
        struct node nodes[NODES_MAX];
        size_t n_nodes;
        size_t n_own; /* of these the disk and its partitions; the rest is stacked upon them */
        struct holder *holders;
        size_t max;
        unsigned n_found;
        bool udev;
};

static const char *const kind_names[_HOLDER_KIND_MAX] = {
        [HOLDER_MOUNT] = "mount",
        [HOLDER_SWAP] = "swap",
        [HOLDER_PROCESS] = "process",
        [HOLDER_MAPPED] = "mapped",
        [HOLDER_LOOP] = "loop",
        [HOLDER_STACKED] = "stacked",
};

const char *holder_kind_to_string(enum holder_kind kind) {
        return kind_names[kind];
}

/* by, name and path: NULL for none. */
static void found(struct search *search, enum holder_kind kind, const char *device, const char *by, const char *name,
        const char *path, uint32_t pid) {
        struct holder *holder = search->holders + search->n_found;

        if (search->n_found++ >= search->max)
                return;

        *holder = (struct holder){ .kind = kind, .pid = pid };
        (void) snprintf(holder->device, sizeof(holder->device), "%s", device);
        (void) snprintf(holder->by, sizeof(holder->by), "%s", by ?: "");
        (void) snprintf(holder->name, sizeof(holder->name), "%s", name ?: "");
        (void) snprintf(holder->path, sizeof(holder->path), "%s", path ?: "");
}

/* First line of a small file; false when it cannot be read. */
static bool read_line(const char *path, char *buffer, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return false;

        n = read(fd, buffer, size - 1);
        if (n < 0)
                return false;

        buffer[n] = 0;
        buffer[strcspn(buffer, "\n")] = 0;
        return true;
}

static bool add_node(struct search *search, const char *directory, const char *name) {
        struct node *node = search->nodes + search->n_nodes;
        char path[640];

        if (search->n_nodes >= NODES_MAX || strlen(name) >= sizeof(node->name))
                return false;
        for (size_t i = 0; i < search->n_nodes; i++)
                if (strcmp(search->nodes[i].name, name) == 0)
                        return false;

        (void) snprintf(path, sizeof(path), "%s/dev", directory);
        if (!read_line(path, node->number, sizeof(node->number)))
                return false;

        (void) snprintf(node->name, sizeof(node->name), "%s", name);
        node->alias[0] = 0;
        search->n_nodes++;
        return true;
}

/* What the kernel itself has put upon a device: used by it, and a device in its own right. */
static void add_stacked(struct search *search, const char *device, const char *by) {
        char directory[512], path[640], name[56] = "";
        bool loop = strncmp(by, "loop", 4) == 0;

        (void) snprintf(directory, sizeof(directory), "%s/block/%.64s", search->roots->sys, by);
        (void) snprintf(path, sizeof(path), "%s/dm/name", directory);
        if (read_line(path, name, sizeof(name)))
                found(search, HOLDER_MAPPED, device, by, name, NULL, 0);
        else
                found(search, loop ? HOLDER_LOOP : HOLDER_STACKED, device, by, NULL, NULL, 0);

        if (add_node(search, directory, by) && *name)
                (void) snprintf(search->nodes[search->n_nodes - 1].alias,
                        sizeof(search->nodes[search->n_nodes - 1].alias), "mapper/%s", name);
}

static void search_block_holders(struct search *search, const char *directory, const char *device) {
        _cleanup_(closedirp) DIR *holders = NULL;
        struct dirent *entry;
        char path[640];

        (void) snprintf(path, sizeof(path), "%s/holders", directory);
        holders = opendir(path);
        while (holders && (entry = readdir(holders)))
                if (entry->d_name[0] != '.')
                        add_stacked(search, device, entry->d_name);
}

/* The disk, its partitions, and what the kernel itself has stacked on them. */
static void search_disk(struct search *search, uint32_t index) {
        _cleanup_(closedirp) DIR *disk = NULL;
        struct dirent *entry;
        char path[256], name[16];

        (void) snprintf(name, sizeof(name), "nbd%u", index);
        (void) snprintf(path, sizeof(path), "%s/block/%s", search->roots->sys, name);
        (void) add_node(search, path, name);

        disk = opendir(path);
        while (disk && (entry = readdir(disk))) {
                char part[512];

                if (strncmp(entry->d_name, name, strlen(name)) != 0)
                        continue;
                (void) snprintf(part, sizeof(part), "%s/%s", path, entry->d_name);
                (void) add_node(search, part, entry->d_name);
        }
        search->n_own = search->n_nodes;
}

/* The device that has the number, or that the path leads to; NULL for none of ours. Paths are "/dev/nbd0p1", "/dev/mapper/NAME", or "/dev/blockstore/NAME-part1", the last only as far as it goes by
 * our name. */
static const char *find_number(const struct search *search, const char *number) {
        for (size_t i = 0; i < search->n_nodes; i++)
                if (strcmp(search->nodes[i].number, number) == 0)
                        return search->nodes[i].name;
        return NULL;
}

static const char *find_path(const struct search *search, const char *path) {
        static const char links[] = "/dev/blockstore/";
        size_t n = strlen(search->link_name);

        for (size_t i = 0; i < search->n_nodes; i++) {
                const struct node *node = search->nodes + i;

                if (strncmp(path, "/dev/", 5) == 0 &&
                        (strcmp(path + 5, node->name) == 0 || (*node->alias && strcmp(path + 5, node->alias) == 0)))
                        return node->name;
        }

        if (strncmp(path, links, strlen(links)) != 0 || search->n_nodes == 0)
                return NULL;
        path += strlen(links);
        if (strncmp(path, search->link_name, n) != 0)
                return NULL;
        path += n;
        if (*path == 0 ||
                (strncmp(path, "-part", 5) == 0 && path[5] && strspn(path + 5, "0123456789") == strlen(path + 5)))
                return search->nodes[0].name;
        return NULL;
}

/* A loop device does not stand among the holders of what lies beneath it. */
static void search_loops(struct search *search) {
        _cleanup_(closedirp) DIR *block = NULL;
        struct dirent *entry;
        char path[512], target[256];

        (void) snprintf(path, sizeof(path), "%s/block", search->roots->sys);
        block = opendir(path);
        while (block && (entry = readdir(block))) {
                const char *device;

                if (strncmp(entry->d_name, "loop", 4) != 0)
                        continue;
                (void) snprintf(
                        path, sizeof(path), "%s/block/%.64s/loop/backing_file", search->roots->sys, entry->d_name);
                if (read_line(path, target, sizeof(target)) && (device = find_path(search, target)))
                        add_stacked(search, device, entry->d_name);
        }
}

/* From the disk upwards; what is found on the way is looked at in its turn. */
static void search_stack(struct search *search) {
        char path[512];

        search_loops(search);
        for (size_t i = 0; i < search->n_nodes; i++) {
                const char *name = search->nodes[i].name;

                if (i > 0 && i < search->n_own)
                        (void) snprintf(
                                path, sizeof(path), "%s/block/%s/%s", search->roots->sys, search->nodes[0].name, name);
                else
                        (void) snprintf(path, sizeof(path), "%s/block/%s", search->roots->sys, name);
                search_block_holders(search, path, name);
        }
}

/* "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELDS...] - TYPE SOURCE OPTIONS" */
static void search_mount_line(struct search *search, char *line) {
        char *fields[6] = {}, *state = NULL, *field, *source = NULL;
        const char *device;
        unsigned n = 0;

        for (field = strtok_r(line, " \n", &state); field && n < ELEMENTSOF(fields);
                field = strtok_r(NULL, " \n", &state))
                fields[n++] = field;
        if (n < ELEMENTSOF(fields))
                return;

        while (field && strcmp(field, "-") != 0)
                field = strtok_r(NULL, " \n", &state);
        if (field && strtok_r(NULL, " \n", &state))
                source = strtok_r(NULL, " \n", &state);
        if (source)
                (void) octal_unescape(source);

        device = find_number(search, fields[2]);
        if (!device && source)
                device = find_path(search, source);
        if (!device)
                return;

        (void) octal_unescape(fields[4]);
        found(search, HOLDER_MOUNT, device, NULL, NULL, fields[4], 0);
}

static void search_mounts(struct search *search) {
        static const char *const tables[] = { "1/mountinfo", "self/mountinfo" };

        for (size_t i = 0; i < ELEMENTSOF(tables); i++) {
                _cleanup_fclose_ FILE *file = NULL;
                _cleanup_free_ char *line = NULL;
                size_t allocated = 0;
                char path[256];

                (void) snprintf(path, sizeof(path), "%s/%s", search->roots->proc, tables[i]);
                file = fopen(path, "re");
                if (!file)
                        continue;

                while (getline(&line, &allocated, file) > 0)
                        search_mount_line(search, line);
                return;
        }
}

static void search_swaps(struct search *search) {
        _cleanup_fclose_ FILE *file = NULL;
        _cleanup_free_ char *line = NULL;
        size_t allocated = 0;
        char path[256];

        (void) snprintf(path, sizeof(path), "%s/swaps", search->roots->proc);
        file = fopen(path, "re");
        while (file && getline(&line, &allocated, file) > 0) {
                const char *device;

                line[strcspn(line, " \t\n")] = 0;
                (void) octal_unescape(line);
                device = find_path(search, line);
                if (device)
                        found(search, HOLDER_SWAP, device, NULL, NULL, NULL, 0);
        }
}

/* udev's workers open every device that changes, for milliseconds. */
static bool is_udev(const char *comm) {
        return strcmp(comm, "systemd-udevd") == 0 || strcmp(comm, "(udev-worker)") == 0;
}

static void search_process(struct search *search, const char *pid) {
        _cleanup_(closedirp) DIR *fds = NULL;
        struct dirent *entry;
        char path[512], target[256], comm[64];

        (void) snprintf(path, sizeof(path), "%s/%s/fd", search->roots->proc, pid);
        fds = opendir(path);
        for (unsigned n = 0; fds && n < FDS_PER_PROCESS && (entry = readdir(fds)); n++) {
                const char *device;
                ssize_t k;

                if (entry->d_name[0] == '.')
                        continue;

                k = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);
                if (k < 0)
                        continue;
                target[k] = 0;
                device = find_path(search, target);
                if (!device)
                        continue;

                (void) snprintf(path, sizeof(path), "%s/%s/comm", search->roots->proc, pid);
                if (!read_line(path, comm, sizeof(comm)))
                        (void) snprintf(comm, sizeof(comm), "process");
                if (is_udev(comm))
                        search->udev = true;
                else
                        found(search, HOLDER_PROCESS, device, NULL, comm, NULL, (uint32_t) strtoul(pid, NULL, 10));
                return;
        }
}

static void search_processes(struct search *search) {
        _cleanup_(closedirp) DIR *proc = opendir(search->roots->proc);
        struct dirent *entry;
        char self[16];

        (void) snprintf(self, sizeof(self), "%d", (int) getpid());
        while (proc && (entry = readdir(proc)))
                if (isdigit((unsigned char) entry->d_name[0]) && strcmp(entry->d_name, self) != 0)
                        search_process(search, entry->d_name);
}

int holders_list(const struct holders_roots *roots, uint32_t index, const char *link_name, struct holder *ret,
        size_t max, bool *ret_only_udev) {
        struct search *search;
        int n;

        search = calloc(1, sizeof(*search));
        if (!search)
                return -ENOMEM;
        *search = (struct search){ .roots = roots, .link_name = link_name, .holders = ret, .max = max };

        search_disk(search, index);
        search_stack(search);
        search_mounts(search);
        search_swaps(search);
        search_processes(search);

        n = (int) search->n_found;
        if (ret_only_udev)
                *ret_only_udev = n == 0 && search->udev;
        free(search);
        return n;
}

/* "mounted on /srv", "used by dm-0 (data)"; what goes by way of another device names that one. */
static void describe(const struct holder *holder, char *text, size_t size) {
        bool direct = strncmp(holder->device, "nbd", 3) == 0;
        const char *open = direct ? "" : " (", *device = direct ? "" : holder->device, *close = direct ? "" : ")";

        switch (holder->kind) {
        case HOLDER_MOUNT:
                (void) snprintf(text, size, "mounted on %s%s%s%s", holder->path, open, device, close);
                return;
        case HOLDER_SWAP:
                (void) snprintf(text, size, "swap%s%s%s", open, device, close);
                return;
        case HOLDER_PROCESS:
                (void) snprintf(text, size, "open in %s[%u]%s%s%s", holder->name, holder->pid, open, device, close);
                return;
        case HOLDER_MAPPED:
                (void) snprintf(text, size, "used by %s (%s)", holder->by, holder->name);
                return;
        case HOLDER_LOOP:
        case HOLDER_STACKED:
        case _HOLDER_KIND_MAX:
        default:
                (void) snprintf(text, size, "used by %s", holder->by);
                return;
        }
}

int holders_find(const struct holders_roots *roots, uint32_t index, const char *link_name, char *text, size_t size,
        bool *ret_only_udev) {
        struct holder holders[HOLDERS_NAMED];
        size_t used = 0;
        int n;

        if (size == 0)
                return -EINVAL;

        text[0] = 0;
        n = holders_list(roots, index, link_name, holders, HOLDERS_NAMED, ret_only_udev);
        for (int i = 0; i < n && i <= (int) HOLDERS_NAMED; i++) {
                char one[256] = "and others";
                int k;

                if (i < (int) HOLDERS_NAMED)
                        describe(holders + i, one, sizeof(one));
                k = snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", one);
                if (k > 0)
                        used += (size_t) k < size - used ? (size_t) k : size - used - 1;
        }
        return n;
}
