/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* At shutdown systemd unmounts what was mounted from fstab with _netdev before it stops the image below. But what somebody has mounted by hand is a local file system to it, unmounted after the network and all
 * services are gone; and of what lies between file system and image (LVM) it knows nothing. Without their worker these would wait for ever, so the worker stops only after this is through with them, in the
 * order that a person would choose:
 *
 * - A file system marked _netdev is systemd's: it waits for services that use it. It is waited for.
 * - Others are unmounted here, as soon as they are not in use. After a while, in use or not: synced, then detached, since by then only what will be killed anyway uses them.
 * - Swaps are switched off, and device-mapper devices removed.
 *
 * It runs as root, outside the worker's sandbox, and looks at no byte of the image. What it does can hang with a disk, so a child does it. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>

#include <systemd/sd-bus.h>

#include "block-signals.h"
#include "device-mapper.h"
#include "host-config.h"
#include "release.h"
#include "stack.h"

#define STEP_USEC       (100U * 1000U)
#define BUSY_USEC       (UINT64_C(5) * 1000U * 1000U)  /* before a file system in use is detached */
#define NETWORK_USEC    (UINT64_C(60) * 1000U * 1000U) /* before one that systemd is to unmount counts as left over */
#define MAPPER_USEC     (UINT64_C(3) * 1000U * 1000U)
#define PATIENCE_USEC   (UINT64_C(75) * 1000U * 1000U) /* below TimeoutStopSec= of the unit */
#define SAY(level, ...) fprintf(stderr, "<" level ">" __VA_ARGS__)

static uint64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000U + (uint64_t) now.tv_nsec / 1000U;
}

/* systemd's own socket: the bus may be down by now. */
static bool is_going_down(void) {
        _cleanup_free_ char *state = NULL;
        sd_bus *bus = NULL;
        int r;

        if (access(HOST_RUNTIME_DIRECTORY "/shutdown", F_OK) == 0)
                return true;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, "unix:path=/run/systemd/private");
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(bus, 5U * 1000U * 1000U);
        if (r >= 0)
                r = sd_bus_get_property_string(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                        "org.freedesktop.systemd1.Manager", "SystemState", NULL, &state);
        sd_bus_unref(bus);
        return r >= 0 && strcmp(state, "stopping") == 0;
}

static void detach(const char *name, const char *where) {
        _cleanup_close_ int fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0)
                (void) syncfs(fd);
        SAY("4", "Image %s: %s is still in use; it is synced and detached.\n", name, where);
        if (umount2(where, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
                SAY("3", "Image %s: %s cannot be detached: %s.\n", name, where, strerror(errno));
}

/* From the latest mount to the first, which others may be mounted in. Returns whether one is left. */
static bool unmount(const char *name, const struct stack *stack, uint64_t elapsed) {
        bool left = false;

        for (size_t i = stack->n_mounts; i > 0; i--) {
                const struct stack_mount *mount = stack->mounts + i - 1;

                if (mount->is_network && elapsed < NETWORK_USEC)
                        left = true;
                else if (umount2(mount->where, UMOUNT_NOFOLLOW) >= 0)
                        SAY("6", "Image %s: unmounted %s.\n", name, mount->where);
                else if (errno == EINVAL || errno == ENOENT)
                        continue; /* somebody else was quicker */
                else if (elapsed < BUSY_USEC)
                        left = true;
                else
                        detach(name, mount->where);
        }
        return left;
}

static bool remove_mapped(const char *name, const struct stack *stack) {
        bool left = false;

        for (size_t i = 0; i < stack->n_nodes; i++) {
                const struct stack_node *node = stack->nodes + i;
                int r;

                if (!node->dm_name[0])
                        continue;
                r = node->is_held ? -EBUSY : device_mapper_remove(node->dm_name);
                if (r == 0 || r == -EBUSY)
                        left = true;  /* what was below it is next */
                else if (r != -ENXIO) /* somebody else was quicker */
                        SAY("3", "Image %s: the volume %s cannot be removed: %s.\n", name, node->dm_name,
                                strerror(-r));
        }
        return left;
}

static void release(const char *name, const char *disk) {
        static const struct stack_roots roots = { .proc = "/proc", .sys = "/sys", .utab = "/run/mount/utab" };
        uint64_t began = now_usec(), free_since = 0;

        for (;;) {
                _cleanup_(stack_freep) struct stack *stack = NULL;
                uint64_t now = now_usec();
                bool left = false;
                int r;

                r = stack_read(&roots, disk, &stack);
                if (r < 0) {
                        SAY("3", "Image %s: cannot find out what uses it: %s.\n", name, strerror(-r));
                        return;
                }

                for (size_t i = 0; i < stack->n_swaps; i++)
                        if (swapoff(stack->swaps[i]) < 0 && errno != EINVAL)
                                left = true;
                if (unmount(name, stack, now - began))
                        left = true;
                if (!left) {
                        free_since = free_since ?: now;
                        if (!remove_mapped(name, stack) || now - free_since > MAPPER_USEC)
                                return;
                }
                if (left || now > free_since)
                        (void) usleep(STEP_USEC);
        }
}

/* The unit has a mount namespace of its own, and systemd runs even "+" commands in it: what is unmounted there stays mounted for everybody else. */
static int enter_host_mounts(void) {
        _cleanup_close_ int fd = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);

        return fd < 0 || setns(fd, CLONE_NEWNS) < 0 ? -errno : 0;
}

void release_image(const char *name) {
        struct timespec patience = { .tv_sec = PATIENCE_USEC / 1000000U };
        char path[256], disk[256];
        const char *slash;
        sigset_t signals;
        ssize_t n;
        pid_t pid;
        int r;

        (void) snprintf(path, sizeof(path), "/dev/blockstore/%s", name);
        n = readlink(path, disk, sizeof(disk) - 1);
        if (n <= 0 || !is_going_down())
                return;
        disk[n] = 0;
        slash = strrchr(disk, '/');
        r = enter_host_mounts();
        if (r < 0) {
                SAY("3", "Image %s: cannot see the mounts of the host: %s.\n", name, strerror(-r));
                return;
        }

        signals = block_signals(SIGCHLD, 0);
        pid = fork();
        if (pid < 0) {
                SAY("3", "Image %s: cannot release its device: %s.\n", name, strerror(errno));
                return;
        }
        if (pid == 0) {
                release(name, slash ? slash + 1 : disk);
                _exit(0);
        }

        if (sigtimedwait(&signals, NULL, &patience) < 0)
                SAY("4", "Image %s: something still uses its device after %u s.\n", name,
                        (unsigned) (PATIENCE_USEC / 1000000U));
        else
                (void) waitpid(pid, NULL, 0);
}
