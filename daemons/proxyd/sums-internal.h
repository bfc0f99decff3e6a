/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files about checksums share: sums.c (leaves, what is dirty, sealing), sums-io.c (data), sums-file.c (whole files). */

#include <pthread.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "sum-leaf.h"
#include "sums.h"

#define SUMS_LOCKS   16U
#define SUMS_BUCKETS 1024U

/* A leaf of which this process has changed something since it was sealed. */
struct dirty_leaf {
        uint64_t number, epoch;
        uint32_t marked;     /* groups that are dirty on the disk */
        uint32_t unsynced;   /* ... that were changed since the sync number epoch began */
        uint32_t distrusted; /* ... whose sums are not known to be right */
        uint32_t n_seals;
        uint8_t in_flight[SUM_LEAF_GROUPS];
        SLIST_ENTRY(dirty_leaf) entry;
};
SLIST_HEAD(dirty_leaf_list, dirty_leaf);

struct sums {
        int data_fd, fd;
        sums_complain_t complain;
        void *userdata;

        pthread_mutex_t
                leaf_locks[SUMS_LOCKS]; /* of the leaves with that remainder; taken before mutex, one at a time */
        pthread_mutex_t mutex;          /* for what follows */
        struct dirty_leaf_list dirty[SUMS_BUCKETS];
        size_t n_dirty, next_bucket;
        uint64_t epoch; /* of syncs of the data */
        pthread_cond_t synced;
        bool syncing; /* fd */
        uint64_t sync_started, sync_ended;
        int sync_error;
        bool told_damage;
};

/* Whole reads and writes. pread_full: what lies behind the end is zero; *ret_n: the bytes before it. */
int sums_pread_full(int fd, void *buffer, size_t n, uint64_t offset, size_t *ret_n);
int sums_pwrite_full(int fd, const void *data, size_t n, uint64_t offset);
int sums_fdatasync(int fd);
static inline void sums_about_to_write(int fd, uint64_t offset, uint64_t length) {
        if (sums_observer)
                sums_observer->write(fd, offset, length);
}

/* A leaf, alone. */
int sums_leaf_load(int fd, uint64_t number, struct sum_leaf *ret);
int sums_leaf_store(int fd, uint64_t number, struct sum_leaf *leaf);
/* New sums for those groups, of the data as they are. *ret_n: how many were others. */
int sums_leaf_renew(int data_fd, uint64_t number, struct sum_leaf *leaf, uint32_t groups, unsigned *ret_n);

/* As it stands now, and which of its groups are not to be trusted. A damaged one is all of them. */
int sums_look(struct sums *sums, uint64_t number, struct sum_leaf *ret, uint32_t *ret_doubtful);

/* A change of the blocks of a leaf, first to last, counted from the leaf's first. The caller fills the first line. Begin, sums_sync_file() if sync was set, marked, the change of the data, end. */
struct sums_change {
        uint64_t number;
        unsigned first, last;
        bool sync;        /* what is dirty is not synced yet */
        uint32_t extra;   /* private: other groups that will be marked with that sync ... */
        uint32_t n_seals; /* ... unless there was a seal meanwhile */
};
enum sums_end {
        SUMS_END_SET,      /* to the values; NULL: of zeroes */
        SUMS_END_KEEP,     /* the data are what they were */
        SUMS_END_DISTRUST, /* nobody knows what they are */
};
int sums_begin(struct sums *sums, struct sums_change *change);
void sums_marked(struct sums *sums, const struct sums_change *change);
int sums_end(struct sums *sums, const struct sums_change *change, enum sums_end how, const uint32_t *values);
/* Syncs, together with whoever else wants it. */
int sums_sync_file(struct sums *sums);
