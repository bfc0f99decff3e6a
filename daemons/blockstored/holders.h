/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who uses a block device, and what is stacked upon it: for the sentence that says why it cannot be disconnected, and for who wants to know before. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where to look: "/proc" and "/sys", or a test's stand-ins. */
struct holders_roots {
        const char *proc, *sys;
};

#define HOLDERS_MAX 13U

enum holder_kind {
        HOLDER_MOUNT,
        HOLDER_SWAP,
        HOLDER_PROCESS,
        HOLDER_MAPPED, /* device mapper: LUKS, LVM, ... */
        HOLDER_LOOP,
        HOLDER_STACKED, /* md, bcache, ... */
        _HOLDER_KIND_MAX,
};

struct holder {
        enum holder_kind kind;
        uint32_t pid;    /* of a process, else 0 */
        char device[24]; /* what is used: "nbd0p1", or "dm-0" where it is used by way of that */
        char by[24];     /* of what is stacked: "dm-1", "loop0"; else "" */
        char name[48];   /* of a process its command's, of a mapped device its own; else "" */
        char path[112];  /* where it is mounted, cut; else "" */
};

/* "mount", "swap", "process", "mapped", "loop", "stacked". */
const char *holder_kind_to_string(enum holder_kind kind);

/* The first max holders of nbdINDEX and its partitions, and of what is stacked on them, whose own users are told as well. Arguments and result as below; what is found may be more than was
 * stored. */
int holders_list(const struct holders_roots *roots, uint32_t index, const char *link_name, struct holder *ret,
        size_t max, bool *ret_only_udev);

/* Writes what uses nbdINDEX or one of its partitions, joined by ", " ("mounted on /mnt, used by dm-0 (data), swap, open in fio[1234]"), at most four holders, into text.
 * link_name is the image's name: mounts and swaps may go by /dev/blockstore/NAME. Processes that merely look (udev's workers) and the caller itself are passed over, unless
 * *ret_only_udev is asked for: it is set when such a one was all there was. Returns the number of holders found, or a negative errno. What cannot be read is not found. */
int holders_find(const struct holders_roots *roots, uint32_t index, const char *link_name, char *text, size_t size,
        bool *ret_only_udev);
