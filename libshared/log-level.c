/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The level is one number that a signal handler may write, so no event loop has to know of it: the process that hangs is the one whose log is wanted. */

#include <signal.h>
#include <string.h>
#include <strings.h>

#include "log.h"

static const char *const names[] = {
        [LOG_EMERG] = "emerg",
        [LOG_ALERT] = "alert",
        [LOG_CRIT] = "crit",
        [LOG_ERR] = "err",
        [LOG_WARNING] = "warning",
        [LOG_NOTICE] = "notice",
        [LOG_INFO] = "info",
        [LOG_DEBUG] = "debug",
};

static volatile sig_atomic_t max_level = LOG_INFO;

int log_get_max_level(void) {
        return max_level;
}

void log_set_max_level(int level) {
        max_level = level;
}

const char *log_level_to_string(int level) {
        return level >= 0 && level < (int) ELEMENTSOF(names) ? names[level] : NULL;
}

int log_level_from_string(const char *name) {
        for (int i = 0; i < (int) ELEMENTSOF(names); i++)
                if (strcasecmp(names[i], name) == 0 || (name[0] == '0' + i && !name[1]))
                        return i;

        return -EINVAL;
}

static void on_signal(int signal) {
        max_level = signal == SIGRTMIN + 22 ? LOG_DEBUG : LOG_INFO;
}

void log_level_init(void) {
        const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
        const char *name = getenv("BLOCKSTORE_LOG_LEVEL");
        int level = name ? log_level_from_string(name) : -EINVAL;

        if (level >= 0)
                max_level = level;
        (void) sigaction(SIGRTMIN + 22, &action, NULL);
        (void) sigaction(SIGRTMIN + 23, &action, NULL);
}
