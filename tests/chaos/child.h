/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A daemon run as a child: started with the environment that systemd would give it, watched through a pidfd, ready when it says so on its notification
 * socket. It dies with the driver. One child object runs one program again and again. */

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "cleanup.h"

struct child {
        /* Set before child_start(). */
        sd_event *event;
        const char *name;      /* for messages and for its files in directory */
        const char *directory; /* of NAME.log and NAME.notify */
        const char *argv[8];
        const char *environment[12]; /* "NAME=VALUE", besides the driver's own */
        int listen_fd;               /* a listening socket that it is given as systemd would; -EBADF: none */
        void (*ready)(struct child *child, const char *status); /* READY=1, with the STATUS= that came with it */
        void (*ended)(
                struct child *child, int code, int status); /* as in siginfo_t: CLD_EXITED, CLD_KILLED, CLD_DUMPED */
        void *userdata;

        /* For reading. */
        pid_t pid; /* 0: does not run */
        bool is_ready, is_stopped;
        char status[512]; /* the last STATUS= */

        /* private */
        int pidfd, notify_fd;
        sd_event_source *exit_source, *notify_source;
};

int child_start(struct child *child);
/* SIGSTOP and SIGCONT are remembered in is_stopped. -ESRCH when it does not run. */
int child_signal(struct child *child, int signal);
/* Whether it has stopped, by itself or by a signal (looks at /proc, so it is true only when the kernel is done). */
bool child_has_stopped(const struct child *child);
/* Kills and reaps it, without calling ended(), and closes everything. */
void child_done(struct child *child);
