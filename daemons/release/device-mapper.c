/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One call of the kernel's interface: libdevmapper would wait for udev, which may be gone when this is needed, and LVM's tools would read every disk there is. */

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cleanup.h"
#include "device-mapper.h"

int device_mapper_remove(const char *name) {
        _cleanup_close_ int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
        struct dm_ioctl request = {
                .version = { DM_VERSION_MAJOR, 0, 0 },
                .data_size = sizeof(request),
                .data_start = sizeof(request),
        };

        if (fd < 0)
                return -errno;
        if (strlen(name) >= sizeof(request.name))
                return -ENAMETOOLONG;
        strcpy(request.name, name);
        return ioctl(fd, DM_DEV_REMOVE, &request) < 0 ? -errno : 0;
}
