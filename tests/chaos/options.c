/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a run of blockstore-chaos does, from its command line. Where no seed is given a random one is made; the run prints it, so that its schedule can be had again. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dice.h"
#include "options.h"
#include "schedule.h"

enum {
        OPT_BUILD = 256,
        OPT_DIRECTORY,
        OPT_MINUTES,
        OPT_SEED,
        OPT_KILLS,
        OPT_ONLY,
        OPT_LIST,
        OPT_PROXIES,
        OPT_DEPTH,
        OPT_DEAD_TIME,
        OPT_SIZE,
        OPT_LIMITS,
        OPT_SELF_TEST,
        OPT_RULES_OFF,
        OPT_ANY_ORDER,
        OPT_RULE,
        OPT_POINTS,
        OPT_VOLATILE,
        OPT_EACH,
        OPT_STORE,
        OPT_IO_TIMEOUT,
};

static const struct option long_options[] = {
        { "build", required_argument, NULL, OPT_BUILD },
        { "directory", required_argument, NULL, OPT_DIRECTORY },
        { "minutes", required_argument, NULL, OPT_MINUTES },
        { "seed", required_argument, NULL, OPT_SEED },
        { "kills", required_argument, NULL, OPT_KILLS },
        { "each", required_argument, NULL, OPT_EACH },
        { "only", required_argument, NULL, OPT_ONLY },
        { "list", no_argument, NULL, OPT_LIST },
        { "proxies", required_argument, NULL, OPT_PROXIES },
        { "depth", required_argument, NULL, OPT_DEPTH },
        { "dead-time", required_argument, NULL, OPT_DEAD_TIME },
        { "io-timeout", required_argument, NULL, OPT_IO_TIMEOUT },
        { "size", required_argument, NULL, OPT_SIZE },
        { "limits", no_argument, NULL, OPT_LIMITS },
        { "self-test", required_argument, NULL, OPT_SELF_TEST },
        { "rules-off", required_argument, NULL, OPT_RULES_OFF },
        { "rule", required_argument, NULL, OPT_RULE },
        { "points", required_argument, NULL, OPT_POINTS },
        { "volatile", no_argument, NULL, OPT_VOLATILE },
        { "store", required_argument, NULL, OPT_STORE },
        { "any-order", no_argument, NULL, OPT_ANY_ORDER },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        {},
};

static void usage(FILE *out) {
        fputs("Usage: blockstore-chaos --build DIRECTORY [OPTIONS]\n\n"
              "Runs a worker and proxies under a random verified workload, and injects faults.\n\n"
              "  --minutes N       for so long (default 1; fractions allowed)\n"
              "  --kills N         ... or until so many faults were injected\n"
              "  --each N          ... or until each kind of --only (or all that there are) was injected so often\n"
              "  --seed N          the schedule of faults and the workload; without it a random one\n"
              "  --only KIND,...   only these kinds of fault\n"
              "  --volatile        over a store that forgets what was not flushed when its proxy is killed\n"
              "  --store rbd:CONF  over the pool \"blockstore\" of the Ceph cluster of that configuration "
              "(tests/lib/ceph)\n"
              "  --points FILE     instead of faults by chance: a process killed and stopped at each named point of "
              "that list\n"
              "  --list            the kinds of fault\n"
              "  --proxies N       1-4 (default 3)\n"
              "  --depth N         requests in flight, 1-64 (default 64)\n"
              "  --size MIB        of the image (default 64)\n"
              "  --dead-time MS    the worker's setting (default 1000)\n"
              "  --io-timeout MS   the worker's setting, from 1000; without it I/O waits for ever\n"
              "  --limits          fail when a stall is longer than docs/reliability.md promises\n"
              "  --any-order       do not hold the worker to the order of overlapping requests\n"
              "  --rule NAME       test one safety rule: 0 it holds, 1 it is broken, 2 it could not be tested\n"
              "  --rules-off RULES switch safety rules off, see libshared/fault-point.h\n"
              "  --self-test HOW   damage the image on purpose (corrupt, ghost, misplaced, torn, lost): succeeds when "
              "that is found\n"
              "  --directory DIR   work there and leave everything\n"
              "  -v, --verbose     tell each fault\n",
                out);
}

static int number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
        char *end;

        errno = 0;
        *ret = strtoull(text, &end, 0);
        if (errno == 0 && *text >= '0' && *text <= '9' && *end == 0 && *ret >= min && *ret <= max)
                return 0;
        fprintf(stderr, "--%s %s: expected a number from %ju to %ju\n", name, text, (uintmax_t) min, (uintmax_t) max);
        return -EINVAL;
}

static int store(const char *text, struct options *o) {
        if (strncmp(text, "rbd:/", 5) == 0)
                o->ceph = text + strlen("rbd:");
        else if (strcmp(text, "file") != 0) {
                fprintf(stderr, "--store %s: expected \"file\" or \"rbd:\" and an absolute path\n", text);
                return -EINVAL;
        }
        return 0;
}

static int kinds(const char *text, uint64_t *ret) {
        for (const char *p = text; *p;) {
                size_t n = strcspn(p, ",");
                int kind = fault_from_name(p, n);

                if (kind <= 0) {
                        fprintf(stderr, "--only %s: there is no fault \"%.*s\", see --list\n", text, (int) n, p);
                        return -EINVAL;
                }
                *ret |= UINT64_C(1) << kind;
                p += n + (p[n] == ',');
        }
        return 0;
}

int options_parse(struct options *o, int argc, char *argv[]) {
        uint64_t n = 0;
        int c, r = 0;

        *o = (struct options){ .minutes = 1, .dead_time_usec = SEC, .size = 64U << 20, .n_proxies = 3, .depth = 64 };
        if (getrandom(&o->seed, sizeof(o->seed), 0) < 0)
                o->seed = now_usec();
        o->seed &= 0xffffffff;

        while (r >= 0 && (c = getopt_long(argc, argv, "hv", long_options, NULL)) >= 0)
                switch (c) {
                case OPT_BUILD:
                        o->build = optarg;
                        break;
                case OPT_DIRECTORY:
                        o->directory = optarg;
                        break;
                case OPT_MINUTES:
                        o->minutes = strtod(optarg, NULL);
                        if (!(o->minutes > 0 && o->minutes < 100000)) {
                                fprintf(stderr, "--minutes %s: expected a number above 0\n", optarg);
                                r = -EINVAL;
                        }
                        break;
                case OPT_SEED:
                        r = number("seed", optarg, 0, UINT64_MAX, &o->seed);
                        break;
                case OPT_KILLS:
                        r = number("kills", optarg, 1, 1000000, &n);
                        o->kills = (unsigned) n;
                        break;
                case OPT_EACH:
                        r = number("each", optarg, 1, 1000000, &n);
                        o->each = (unsigned) n;
                        break;
                case OPT_ONLY:
                        r = kinds(optarg, &o->only);
                        break;
                case OPT_LIST:
                        for (unsigned i = 1; fault_name(i); i++)
                                printf("%-14s %s\n", fault_name(i), fault_text(i));
                        return 1;
                case OPT_PROXIES:
                        r = number("proxies", optarg, 1, RIG_PROXIES_MAX, &n);
                        o->n_proxies = (unsigned) n;
                        break;
                case OPT_DEPTH:
                        r = number("depth", optarg, 1, 64, &n);
                        o->depth = (unsigned) n;
                        break;
                case OPT_DEAD_TIME:
                        r = number("dead-time", optarg, 100, 60000, &n);
                        o->dead_time_usec = n * MSEC;
                        break;
                case OPT_IO_TIMEOUT:
                        r = number("io-timeout", optarg, 1000, 60000, &n);
                        o->io_timeout_usec = n * MSEC;
                        break;
                case OPT_SIZE:
                        r = number("size", optarg, 8, 4096, &n);
                        o->size = n << 20;
                        break;
                case OPT_LIMITS:
                        o->limits = true;
                        break;
                case OPT_SELF_TEST:
                        o->self_test = optarg;
                        break;
                case OPT_RULES_OFF:
                        o->rules_off = optarg;
                        break;
                case OPT_POINTS:
                        o->points = optarg;
                        break;
                case OPT_VOLATILE:
                        o->volatile_store = true;
                        break;
                case OPT_STORE:
                        r = store(optarg, o);
                        break;
                case OPT_RULE:
                        o->rule = optarg;
                        break;
                case OPT_ANY_ORDER:
                        o->any_order = true;
                        break;
                case 'v':
                        o->verbose = true;
                        break;
                case 'h':
                        usage(stdout);
                        return 1;
                default:
                        return -EINVAL;
                }
        if (r < 0)
                return r;
        if (o->ceph && (o->self_test || o->rule || o->volatile_store || o->points)) {
                fprintf(stderr, "--store rbd: only with faults by chance\n");
                return -EINVAL;
        }
        if (optind < argc || !o->build) {
                usage(stderr);
                return -EINVAL;
        }
        return 0;
}
