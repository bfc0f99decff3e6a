/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Read from sysfs and procfs only: nothing is opened that could wait for a disk. A file system with a device number of its own (btrfs) is known by its source. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "octal-escapes.h"
#include "stack.h"

DEFINE_CLEANUP(DIR *, closedir);

static bool read_line(const char *path, char *buffer, size_t size) {
        _cleanup_fclose_ FILE *file = fopen(path, "re");

        if (!file || !fgets(buffer, (int) size, file))
                return false;
        buffer[strcspn(buffer, "\n")] = 0;
        return true;
}

static struct stack_node *find_node(struct stack *stack, const char *name) {
        for (size_t i = 0; i < stack->n_nodes; i++)
                if (strcmp(stack->nodes[i].name, name) == 0)
                        return stack->nodes + i;
        return NULL;
}

static void add_disk(struct stack *stack, const struct stack_roots *roots, const char *name, unsigned depth);

static struct stack_node *add_node(struct stack *stack, const char *directory, const char *name) {
        struct stack_node node = {}, *place;
        char path[PATH_MAX];

        if (stack->n_nodes >= STACK_NODES_MAX || strlen(name) >= sizeof(node.name))
                return NULL;

        strcpy(node.name, name);
        (void) snprintf(path, sizeof(path), "%s/dev", directory);
        if (!read_line(path, node.number, sizeof(node.number)))
                return NULL;
        (void) snprintf(path, sizeof(path), "%s/dm/name", directory);
        if (!read_line(path, node.dm_name, sizeof(node.dm_name)))
                node.dm_name[0] = 0;

        place = stack->nodes + stack->n_nodes++;
        *place = node;
        return place;
}

static void add_holders(struct stack *stack, const struct stack_roots *roots, struct stack_node *node,
        const char *directory, unsigned depth) {
        _cleanup_(closedirp) DIR *holders = NULL;
        struct dirent *entry;
        char path[PATH_MAX];

        (void) snprintf(path, sizeof(path), "%s/holders", directory);
        holders = opendir(path);
        while (holders && (entry = readdir(holders))) {
                if (entry->d_name[0] == '.')
                        continue;
                node->is_held = true;
                add_disk(stack, roots, entry->d_name, depth + 1);
        }
}

static void add_disk(struct stack *stack, const struct stack_roots *roots, const char *name, unsigned depth) {
        _cleanup_(closedirp) DIR *disk = NULL;
        struct stack_node *node;
        struct dirent *entry;
        char path[PATH_MAX], part[PATH_MAX];

        if (depth > STACK_DEPTH_MAX || find_node(stack, name))
                return;

        (void) snprintf(path, sizeof(path), "%s/block/%s", roots->sys, name);
        node = add_node(stack, path, name);
        if (!node)
                return;
        add_holders(stack, roots, node, path, depth);

        disk = opendir(path);
        while (disk && (entry = readdir(disk))) {
                if (strncmp(entry->d_name, name, strlen(name)) != 0 ||
                        (size_t) snprintf(part, sizeof(part), "%s/%s", path, entry->d_name) >= sizeof(part))
                        continue;
                node = add_node(stack, part, entry->d_name);
                if (node)
                        add_holders(stack, roots, node, part, depth);
        }
}

static bool is_source(struct stack *stack, const char *source) {
        char path[PATH_MAX];
        const char *name;

        if (strncmp(source, "/dev/mapper/", strlen("/dev/mapper/")) == 0) {
                for (size_t i = 0; i < stack->n_nodes; i++)
                        if (stack->nodes[i].dm_name[0] &&
                                strcmp(stack->nodes[i].dm_name, source + strlen("/dev/mapper/")) == 0)
                                return true;
                return false;
        }
        if (strncmp(source, "/dev/", strlen("/dev/")) != 0)
                return false;
        if (find_node(stack, source + strlen("/dev/")))
                return true;
        /* A link of udev's: resolving it touches /dev only. */
        if (!realpath(source, path))
                return false;
        name = strrchr(path, '/');
        return name && find_node(stack, name + 1);
}

/* "ID PARENT MAJOR:MINOR ROOT WHERE OPTIONS [FIELDS...] - TYPE SOURCE OPTIONS" */
static int take_mount(struct stack *stack, char *line) {
        char *fields[6], *state = NULL, *field = strtok_r(line, " \n", &state), *source = NULL;
        bool ours = false;
        size_t n = 0;

        for (; field && n < ELEMENTSOF(fields); field = strtok_r(NULL, " \n", &state))
                fields[n++] = field;
        if (n < ELEMENTSOF(fields))
                return 0;
        while (field && strcmp(field, "-") != 0)
                field = strtok_r(NULL, " \n", &state);
        if (field && strtok_r(NULL, " \n", &state))
                source = strtok_r(NULL, " \n", &state);

        for (size_t i = 0; i < stack->n_nodes && !ours; i++)
                ours = strcmp(stack->nodes[i].number, fields[2]) == 0;
        if (!ours && source) {
                (void) octal_unescape(source);
                ours = is_source(stack, source);
        }
        if (!ours || stack->n_mounts >= STACK_MOUNTS_MAX)
                return 0;

        (void) octal_unescape(fields[4]);
        stack->mounts[stack->n_mounts].where = strdup(fields[4]);
        if (!stack->mounts[stack->n_mounts].where)
                return -ENOMEM;
        stack->n_mounts++;
        return 0;
}

static int take_swap(struct stack *stack, char *line) {
        line[strcspn(line, " \t\n")] = 0;
        (void) octal_unescape(line);
        if (!is_source(stack, line) || stack->n_swaps >= STACK_NODES_MAX)
                return 0;
        stack->swaps[stack->n_swaps] = strdup(line);
        if (!stack->swaps[stack->n_swaps])
                return -ENOMEM;
        stack->n_swaps++;
        return 0;
}

/* libmount's notes about what the kernel does not keep: "... TARGET=/mnt ... OPTS=_netdev" */
static int take_note(struct stack *stack, char *line) {
        char *state = NULL, *target = NULL;
        bool network = false;

        for (char *field = strtok_r(line, " \n", &state); field; field = strtok_r(NULL, " \n", &state))
                if (strncmp(field, "TARGET=", strlen("TARGET=")) == 0)
                        target = field + strlen("TARGET=");
                else if (strncmp(field, "OPTS=", strlen("OPTS=")) == 0) {
                        char *options = field + strlen("OPTS="), *option;

                        while ((option = strsep(&options, ",")))
                                network = network || strcmp(option, "_netdev") == 0;
                }
        if (!target || !network)
                return 0;

        (void) octal_unescape(target);
        for (size_t i = 0; i < stack->n_mounts; i++)
                if (strcmp(stack->mounts[i].where, target) == 0)
                        stack->mounts[i].is_network = true;
        return 0;
}

static int each_line(struct stack *stack, const char *path, int (*take)(struct stack *stack, char *line)) {
        _cleanup_fclose_ FILE *file = fopen(path, "re");
        _cleanup_free_ char *line = NULL;
        size_t allocated = 0;
        int r = 0;

        if (!file)
                return errno == ENOENT ? 0 : -errno;
        while (r >= 0 && getline(&line, &allocated, file) > 0)
                r = take(stack, line);
        return r;
}

int stack_read(const struct stack_roots *roots, const char *disk, struct stack **ret) {
        _cleanup_(stack_freep) struct stack *stack = calloc(1, sizeof(*stack));
        char path[PATH_MAX];
        int r;

        if (!stack)
                return -ENOMEM;

        add_disk(stack, roots, disk, 0);
        (void) snprintf(path, sizeof(path), "%s/self/mountinfo", roots->proc);
        r = each_line(stack, path, take_mount);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "%s/swaps", roots->proc);
        r = each_line(stack, path, take_swap);
        if (r < 0)
                return r;
        r = each_line(stack, roots->utab, take_note);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(stack);
        return 0;
}

struct stack *stack_free(struct stack *stack) {
        if (!stack)
                return NULL;

        for (size_t i = 0; i < stack->n_mounts; i++)
                free(stack->mounts[i].where);
        for (size_t i = 0; i < stack->n_swaps; i++)
                free(stack->swaps[i]);
        free(stack);
        return NULL;
}
