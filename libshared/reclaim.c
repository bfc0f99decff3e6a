/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A block device that is served from user space can deadlock with reclaim: memory is short, the kernel writes dirty pages to the device, the process behind it allocates, and that
 * allocation waits for the very pages to be written. PR_SET_IO_FLUSHER takes the process out of that wait. It needs CAP_SYS_RESOURCE once; the unit gives it as an
 * ambient capability and it is dropped here, so that what talks to the network has none.
 *
 * Memory is locked on fault only: reserved and never touched areas (stacks, sanitizers' shadows) stay what they are. With a limit in force locking is left alone, for
 * MCL_FUTURE would then make later mappings fail. */

#include <errno.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reclaim.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

static void drop_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};

        /* Root outside of its unit (a test) keeps what it is. */
        if (geteuid() == 0)
                return;

        (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        (void) syscall(SYS_capset, &header, none);
}

int reclaim_prepare(void) {
        struct rlimit limit;
        int r = 0;

        if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
                r = -errno;

        if (getrlimit(RLIMIT_MEMLOCK, &limit) >= 0 && limit.rlim_cur == RLIM_INFINITY)
                (void) mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);

        drop_capabilities();
        return r;
}
