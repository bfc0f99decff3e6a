/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the kernel has to bring: its version, the nbd module, io_uring. */

#include <grp.h>
#include <liburing.h>
#include <string.h>
#include <sys/utsname.h>

#include "doctor.h"

#define FLOOR_MAJOR       6U
#define FLOOR_MINOR       1U

#define SYSCTL_FILE       "/etc/sysctl.d/90-blockstore.conf"
#define MODPROBE          "/usr/sbin/modprobe"
#define NBD_PARTITIONS    "/sys/module/nbd/parameters/max_part"
#define IO_URING_DISABLED "/proc/sys/kernel/io_uring_disabled"
#define IO_URING_GROUP    "/proc/sys/kernel/io_uring_group"

void check_kernel_version(struct doctor *d) {
        struct utsname name;
        unsigned long major, minor;
        char *end;

        if (uname(&name) < 0) {
                found(d, FINDING_SKIPPED, NULL, NULL, "The kernel's version cannot be told.");
                return;
        }
        major = strtoul(name.release, &end, 10);
        minor = *end == '.' ? strtoul(end + 1, &end, 10) : 0;
        if (major == 0)
                found(d, FINDING_SKIPPED, NULL, NULL, "The kernel's version cannot be told.");
        else if (major < FLOOR_MAJOR || (major == FLOOR_MAJOR && minor < FLOOR_MINOR))
                found(d, FINDING_ERROR, NULL, NULL, "Linux %s is older than %u.%u, the oldest that is supported.",
                        name.release, FLOOR_MAJOR, FLOOR_MINOR);
        else
                found(d, FINDING_OK, NULL, NULL, "Linux %s.", name.release);
}

/* What modprobe would do says all that is in modprobe.d, in the module's index and in the kernel's own list. */
static void look_for_module(struct doctor *d) {
        const char *const argv[] = { MODPROBE, "--quiet", "--show-depends", "nbd", NULL };
        char output[DOCTOR_OUTPUT_MAX];
        int r;

        r = doctor_run(argv, output);
        if (r < 0)
                found(d, FINDING_ERROR, NULL, "modprobe nbd", "The nbd module is not loaded.");
        else if (r == 0 && strncmp(output, "install ", strlen("install ")) == 0)
                found(d, FINDING_ERROR, NULL, "sed -i '/^install nbd /d' /etc/modprobe.d/*.conf && modprobe nbd",
                        "The nbd module is not loaded, and modprobe.d runs a command instead of loading it (%.*s).",
                        (int) strcspn(output, "\n"), output);
        else if (r == 0)
                found(d, FINDING_ERROR, NULL, "modprobe nbd",
                        "The nbd module is not loaded: no image can become a block device.");
        else
                found(d, FINDING_ERROR, NULL, NULL,
                        "This kernel has no nbd module: images can be used with \"device\": \"none\" only.");
}

void check_nbd_module(struct doctor *d) {
        if (access("/sys/module/nbd", F_OK) == 0)
                found(d, FINDING_OK, NULL, NULL, "The nbd module is loaded.");
        else if (doctor_in_container())
                found(d, FINDING_SKIPPED, NULL, NULL,
                        "The nbd module is not loaded; in a container that is its host's matter.");
        else
                look_for_module(d);
}

void check_nbd_partitions(struct doctor *d) {
        char value[32];
        int r;

        r = doctor_read_line(NBD_PARTITIONS, value, sizeof value);
        if (r < 0)
                found(d, FINDING_SKIPPED, NULL, NULL, "%s cannot be read: %s.", NBD_PARTITIONS, strerror(-r));
        else if (strcmp(value, "0") == 0)
                found(d, FINDING_WARNING, NULL,
                        "echo 'options nbd max_part=16' > /etc/modprobe.d/blockstore.conf && modprobe -r nbd && "
                        "modprobe nbd",
                        "The nbd module was loaded with max_part=0: partitions on images do not appear.");
        else
                found(d, FINDING_OK, NULL, NULL, "Up to %s partitions on each image.", value);
}

static bool is_group_of_programs(const char *gid) {
        static const char *const groups[] = { "blockstore-worker", "blockstore-proxy" };

        for (unsigned i = 0; i < ELEMENTSOF(groups); i++) {
                struct group *group = getgrnam(groups[i]);
                char text[32];

                if (!group)
                        return false;
                snprintf(text, sizeof text, "%ju", (uintmax_t) group->gr_gid);
                /* One group has io_uring, and both kinds of programs need it. */
                if (strcmp(text, gid) != 0)
                        return false;
        }

        return true;
}

/* Linux 6.6 and later: 0 everybody, 1 a group and CAP_SYS_ADMIN, 2 nobody. */
static bool sysctl_allows(struct doctor *d) {
        char value[32], gid[32] = "-1";

        if (doctor_read_line(IO_URING_DISABLED, value, sizeof value) < 0 || strcmp(value, "0") == 0)
                return true;

        (void) doctor_read_line(IO_URING_GROUP, gid, sizeof gid);
        if (strcmp(value, "1") == 0 && is_group_of_programs(gid))
                return true;

        found(d, FINDING_ERROR, NULL, "echo kernel.io_uring_disabled=0 > " SYSCTL_FILE " && sysctl -p " SYSCTL_FILE,
                "kernel.io_uring_disabled is %s: neither workers nor proxies can run.", value);
        return false;
}

void check_io_uring(struct doctor *d) {
        struct io_uring ring;
        int r;

        if (!sysctl_allows(d))
                return;

        r = io_uring_queue_init(1, &ring, 0);
        if (r >= 0) {
                io_uring_queue_exit(&ring);
                found(d, FINDING_OK, NULL, NULL, "io_uring can be used.");
        } else if (r == -ENOSYS)
                found(d, FINDING_ERROR, NULL, NULL,
                        "This kernel has no io_uring (CONFIG_IO_URING), or a system call filter hides it: neither "
                        "workers nor proxies can run.");
        else if (r == -EPERM || r == -EACCES)
                found(d, FINDING_WARNING, NULL, NULL,
                        "io_uring is refused here (%s), perhaps by a system call filter of this container or session; "
                        "whether the units have it cannot be told from here.",
                        strerror(-r));
        else
                found(d, FINDING_WARNING, NULL, NULL, "io_uring cannot be used here: %s.", strerror(-r));
}
