/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Leaves, and which of them are dirty. No leaf is kept in memory: the page cache does that, for all processes that have the image open, and a process that is killed leaves nothing behind that is not there. What is
 * kept is what the file cannot say: which dirty groups are ours, and which of them are quiet.
 *
 * Marking is the expensive part, a sync before a write. So what is marked stays so until a flush; marks of several writes are synced together; and who writes one group after the other gets the rest
 * of the leaf marked at once. */

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sums-internal.h"

#define DIRTY_MAX  262144U /* leaves: 124 GiB written without a flush */
#define TORN_TRIES 16U     /* another process may be writing the leaf that is read */

const struct sums_observer *sums_observer = NULL;

/* --- files --- */

int sums_pread_full(int fd, void *buffer, size_t n, uint64_t offset, size_t *ret_n) {
        size_t done = 0;

        while (done < n) {
                ssize_t k = pread(fd, (uint8_t *) buffer + done, n - done, (off_t) (offset + done));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                done += (size_t) k;
        }
        memset((uint8_t *) buffer + done, 0, n - done);
        if (ret_n)
                *ret_n = done;
        return 0;
}

int sums_pwrite_full(int fd, const void *data, size_t n, uint64_t offset) {
        sums_about_to_write(fd, offset, n);
        for (size_t done = 0; done < n;) {
                ssize_t k = pwrite(fd, (const uint8_t *) data + done, n - done, (off_t) (offset + done));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                done += (size_t) k;
        }
        return 0;
}

int sums_fdatasync(int fd) {
        int r;

        if (sums_observer)
                return sums_observer->sync(fd);
        do
                r = fdatasync(fd) < 0 ? -errno : 0;
        while (r == -EINTR);
        return r;
}

int sums_leaf_load(int fd, uint64_t number, struct sum_leaf *ret) {
        uint8_t data[SUM_LEAF_SIZE];
        int r;

        r = sums_pread_full(fd, data, sizeof(data), sum_leaf_offset(number), NULL);
        return r < 0 ? r : sum_leaf_decode(number, data, ret);
}

int sums_leaf_store(int fd, uint64_t number, struct sum_leaf *leaf) {
        uint8_t data[SUM_LEAF_SIZE];

        leaf->sequence++;
        sum_leaf_encode(number, leaf, data);
        return sums_pwrite_full(fd, data, sizeof(data), sum_leaf_offset(number));
}

int sums_leaf_renew(int data_fd, uint64_t number, struct sum_leaf *leaf, uint32_t groups, unsigned *ret_n) {
        uint8_t data[SUM_GROUP_BLOCKS * SUM_BLOCK_SIZE];
        unsigned n = 0;
        int r;

        for (unsigned group = 0; group < SUM_LEAF_GROUPS; group++) {
                unsigned first = group * SUM_GROUP_BLOCKS;

                if (!(groups & 1U << group))
                        continue;
                r = sums_pread_full(
                        data_fd, data, sizeof(data), (number * SUM_LEAF_BLOCKS + first) * SUM_BLOCK_SIZE, NULL);
                if (r < 0)
                        return r;
                for (unsigned i = 0; i < SUM_GROUP_BLOCKS; i++) {
                        uint32_t sum = sum_of_block(data + (size_t) i * SUM_BLOCK_SIZE);

                        n += leaf->sums[first + i] != sum;
                        leaf->sums[first + i] = sum;
                }
        }
        *ret_n = n;
        return 0;
}

int sums_sync_file(struct sums *sums) {
        uint64_t needed;
        int r;

        pthread_mutex_lock(&sums->mutex);
        needed = sums->sync_started + 1;
        while (sums->sync_ended < needed && sums->sync_error >= 0) {
                if (sums->syncing) {
                        pthread_cond_wait(&sums->synced, &sums->mutex);
                        continue;
                }
                sums->syncing = true;
                sums->sync_started++;
                pthread_mutex_unlock(&sums->mutex);

                r = sums_fdatasync(sums->fd);

                pthread_mutex_lock(&sums->mutex);
                sums->syncing = false;
                sums->sync_ended = sums->sync_started;
                /* For good: the kernel tells it once, and nobody knows which leaves are on the disk. */
                if (r < 0)
                        sums->sync_error = r;
                pthread_cond_broadcast(&sums->synced);
        }
        r = sums->sync_error;
        pthread_mutex_unlock(&sums->mutex);
        return r;
}

/* --- what is dirty --- */

static pthread_mutex_t *leaf_lock(struct sums *sums, uint64_t number) {
        return sums->leaf_locks + number % SUMS_LOCKS;
}

static struct dirty_leaf_list *bucket(struct sums *sums, uint64_t number) {
        return sums->dirty + number % SUMS_BUCKETS;
}

/* Under the mutex, as the following. */
static struct dirty_leaf *find(struct sums *sums, uint64_t number) {
        struct dirty_leaf *dirty;

        SLIST_FOREACH(dirty, bucket(sums, number), entry)
                if (dirty->number == number)
                        return dirty;
        return NULL;
}

static bool is_quiet(const struct dirty_leaf *dirty) {
        for (size_t i = 0; i < SUM_LEAF_GROUPS; i++)
                if (dirty->in_flight[i] > 0)
                        return false;
        return true;
}

static void drop(struct sums *sums, struct dirty_leaf *dirty) {
        SLIST_REMOVE(bucket(sums, dirty->number), dirty, dirty_leaf, entry);
        sums->n_dirty--;
        free(dirty);
}

/* What is dropped stays dirty, and is no longer trusted. */
static void make_room(struct sums *sums) {
        for (size_t i = 0; i < SUMS_BUCKETS && sums->n_dirty >= DIRTY_MAX; i++) {
                struct dirty_leaf *dirty, *next;

                sums->next_bucket = (sums->next_bucket + 1) % SUMS_BUCKETS;
                for (dirty = SLIST_FIRST(sums->dirty + sums->next_bucket); dirty; dirty = next) {
                        next = SLIST_NEXT(dirty, entry);
                        if (is_quiet(dirty))
                                drop(sums, dirty);
                }
        }
}

static void changed(struct sums *sums, struct dirty_leaf *dirty, uint32_t groups) {
        if (dirty->epoch != sums->epoch)
                dirty->unsynced = 0;
        dirty->epoch = sums->epoch;
        dirty->unsynced |= groups;
}

static uint32_t groups_in_flight(const struct dirty_leaf *dirty) {
        uint32_t groups = 0;

        for (unsigned i = 0; i < SUM_LEAF_GROUPS; i++)
                if (dirty->in_flight[i] > 0)
                        groups |= 1U << i;
        return groups;
}

static _printf_(3, 4) void tell(struct sums *sums, uint64_t number, const char *format, ...) {
        char what[256], message[384];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(what, sizeof(what), format, ap);
        va_end(ap);
        (void) snprintf(message, sizeof(message), "%s, in the %u KiB from byte %ju on", what,
                SUM_LEAF_BLOCKS * SUM_BLOCK_SIZE / 1024, (uintmax_t) (number * SUM_LEAF_BLOCKS * SUM_BLOCK_SIZE));
        sums->complain(sums->userdata, message);
}

/* Under the leaf's lock, unless another process writes it. */
static int load(struct sums *sums, uint64_t number, struct sum_leaf *ret) {
        bool tell_it;
        int r;

        for (unsigned i = 0; i < TORN_TRIES; i++) {
                r = sums_leaf_load(sums->fd, number, ret);
                if (r != -EUCLEAN)
                        return r;
        }

        pthread_mutex_lock(&sums->mutex);
        tell_it = !sums->told_damage;
        sums->told_damage = true;
        pthread_mutex_unlock(&sums->mutex);
        if (tell_it)
                tell(sums, number,
                        "Checksums are damaged themselves, so the data that they are for cannot be verified");
        *ret = (struct sum_leaf){ .dirty = SUM_ALL_GROUPS };
        return -EUCLEAN;
}

int sums_look(struct sums *sums, uint64_t number, struct sum_leaf *ret, uint32_t *ret_doubtful) {
        const struct dirty_leaf *dirty;
        int r;

        pthread_mutex_lock(leaf_lock(sums, number));
        r = load(sums, number, ret);
        if (r == -EUCLEAN)
                *ret_doubtful = SUM_ALL_GROUPS;
        else if (r >= 0) {
                pthread_mutex_lock(&sums->mutex);
                dirty = find(sums, number);
                *ret_doubtful = dirty ? dirty->distrusted : ret->dirty;
                pthread_mutex_unlock(&sums->mutex);
        }
        pthread_mutex_unlock(leaf_lock(sums, number));
        return r == -EUCLEAN ? 0 : r;
}

/* --- changes --- */

/* The first change of a leaf since it was sealed, or since somebody else has had the image: what he has left dirty gets the sums of the data as they are. */
static int adopt(struct sums *sums, uint64_t number, struct sum_leaf *leaf, bool damaged) {
        unsigned n;
        int r;

        if (leaf->dirty == 0)
                return 0;
        r = sums_leaf_renew(sums->data_fd, number, leaf, leaf->dirty, &n);
        if (r < 0)
                return r;
        r = sums_leaf_store(sums->fd, number, leaf);
        if (r >= 0 && n > 0)
                tell(sums, number,
                        damaged ? "Checksums are damaged; new ones were made of %u blocks"
                                : "The checksums of %u blocks were not finished when whoever wrote them ended, and "
                                  "were made anew of the data as they are",
                        n);
        return r;
}

static struct dirty_leaf *make_entry(struct sums *sums, uint64_t number, const struct sum_leaf *leaf) {
        struct dirty_leaf *dirty = calloc(1, sizeof(*dirty));

        if (!dirty)
                return NULL;
        make_room(sums);
        dirty->number = number;
        /* Until the next sync begins: it may have been written a moment ago. Nor is it marked: that the file says so does not mean that the disk does. */
        changed(sums, dirty, leaf->dirty);
        SLIST_INSERT_HEAD(bucket(sums, number), dirty, entry);
        sums->n_dirty++;
        return dirty;
}

static void count(struct dirty_leaf *dirty, const struct sums_change *change, int by) {
        for (unsigned i = change->first / SUM_GROUP_BLOCKS; i <= change->last / SUM_GROUP_BLOCKS; i++)
                dirty->in_flight[i] = (uint8_t) (dirty->in_flight[i] + by);
}

/* Those of the leaf that are to be dirty. */
static uint32_t choose(const struct dirty_leaf *dirty, const struct sums_change *change) {
        uint32_t groups = sum_groups(change->first, change->last);
        unsigned first = change->first / SUM_GROUP_BLOCKS;

        /* One after the other: the rest of them will follow. */
        if (first > 0 && (dirty->marked & 1U << (first - 1)) && (groups & ~dirty->marked))
                groups |= SUM_ALL_GROUPS & ~((1U << first) - 1);
        return groups;
}

/* Those whose sums nobody knows, and who are quiet. The entry stays: something of it is in flight. */
static int renew_distrusted(struct sums *sums, struct dirty_leaf *dirty, struct sum_leaf *leaf, uint32_t groups) {
        unsigned n;
        int r;

        if (groups == 0)
                return 0;
        r = sums_leaf_renew(sums->data_fd, dirty->number, leaf, groups, &n);
        if (r >= 0)
                r = sums_leaf_store(sums->fd, dirty->number, leaf);
        if (r < 0)
                return r;

        pthread_mutex_lock(&sums->mutex);
        dirty->distrusted &= ~groups;
        pthread_mutex_unlock(&sums->mutex);
        return 0;
}

/* Under the leaf's lock. */
static int begin_locked(struct sums *sums, struct sums_change *change) {
        uint32_t groups = sum_groups(change->first, change->last), wanted, doubtful = 0;
        struct dirty_leaf *dirty;
        struct sum_leaf leaf;
        bool damaged, known;
        int r;

        r = load(sums, change->number, &leaf);
        damaged = r == -EUCLEAN;
        if (r < 0 && !damaged)
                return r;

        pthread_mutex_lock(&sums->mutex);
        known = find(sums, change->number);
        pthread_mutex_unlock(&sums->mutex);
        if (!known) {
                r = adopt(sums, change->number, &leaf, damaged);
                if (r < 0)
                        return r;
        }

        pthread_mutex_lock(&sums->mutex);
        dirty = find(sums, change->number);
        if (!dirty)
                dirty = make_entry(sums, change->number, &leaf);
        if (!dirty) {
                pthread_mutex_unlock(&sums->mutex);
                return -ENOMEM;
        }
        /* What was ours is damaged: it is nobody's. */
        if (known && damaged)
                dirty->distrusted = SUM_ALL_GROUPS;
        doubtful = dirty->distrusted & ~groups_in_flight(dirty);
        count(dirty, change, 1);
        changed(sums, dirty, groups);
        wanted = choose(dirty, change) | leaf.dirty;
        change->sync = groups & ~dirty->marked;
        change->extra = wanted & ~dirty->marked;
        change->n_seals = dirty->n_seals;
        pthread_mutex_unlock(&sums->mutex);

        r = renew_distrusted(sums, dirty, &leaf, doubtful);
        if (r >= 0 && (wanted & ~leaf.dirty)) {
                leaf.dirty |= wanted;
                r = sums_leaf_store(sums->fd, change->number, &leaf);
        }
        if (r < 0) {
                pthread_mutex_lock(&sums->mutex);
                count(dirty, change, -1);
                pthread_mutex_unlock(&sums->mutex);
        }
        return r;
}

int sums_begin(struct sums *sums, struct sums_change *change) {
        int r;

        pthread_mutex_lock(leaf_lock(sums, change->number));
        r = begin_locked(sums, change);
        pthread_mutex_unlock(leaf_lock(sums, change->number));
        return r;
}

void sums_marked(struct sums *sums, const struct sums_change *change) {
        struct dirty_leaf *dirty;

        if (!change->sync)
                return;
        pthread_mutex_lock(&sums->mutex);
        dirty = find(sums, change->number);
        assert(dirty);
        dirty->marked |= sum_groups(change->first, change->last);
        if (dirty->n_seals == change->n_seals)
                dirty->marked |= change->extra;
        pthread_mutex_unlock(&sums->mutex);
}

int sums_end(struct sums *sums, const struct sums_change *change, enum sums_end how, const uint32_t *values) {
        uint32_t groups = sum_groups(change->first, change->last);
        struct dirty_leaf *dirty;
        struct sum_leaf leaf;
        int r = 0;

        pthread_mutex_lock(leaf_lock(sums, change->number));
        if (how == SUMS_END_SET) {
                r = load(sums, change->number, &leaf);
                if (r >= 0) {
                        for (unsigned i = change->first; i <= change->last; i++)
                                leaf.sums[i] = values ? values[i - change->first] : 0;
                        r = sums_leaf_store(sums->fd, change->number, &leaf);
                }
        }

        pthread_mutex_lock(&sums->mutex);
        dirty = find(sums, change->number);
        assert(dirty);
        count(dirty, change, -1);
        changed(sums, dirty, groups);
        if (r < 0 || how == SUMS_END_DISTRUST)
                dirty->distrusted |= groups;
        pthread_mutex_unlock(&sums->mutex);
        pthread_mutex_unlock(leaf_lock(sums, change->number));
        return r == -EUCLEAN ? -EIO : r;
}

/* --- sealing --- */

void sums_sync_begins(struct sums *sums) {
        pthread_mutex_lock(&sums->mutex);
        sums->epoch++;
        pthread_mutex_unlock(&sums->mutex);
}

static int collect(struct sums *sums, uint64_t **ret, size_t *ret_n) {
        const struct dirty_leaf *dirty;
        uint64_t *numbers;
        size_t n = 0;

        pthread_mutex_lock(&sums->mutex);
        numbers = malloc((sums->n_dirty + 1) * sizeof(uint64_t));
        for (size_t i = 0; numbers && i < SUMS_BUCKETS; i++)
                SLIST_FOREACH(dirty, sums->dirty + i, entry)
                        numbers[n++] = dirty->number;
        pthread_mutex_unlock(&sums->mutex);

        *ret = numbers;
        *ret_n = n;
        return numbers ? 0 : -ENOMEM;
}

static int seal_locked(struct sums *sums, uint64_t number) {
        struct dirty_leaf *dirty;
        struct sum_leaf leaf;
        uint32_t groups = 0;
        int r;

        pthread_mutex_lock(&sums->mutex);
        dirty = find(sums, number);
        if (dirty)
                groups = dirty->marked & ~groups_in_flight(dirty) & ~dirty->distrusted &
                         ~(dirty->epoch == sums->epoch ? dirty->unsynced : 0);
        pthread_mutex_unlock(&sums->mutex);
        if (groups == 0)
                return 0;

        r = load(sums, number, &leaf);
        /* Nobody vouches for it; the next change makes it anew. */
        if (r == -EUCLEAN)
                return 0;
        if (r < 0)
                return r;
        leaf.dirty &= ~groups;
        r = sums_leaf_store(sums->fd, number, &leaf);
        if (r < 0)
                return r;

        pthread_mutex_lock(&sums->mutex);
        dirty = find(sums, number);
        if (dirty) {
                dirty->marked &= ~groups;
                dirty->n_seals++;
                if (leaf.dirty == 0 && is_quiet(dirty))
                        drop(sums, dirty);
        }
        pthread_mutex_unlock(&sums->mutex);
        return 1;
}

int sums_seal(struct sums *sums) {
        _cleanup_free_ uint64_t *numbers = NULL;
        bool some = false;
        size_t n = 0;
        int r;

        r = collect(sums, &numbers, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                pthread_mutex_lock(leaf_lock(sums, numbers[i]));
                r = seal_locked(sums, numbers[i]);
                pthread_mutex_unlock(leaf_lock(sums, numbers[i]));
                some = some || r > 0;
        }
        if (r < 0)
                return r;
        return some ? sums_sync_file(sums) : sums->sync_error;
}

void sums_forget(struct sums *sums) {
        pthread_mutex_lock(&sums->mutex);
        for (size_t i = 0; i < SUMS_BUCKETS; i++)
                while (!SLIST_EMPTY(sums->dirty + i))
                        drop(sums, SLIST_FIRST(sums->dirty + i));
        pthread_mutex_unlock(&sums->mutex);
}

/* --- life --- */

int sums_new(struct sums **ret, int data_fd, int fd, sums_complain_t complain, void *userdata) {
        uint8_t header[sizeof(SUM_MAGIC) - 1];
        struct sums *sums;
        size_t n = 0;
        int r;

        r = sums_pread_full(fd, header, sizeof(header), 0, &n);
        if (r < 0)
                return r;
        if (n < sizeof(header) || memcmp(header, SUM_MAGIC, sizeof(header)) != 0)
                return -EUCLEAN;

        sums = calloc(1, sizeof(*sums));
        if (!sums)
                return -ENOMEM;
        sums->data_fd = data_fd;
        sums->fd = fd;
        sums->complain = complain;
        sums->userdata = userdata;
        for (size_t i = 0; i < SUMS_LOCKS; i++)
                pthread_mutex_init(sums->leaf_locks + i, NULL);
        pthread_mutex_init(&sums->mutex, NULL);
        pthread_cond_init(&sums->synced, NULL);
        for (size_t i = 0; i < SUMS_BUCKETS; i++)
                SLIST_INIT(sums->dirty + i);
        *ret = sums;
        return 0;
}

struct sums *sums_free(struct sums *sums) {
        if (!sums)
                return NULL;

        sums_forget(sums);
        pthread_cond_destroy(&sums->synced);
        pthread_mutex_destroy(&sums->mutex);
        for (size_t i = 0; i < SUMS_LOCKS; i++)
                pthread_mutex_destroy(sums->leaf_locks + i);
        free(sums);
        return NULL;
}
