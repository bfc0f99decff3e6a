/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See interrupt.h. Handlers and no signalfd: what is blocked stays blocked in the daemons that are started from here, what is handled does not. System calls are not restarted. A second signal
 * ends the process at once, and with it, by PR_SET_PDEATHSIG, its children. */

#include <signal.h>
#include <stddef.h>
#include <stdio.h>

#include "interrupt.h"

static volatile sig_atomic_t seen;

static void on_signal(int number) {
        seen = number;
}

void interrupt_catch(void) {
        static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int) SA_RESETHAND };

        for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
                struct sigaction old;

                /* Whoever has ignored it for us, as nohup does, meant it. */
                if (sigaction(numbers[i], NULL, &old) >= 0 && old.sa_handler != SIG_IGN)
                        (void) sigaction(numbers[i], &action, NULL);
        }
}

bool interrupt_seen(void) {
        return seen != 0;
}

void interrupt_finish(void) {
        if (seen == 0)
                return;
        (void) fflush(NULL);
        (void) signal(seen, SIG_DFL);
        (void) raise(seen);
}
