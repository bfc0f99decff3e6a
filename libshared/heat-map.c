/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* It is read with pread() and not mapped: a worker that has gone mad can then do no worse than to tell nonsense. */

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "heat-map.h"

#define TRIES_MAX 4U
#define COUNT_MAX 1e18

int heat_map_check(int fd) {
        int seals = fcntl(fd, F_GET_SEALS);
        struct stat st;

        if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 || st.st_size != sizeof(struct heat_map))
                return -EINVAL;
        return 0;
}

static double count_of(double value, double factor) {
        double count = value * factor;

        return isfinite(count) && count > 0 ? fmin(count, COUNT_MAX) : 0;
}

int heat_map_read(int fd, uint64_t now_usec, struct heat_picture *ret) {
        _cleanup_free_ struct heat_map *map = malloc(sizeof(*map));
        uint64_t after;
        double factor;

        if (!map)
                return -ENOMEM;

        for (unsigned i = 0;; i++) {
                if (i == TRIES_MAX)
                        return -EAGAIN;
                if (pread(fd, map, sizeof(*map), 0) != sizeof(*map) ||
                        pread(fd, &after, sizeof(after), offsetof(struct heat_map, changing)) != sizeof(after))
                        return -EIO;
                if (map->magic != HEAT_MAGIC)
                        return -EBADMSG;
                if (map->changing % 2 == 0 && map->changing == after)
                        break;
        }

        ret->size = map->size;
        factor = now_usec > map->weight_usec ? exp2(-(double) (now_usec - map->weight_usec) / HEAT_HALF_LIFE_USEC) : 1;
        factor /= map->weight;
        for (size_t i = 0; i < HEAT_BUCKETS; i++) {
                ret->reads[i] = count_of(map->reads[i], factor);
                ret->writes[i] = count_of(map->writes[i], factor);
        }
        return 0;
}
