/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who uses a block device: for the sentence that says why it cannot be disconnected. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where to look: "/proc" and "/sys", or a test's stand-ins. */
struct holders_roots {
        const char *proc, *sys;
};

/* Writes what uses nbdINDEX or one of its partitions, joined by ", " ("mounted on /mnt, used by dm-0 (data), swap, open in fio[1234]"), at most four holders, into text.
 * link_name is the image's name: mounts and swaps may go by /dev/blockstore/NAME. Processes that merely look (udev's workers) and the caller itself are passed over, unless
 * *ret_only_udev is asked for: it is set when such a one was all there was. Returns the number of holders found, or a negative errno. What cannot be read is not found. */
int holders_find(const struct holders_roots *roots, uint32_t index, const char *link_name, char *text, size_t size,
        bool *ret_only_udev);
