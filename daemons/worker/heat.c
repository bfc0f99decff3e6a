/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* To let a thousand counters decay every second would cost more than to count. So nothing decays: a new access weighs more than an old one, by what the old ones should have lost, and who looks divides. Once in some hours the
 * weight has become so large that everything is divided by it. */

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heat.h"

#define RAISE_EVERY_USEC (1000U * 1000U)
#define WEIGHT_MAX       1e30 /* after 8 hours; a sum of 1e18 accesses is far from overflow */

int heat_new(struct heat **ret) {
        _cleanup_(heat_freep) struct heat *heat = calloc(1, sizeof(*heat));
        void *map;

        if (!heat)
                return -ENOMEM;
        heat->fd = memfd_create("blockstore-heat", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (heat->fd < 0)
                return -errno;
        if (ftruncate(heat->fd, sizeof(*heat->map)) < 0 ||
                fcntl(heat->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        map = mmap(NULL, sizeof(*heat->map), PROT_READ | PROT_WRITE, MAP_SHARED, heat->fd, 0);
        if (map == MAP_FAILED)
                return -errno;

        heat->map = map;
        heat->map->magic = HEAT_MAGIC;
        heat->map->weight = 1;
        *ret = TAKE_PTR(heat);
        return 0;
}

struct heat *heat_free(struct heat *heat) {
        if (!heat)
                return NULL;
        if (heat->map)
                (void) munmap(heat->map, sizeof(*heat->map));
        safe_close(heat->fd);
        free(heat);
        return NULL;
}

/* For a reader that sees some of it before and some of it after. */
static void begin_change(struct heat_map *map) {
        __atomic_store_n(&map->changing, map->changing + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void end_change(struct heat_map *map) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&map->changing, map->changing + 1, __ATOMIC_RELAXED);
}

static void forget(struct heat_map *map, uint64_t now_usec) {
        begin_change(map);
        for (size_t i = 0; i < HEAT_BUCKETS; i++)
                map->reads[i] = map->writes[i] = 0;
        map->weight = 1;
        map->weight_usec = now_usec;
        end_change(map);
}

static void divide(struct heat_map *map, double by) {
        begin_change(map);
        for (size_t i = 0; i < HEAT_BUCKETS; i++) {
                map->reads[i] /= by;
                map->writes[i] /= by;
        }
        map->weight /= by;
        end_change(map);
}

static void raise_weight(struct heat *heat, uint64_t now_usec) {
        struct heat_map *map = heat->map;
        double half_lives = (double) (now_usec - map->weight_usec) / HEAT_HALF_LIFE_USEC;

        heat->next_usec = now_usec + RAISE_EVERY_USEC;
        if (now_usec <= map->weight_usec)
                return;

        /* What was so long ago is as good as nothing. */
        if (half_lives > 64) {
                forget(map, now_usec);
                return;
        }
        begin_change(map);
        map->weight *= exp2(half_lives);
        map->weight_usec = now_usec;
        end_change(map);
        if (map->weight > WEIGHT_MAX)
                divide(map, map->weight);
}

void heat_set_size(struct heat *heat, uint64_t size, uint64_t now_usec) {
        struct heat_map *map = heat->map;

        if (map->size == size)
                return;
        map->size = size;
        forget(map, now_usec);
        heat->buckets_per_byte = size > 0 ? HEAT_BUCKETS / (double) size : 0;
        heat->next_usec = now_usec + RAISE_EVERY_USEC;
}

static unsigned at_most_last(unsigned bucket) {
        return bucket < HEAT_BUCKETS ? bucket : HEAT_BUCKETS - 1;
}

void heat_count(struct heat *heat, bool write, uint64_t offset, uint32_t length, uint64_t now_usec) {
        double *counts = write ? heat->map->writes : heat->map->reads;
        unsigned bucket, last;
        double end;

        if (length == 0 || heat->map->size == 0)
                return;
        if (now_usec >= heat->next_usec)
                raise_weight(heat, now_usec);

        bucket = at_most_last((unsigned) ((double) offset * heat->buckets_per_byte));
        end = (double) (offset + length) * heat->buckets_per_byte;
        last = (unsigned) end;
        last = at_most_last(last == end && last > bucket ? last - 1 : last); /* the end is not touched */
        do
                counts[bucket] += heat->map->weight;
        while (++bucket <= last);
}
