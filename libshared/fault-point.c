/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Named points and rules of test builds, see fault-point.h. The file is compiled only there.
 *
 * The environment is looked at once and never changed, so passing a point that is not armed costs one comparison of strings, and rules need no lock. A process
 * stops itself with a signal to the whole process, not to the thread: a frozen machine freezes all threads. */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault-point.h"

#define PASSINGS_MAX 1000000000UL

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char *armed; /* the point's name, NULL: none */
static int armed_signal;
static atomic_long passings_left;
static char *rules_off; /* as given, NULL: none */

static void misunderstood(const char *variable, const char *value) {
        fprintf(stderr, "%s=%s cannot be understood, see libshared/fault-point.h\n", variable, value);
        abort();
}

static void read_point(const char *value) {
        char *action, *number, *end;
        unsigned long n = 1;

        armed = strdup(value);
        if (!armed)
                abort();

        armed_signal = SIGKILL;
        action = strchr(armed, '=');
        if (action) {
                *action++ = 0;
                if (strcmp(action, "stop") == 0)
                        armed_signal = SIGSTOP;
                else if (strcmp(action, "kill") != 0)
                        misunderstood("BLOCKSTORE_FAULT_POINT", value);
        }

        number = strchr(armed, ':');
        if (number) {
                *number++ = 0;
                n = strtoul(number, &end, 10);
                if (*number < '0' || *number > '9' || *end || n == 0 || n > PASSINGS_MAX)
                        misunderstood("BLOCKSTORE_FAULT_POINT", value);
        }

        if (!*armed)
                misunderstood("BLOCKSTORE_FAULT_POINT", value);
        atomic_store(&passings_left, (long) n);
}

static void read_environment(void) {
        const char *value;

        value = getenv("BLOCKSTORE_FAULT_POINT");
        if (value && *value)
                read_point(value);

        value = getenv("BLOCKSTORE_RULES_OFF");
        if (value && *value) {
                rules_off = strdup(value);
                if (!rules_off)
                        abort();
        }
}

void fault_point(const char *name) {
        (void) pthread_once(&once, read_environment);

        if (!armed || strcmp(armed, name) != 0 || atomic_fetch_sub(&passings_left, 1) != 1)
                return;

        (void) kill(getpid(), armed_signal);
}

bool rule_is_off(const char *name) {
        size_t length = strlen(name);

        (void) pthread_once(&once, read_environment);

        for (const char *rule = rules_off; rule && *rule;) {
                size_t n = strcspn(rule, ",");

                if (n == length && memcmp(rule, name, n) == 0)
                        return true;
                rule += n;
                rule += strspn(rule, ",");
        }
        return false;
}
