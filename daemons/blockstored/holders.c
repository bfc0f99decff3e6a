/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Only the kernel knows for sure whether a device is in use (it refuses an exclusive open); it does not say by whom. This looks where a person would: the holders of
 * the disk and its partitions, mounts, swaps, and the descriptors of processes. It reads links and small files and opens or stats nothing, so that a hung file system
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

#define HOLDERS_NAMED   4U
#define NODES_MAX       128U /* a disk and its partitions */
#define FDS_PER_PROCESS 65536U

DEFINE_CLEANUP(DIR *, closedir);

struct node {
        char name[32];   /* "nbd0", "nbd0p1" */
        char number[24]; /* "43:0" */
};

struct search {
        const struct holders_roots *roots;
        const char *link_name;
        struct node nodes[NODES_MAX];
        size_t n_nodes;
        char *text;
        size_t size, used;
        unsigned n_found;
        bool udev;
};

static void found(struct search *search, const char *format, ...) _printf_(2, 3);

static void found(struct search *search, const char *format, ...) {
        char one[256];
        va_list ap;
        int n;

        va_start(ap, format);
        (void) vsnprintf(one, sizeof(one), format, ap);
        va_end(ap);

        if (search->n_found++ > HOLDERS_NAMED)
                return;

        n = snprintf(search->text + search->used, search->size - search->used, "%s%s", search->n_found > 1 ? ", " : "",
                search->n_found > HOLDERS_NAMED ? "and others" : one);
        if (n > 0)
                search->used +=
                        (size_t) n < search->size - search->used ? (size_t) n : search->size - search->used - 1;
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

static void add_node(struct search *search, const char *directory, const char *name) {
        struct node *node = search->nodes + search->n_nodes;
        char path[512];

        if (search->n_nodes >= NODES_MAX || strlen(name) >= sizeof(node->name))
                return;

        (void) snprintf(path, sizeof(path), "%s/dev", directory);
        if (!read_line(path, node->number, sizeof(node->number)))
                return;

        (void) snprintf(node->name, sizeof(node->name), "%s", name);
        search->n_nodes++;
}

static void search_block_holders(struct search *search, const char *directory) {
        _cleanup_(closedirp) DIR *holders = NULL;
        struct dirent *entry;
        char path[640];

        (void) snprintf(path, sizeof(path), "%s/holders", directory);
        holders = opendir(path);
        while (holders && (entry = readdir(holders))) {
                char name[128];

                if (entry->d_name[0] == '.')
                        continue;

                (void) snprintf(path, sizeof(path), "%s/block/%.64s/dm/name", search->roots->sys, entry->d_name);
                if (read_line(path, name, sizeof(name)))
                        found(search, "used by %s (%s)", entry->d_name, name);
                else
                        found(search, "used by %s", entry->d_name);
        }
}

/* The disk, its partitions, and what the kernel itself has stacked on them. */
static void search_disk(struct search *search, uint32_t index) {
        _cleanup_(closedirp) DIR *disk = NULL;
        struct dirent *entry;
        char path[256], name[16];

        (void) snprintf(name, sizeof(name), "nbd%u", index);
        (void) snprintf(path, sizeof(path), "%s/block/%s", search->roots->sys, name);
        add_node(search, path, name);
        search_block_holders(search, path);

        disk = opendir(path);
        while (disk && (entry = readdir(disk))) {
                char part[512];

                if (strncmp(entry->d_name, name, strlen(name)) != 0)
                        continue;
                (void) snprintf(part, sizeof(part), "%s/%s", path, entry->d_name);
                add_node(search, part, entry->d_name);
                search_block_holders(search, part);
        }
}

static bool is_number(const struct search *search, const char *number) {
        for (size_t i = 0; i < search->n_nodes; i++)
                if (strcmp(search->nodes[i].number, number) == 0)
                        return true;
        return false;
}

/* "/dev/nbd0p1" or "/dev/blockstore/NAME-part1", the latter only as far as it goes by our name. */
static bool is_path(const struct search *search, const char *path) {
        static const char links[] = "/dev/blockstore/";
        size_t n = strlen(search->link_name);

        for (size_t i = 0; i < search->n_nodes; i++)
                if (strncmp(path, "/dev/", 5) == 0 && strcmp(path + 5, search->nodes[i].name) == 0)
                        return true;

        if (strncmp(path, links, strlen(links)) != 0)
                return false;
        path += strlen(links);
        if (strncmp(path, search->link_name, n) != 0)
                return false;
        path += n;
        if (*path == 0)
                return true;
        return strncmp(path, "-part", 5) == 0 && path[5] && strspn(path + 5, "0123456789") == strlen(path + 5);
}

/* Undoes the octal escapes of mountinfo and swaps, in place. */
static void unescape(char *text) {
        char *out = text;

        for (const char *in = text; *in; out++)
                if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' && in[3] >= '0' &&
                        in[3] <= '7') {
                        *out = (char) ((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
                        in += 4;
                } else
                        *out = *in++;
        *out = 0;
}

/* "ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELDS...] - TYPE SOURCE OPTIONS" */
static void search_mount_line(struct search *search, char *line) {
        char *fields[6] = {}, *state = NULL, *field, *source = NULL;
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
                unescape(source);

        if (!is_number(search, fields[2]) && !(source && is_path(search, source)))
                return;

        unescape(fields[4]);
        found(search, "mounted on %s", fields[4]);
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
                line[strcspn(line, " \t\n")] = 0;
                unescape(line);
                if (is_path(search, line))
                        found(search, "swap");
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
                ssize_t k;

                if (entry->d_name[0] == '.')
                        continue;

                k = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);
                if (k < 0)
                        continue;
                target[k] = 0;
                if (!is_path(search, target))
                        continue;

                (void) snprintf(path, sizeof(path), "%s/%s/comm", search->roots->proc, pid);
                if (!read_line(path, comm, sizeof(comm)))
                        (void) snprintf(comm, sizeof(comm), "process");
                if (is_udev(comm))
                        search->udev = true;
                else
                        found(search, "open in %s[%s]", comm, pid);
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

int holders_find(const struct holders_roots *roots, uint32_t index, const char *link_name, char *text, size_t size,
        bool *ret_only_udev) {
        struct search *search;
        int n;

        if (size == 0)
                return -EINVAL;

        search = calloc(1, sizeof(*search));
        if (!search)
                return -ENOMEM;
        *search = (struct search){ .roots = roots, .link_name = link_name, .text = text, .size = size };
        text[0] = 0;

        search_disk(search, index);
        search_mounts(search);
        search_swaps(search);
        search_processes(search);

        n = (int) search->n_found;
        if (ret_only_udev)
                *ret_only_udev = n == 0 && search->udev;
        free(search);
        return n;
}
