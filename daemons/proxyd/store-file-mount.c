/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which mounting of its file system a store lies on. What was written and not synced survives neither an unmount with errors nor its report, so a client has to
 * learn that the file system was mounted anew; but it must not be told so because a proxy was restarted, or is another one on the same store.
 *
 * The kernel's number of a mount will not do: each unit that systemd sandboxes has a copy of every mount, with a number of its own. What is made once, when the file
 * system itself is, is its directory below /sys/fs, and the numbers of such directories are not given twice before the machine restarts. Where a file system has no such
 * directory the instance is 0: tmpfs, which takes the store with it when it goes, and what is rare. */

#include <linux/btrfs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <systemd/sd-id128.h>

#include "store-file.h"

/* Not in <linux/magic.h> of the floor version. */
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

static uint64_t number_of(const char *path) {
        struct stat st;

        return stat(path, &st) < 0 ? 0 : st.st_ino;
}

/* As the kernel calls the block device: "sda1", "dm-0". */
static int device_name(int fd, char *ret, size_t size) {
        char link[64], target[4096];
        const char *name;
        struct stat st;
        ssize_t n;

        if (fstat(fd, &st) < 0)
                return -errno;
        (void) snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
        n = readlink(link, target, sizeof(target) - 1);
        if (n < 0)
                return -errno;

        target[n] = '\0';
        name = strrchr(target, '/');
        name = name ? name + 1 : target;
        if (strlen(name) >= size)
                return -ENAMETOOLONG;
        strcpy(ret, name);
        return 0;
}

static uint64_t by_device(int fd, const char *file_system) {
        char name[64], path[128];

        if (device_name(fd, name, sizeof(name)) < 0)
                return 0;
        (void) snprintf(path, sizeof(path), "/sys/fs/%s/%s", file_system, name);
        return number_of(path);
}

static uint64_t by_btrfs_id(int fd) {
        struct btrfs_ioctl_fs_info_args info = {};
        char path[128];
        sd_id128_t id;

        if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) < 0)
                return 0;
        memcpy(id.bytes, info.fsid, sizeof(id.bytes));
        (void) snprintf(path, sizeof(path), "/sys/fs/btrfs/" SD_ID128_UUID_FORMAT_STR, SD_ID128_FORMAT_VAL(id));
        return number_of(path);
}

uint64_t store_file_mount_instance(int fd) {
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return 0;

        switch ((uint32_t) fs.f_type) {
        case EXT4_SUPER_MAGIC:
                return by_device(fd, "ext4");
        case XFS_SUPER_MAGIC:
                return by_device(fd, "xfs");
        case F2FS_SUPER_MAGIC:
                return by_device(fd, "f2fs");
        case BTRFS_SUPER_MAGIC:
                return by_btrfs_id(fd);
        default:
                return 0;
        }
}
