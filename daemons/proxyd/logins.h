/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Passwords that are being held against slow hashes, and those that were right a moment ago. When a host comes up, hundreds of its workers log in at once with one name and
 * one password: one hash answers them all.
 *
 * What is shared and remembered is bound to name, password and the stored hash by an HMAC under a key of this process; neither a password nor what could be taken for one is
 * kept. Only what was right is remembered, for LOGINS_LIFE_USEC and no longer, however often it is asked for. */

#include <stdint.h>
#include <sys/queue.h>

#include "jobs.h"
#include "users.h"

#define LOGINS_WAITING_MAX    64U  /* different ones; equal ones count once */
#define LOGINS_REMEMBERED_MAX 256U /* the oldest makes room */
#define LOGINS_LIFE_USEC      (30U * 1000U * 1000U)
#define LOGINS_PATIENCE_USEC  (4U * 1000U * 1000U) /* well within what clients wait for an answer (10 s) */

struct logins;
struct check;

/* One that asks; the caller's memory. */
struct login {
        /* On the ring's thread, unless logins_leave() came first. result: 1 the password is right, 0 it is not, -EBUSY its turn has not come within the patience, or another
         * negative errno. */
        void (*done)(struct login *login, int result);

        /* private */
        struct check *check;
        TAILQ_ENTRY(login) entry;
};

/* How a password is checked, on the thread: users_check(), unless a test has it otherwise. */
typedef int (*logins_check_t)(
        const struct users *users, const char *name, const char password[static IVBS_PASSWORD_SIZE]);

/* patience, life: LOGINS_PATIENCE_USEC and LOGINS_LIFE_USEC, unless a test has no time. Returns 0, -ENOMEM, or another negative errno without randomness or a thread. */
int logins_new(
        struct logins **ret, struct ring *ring, logins_check_t check, uint64_t patience_usec, uint64_t life_usec);
/* The ring must have been freed before. Nobody's done() is called. */
struct logins *logins_free(struct logins *logins);
DEFINE_CLEANUP(struct logins *, logins_free);

/* users: as they are now; a reference is taken while it is needed. password: copied, and wiped after the check. Returns 1 when it is known to be right; 0 when done() will tell; -EBUSY
 * when too many wait; -ENOMEM. */
int logins_ask(struct logins *logins, struct login *login, struct users *users, const char *name,
        const char password[static IVBS_PASSWORD_SIZE]);
/* Whoever asked is gone: no done(). A check that has not begun, and that nobody else waits for, is dropped. Safe when nothing was asked. */
void logins_leave(struct login *login);
/* The users are others now: nothing is known any more, and what is being checked will not be remembered. */
void logins_forget(struct logins *logins);
