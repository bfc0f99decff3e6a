/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "dice.h"
#include "points.h"

/* Acknowledged writes are written again when the server's identity is another one, which takes a failed sync or a loss of power. */
static bool needs_volatile_store(const char *name) {
        static const char *const names[] = { "rewriting", "rewritten", "epoch-raised" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

static int append(struct points *p, const struct point *point) {
        struct point *grown = reallocarray(p->points, p->n + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        p->points = grown;
        p->points[p->n++] = *point;
        return 0;
}

int points_load(struct points *ret, const char *path, bool volatile_store, uint64_t seed) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        struct dice dice = dice_new(seed, 3);
        struct points points = {};
        char line[512];
        int r = 0;

        if (!f)
                return -errno;
        while (r >= 0 && fgets(line, sizeof(line), f)) {
                struct point point = {};
                char program[16];

                if (line[0] == '#' || line[0] == '\n')
                        continue;
                if (sscanf(line, "%47s %15s", point.name, program) != 2) {
                        r = -EBADMSG;
                        break;
                }
                /* Of what no load does here; and those of the supervisor, which needs a kernel (tests/vm/cases/supervisor-killed). */
                if (strncmp(point.name, "life-", 5) == 0 || strncmp(point.name, "sums-", 5) == 0 ||
                        strncmp(point.name, "rbd-", 4) == 0 || strcmp(program, "blockstored") == 0)
                        continue;
                point.in_worker = strcmp(program, "worker") == 0;
                point.volatile_store = needs_volatile_store(point.name);
                if (point.volatile_store != volatile_store)
                        continue;
                point.stop = true;
                r = append(&points, &point);
                /* A worker that dies while the server's loss is being made good is a second fault: it has to fail loudly then, see the rule dirty-mark. */
                point.stop = false;
                if (r >= 0 && !(point.in_worker && point.volatile_store))
                        r = append(&points, &point);
        }
        if (r < 0) {
                points_done(&points);
                return r;
        }
        for (unsigned i = points.n; i > 1; i--) {
                unsigned j = (unsigned) dice_below(&dice, i);
                struct point other = points.points[j];

                points.points[j] = points.points[i - 1];
                points.points[i - 1] = other;
        }
        *ret = points;
        return 0;
}

void points_done(struct points *p) {
        free(p->points);
        *p = (struct points){};
}

struct point *points_next(struct points *p) {
        for (unsigned i = 0; i < p->n; i++)
                if (!p->points[i].tried)
                        return p->points + i;
        return NULL;
}
