/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "dice.h"
#include "statistics.h"

#define TOLD_MAX 20U /* lines of each sort: a thousand more say no more */

static _printf_(2, 0) void say(const struct statistics *s, const char *format, va_list ap) {
        printf("%9.3f  ", (double) (now_usec() - s->started_usec) / 1e6);
        (void) vprintf(format, ap);
        (void) putchar('\n');
        fflush(stdout);
}

void statistics_say(const struct statistics *s, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say(s, format, ap);
        va_end(ap);
}

void statistics_error(struct statistics *s, const char *format, ...) {
        va_list ap;

        if (++s->errors > TOLD_MAX)
                return;
        va_start(ap, format);
        say(s, format, ap);
        va_end(ap);
}

void statistics_wrong(struct statistics *s, enum model_wrong wrong, uint64_t offset, const char *text) {
        s->wrong[wrong]++;
        if (++s->n_wrong <= TOLD_MAX)
                statistics_say(s, "WRONG at %" PRIu64 ": %s: %s", offset, model_wrong_to_string(wrong), text);
}

void statistics_add_stall(struct statistics *s, unsigned kind, uint64_t usec) {
        struct stall_list *l = s->stalls + kind;

        if (l->n == l->size) {
                unsigned size = l->size ? l->size * 2 : 16;
                uint64_t *grown = reallocarray(l->usec, size, sizeof(*grown));

                if (!grown)
                        abort();
                l->usec = grown;
                l->size = size;
        }
        l->usec[l->n++] = usec;
}

unsigned statistics_n_stalls(const struct statistics *s, unsigned kind) {
        return s->stalls[kind].n;
}

uint64_t statistics_longest(const struct statistics *s, unsigned kind) {
        uint64_t longest = 0;

        for (unsigned i = 0; i < s->stalls[kind].n; i++)
                if (s->stalls[kind].usec[i] > longest)
                        longest = s->stalls[kind].usec[i];
        return longest;
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return (x > y) - (x < y);
}

uint64_t statistics_median(struct statistics *s, unsigned kind) {
        struct stall_list *l = s->stalls + kind;

        if (l->n == 0)
                return 0;
        qsort(l->usec, l->n, sizeof(*l->usec), compare);
        return l->usec[l->n / 2];
}

void statistics_report(struct statistics *s, const char *(*name)(unsigned kind)) {
        uint64_t changes = s->writes + s->fua + s->trims + s->zeroes;

        printf("\n%-14s %6s %16s %16s\n", "fault", "times", "longest stall", "median stall");
        for (unsigned kind = 0; name(kind); kind++)
                if (s->stalls[kind].n > 0)
                        printf("%-14s %6u %13.1f ms %13.1f ms\n", name(kind), s->stalls[kind].n,
                                (double) statistics_longest(s, kind) / 1e3, (double) statistics_median(s, kind) / 1e3);
        printf("\nrequests       %" PRIu64 ": %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64 " with FUA, %" PRIu64
               " flushes, %" PRIu64 " trims, %" PRIu64 " write zeroes\n",
                s->reads + changes + s->flushes, s->reads, s->writes, s->fua, s->flushes, s->trims, s->zeroes);
        printf("data           %.1f MiB read, %.1f MiB written, %" PRIu64 " blocks of 512 bytes checked\n",
                (double) s->bytes_read / 1048576.0, (double) s->bytes_written / 1048576.0, s->blocks_checked);
        printf("unanswered     %" PRIu64 " (in flight when the worker was killed)\n", s->unanswered);
        printf("wrong blocks   %" PRIu64, s->n_wrong);
        for (unsigned i = 0; i < _WRONG_MAX; i++)
                if (s->wrong[i] > 0)
                        printf(", %" PRIu64 " %s", s->wrong[i], model_wrong_to_string(i));
        printf("\nerrors         %" PRIu64 ", and %" PRIu64 " that the schedule asked for\n", s->errors,
                s->excused_errors);
        fflush(stdout);
}

void statistics_done(struct statistics *s) {
        for (unsigned i = 0; i < STATISTICS_KINDS_MAX; i++) {
                free(s->stalls[i].usec);
                s->stalls[i] = (struct stall_list){};
        }
}
