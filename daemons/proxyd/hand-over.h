/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How the proxy processes of one store, all on one machine and under one uid, hand images over to each other: the talk between two of them, and the end of one that
 * does not talk any more. It knows no image, only names of them; image-hold.c decides what is asked for and given.
 *
 *     asker                              holder
 *       ── ASK uuid, why ──────────────▶           from whom? (SO_PEERCRED)
 *       ◀───────────────── ACKNOWLEDGED ──         at once, from the thread that runs the ring
 *       ── ASK (again, every 100 ms) ──▶
 *       ◀───────────────── ACKNOWLEDGED ──         ... while its last writes take their time
 *       ◀── RELEASED, or REFUSED ─────────
 *
 * An ASK that is not acknowledged within 150 ms says that the holder is frozen: it must not wake up later and write what it has in hand, so it is killed. One that
 * acknowledges is alive, however slow its disk is, and is waited for. One whose thread is seen to run, or to wait for a processor, is not frozen but on a machine that has too much to do:
 * it has 2 s. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/un.h>

#include <systemd/sd-id128.h>

#include "ring.h"
#include "store.h"

#define HAND_OVER_ACK_USEC  150000U
#define HAND_OVER_BUSY_USEC 2000000U /* while hand_over_process_is_busy() */
#define HAND_OVER_LOOK_USEC 5000U    /* ... which is looked at so often */

/* Whose wish it is; a later one has more weight. */
enum hand_over_why {
        HAND_OVER_CLASSIC, /* a client without a lease: refused by a holder with any client that writes */
        HAND_OVER_TAKE,    /* a new lease: refused by a holder with a client that writes without a lease */
        HAND_OVER_PROVEN,  /* the lease itself comes back, or is taken over on purpose: never refused */
        _HAND_OVER_WHY_MAX,
};

/* What became of an ASK. */
enum hand_over_outcome {
        HAND_OVER_RELEASED, /* not, or no longer, the holder: try */
        HAND_OVER_REFUSED,
        HAND_OVER_HUNG_UP, /* nobody listens, or not any more: try, and ask again */
        HAND_OVER_SILENT,  /* frozen: to be killed, when it still is the holder */
        HAND_OVER_STOPPED, /* by hand_over_ask_stop() */
        HAND_OVER_GONE,    /* killed, or there was nobody to kill: try */
        HAND_OVER_FAILED,  /* it cannot be killed; see error */
};
const char *hand_over_outcome_to_string(enum hand_over_outcome outcome);

struct hand_over;

/* One who asks us. */
struct hand_over_request {
        void (*released)(struct hand_over_request *request); /* to be called when the image has been let go */
        uint64_t pid;                                        /* of the asker, for people */
        TAILQ_ENTRY(hand_over_request) entry;                /* the answerer's */
};
TAILQ_HEAD(hand_over_request_list, hand_over_request);

/* Returns 0 (released() is called later, perhaps at once) or -EBUSY: refused. */
typedef int (*hand_over_asked_t)(
        sd_id128_t uuid, enum hand_over_why why, struct hand_over_request *request, void *userdata);

/* Listens in the store's meeting place, under a name of its own, and clears away the names of those who are gone. directory_fd stays the caller's and open. instance: a random id.
 * Returns 0 or a negative errno. */
int hand_over_new(struct hand_over **ret, struct ring *ring, int directory_fd, sd_id128_t instance,
        hand_over_asked_t asked, void *userdata);
/* After the ring, and before whom it asks. */
struct hand_over *hand_over_free(struct hand_over *hand_over);
DEFINE_CLEANUP(struct hand_over *, hand_over_free);
/* This process, as holder. Borrowed. */
const struct store_holder *hand_over_self(const struct hand_over *hand_over);

/* --- snapshots on another's account --- */

/* Only the holder of an image can make a snapshot of it while it is written. So a proxy that is asked for one and does not hold the image has the holder make it: it keeps the connection
 * open until it is over, and hangs up to cancel it. The holder's side: */
struct hand_over_order {
        const char *name, *snapshot, *user; /* as long as the order lasts */
        sd_id128_t uuid;                    /* of the image */
        uint64_t pid;                       /* of the asker, for people */
        /* Set by whoever takes the order: the asker does not want it any more, or is gone. Not after over(). */
        void (*cancelled)(struct hand_over_order *order);
        void *userdata;
};
/* Takes the order, or returns a negative errno, which is the answer. */
typedef int (*hand_over_ordered_t)(struct hand_over_order *order, void *userdata);
void hand_over_take_orders(struct hand_over *hand_over, hand_over_ordered_t ordered, void *userdata);
void hand_over_order_goes(struct hand_over_order *order, uint64_t done, uint64_t total);
/* The order is gone after it. made: null unless error is 0. */
void hand_over_order_over(struct hand_over_order *order, int error, sd_id128_t made);

/* The asker's side, see hand-over-errand.c. Embedded in what waits. */
struct hand_over_errand {
        /* error: what the holder says; -EREMOTE: it has hung up; -ECANCELED: stopped. May free the errand. */
        void (*over)(struct hand_over_errand *errand, int error, sd_id128_t made);
        uint64_t done, total; /* bytes, as the holder has told last */
        uint64_t heard_usec;  /* when it did */

        /* private */
        struct ring *ring;
        sd_id128_t uuid;
        int fd;
        bool stopped;
        struct ring_op op;
        uint8_t buffer[128];
};
/* Returns 0, with over() to come, or a negative errno: the holder is not there (-EREMOTE). */
int hand_over_errand_start(struct hand_over_errand *errand, const struct hand_over *hand_over,
        const struct store_holder *holder, sd_id128_t uuid, const char *name, const char *snapshot, const char *user);
/* over() comes soon. */
void hand_over_errand_stop(struct hand_over_errand *errand);
/* For the end, when the ring is gone. */
void hand_over_errand_abandon(struct hand_over_errand *errand);

/* --- about single processes --- */

/* The start time in clock ticks since boot. Returns 0, -ESRCH (there is none, or none that we may see), or another negative errno. */
int hand_over_look_at_process(uint64_t pid, uint64_t *ret_start_time);
/* SIGKILL. *ret_fd becomes readable when it has ended. Returns 1; 0 when there is no process with that start time; -EPERM when it is not under our uid; -EDEADLK when it is this one; or another
 * negative errno. */
int hand_over_kill_process(uint64_t pid, uint64_t start_time, int *ret_fd);
/* Whether its first thread, which runs the ring, is running, has no processor or waits for a device, so that silence does not say that it is frozen. */
bool hand_over_process_is_busy(uint64_t pid);
/* Blocks, for at most 2 s, and for 150 ms when the other does not even try. Returns 1 when the proxy with that pid is alive, 0 when it does not answer, a negative errno when none meets here. */
int hand_over_ping(int directory_fd, uint64_t pid);

/* --- asking --- */

/* A holder being asked, or killed; one thing at a time. Embedded in what waits; initialise with hand_over_ask_init(). Between start or kill and done() it must stay in place; done() finds
 * it idle, and may start it again or free it. */
struct hand_over_ask {
        void (*done)(struct hand_over_ask *ask, enum hand_over_outcome outcome);
        int error; /* of HAND_OVER_FAILED: a negative errno */
        bool acknowledged;

        /* private */
        struct ring *ring;
        int directory_fd;
        unsigned state;
        enum hand_over_outcome outcome;
        struct store_holder holder;
        sd_id128_t uuid;
        enum hand_over_why why;
        uint64_t asked_usec; /* when the ASK was sent that has no answer yet */
        bool idle; /* that is longer ago than an answer may take, and the holder was not busy when looked at */
        bool op_running;
        int fd;
        struct sockaddr_un address;
        struct ring_op op;
        struct ring_timer timer;
        uint8_t buffer[64];
};

void hand_over_ask_init(struct hand_over_ask *ask, const struct hand_over *hand_over,
        void (*done)(struct hand_over_ask *ask, enum hand_over_outcome outcome));
void hand_over_ask_start(
        struct hand_over_ask *ask, const struct store_holder *holder, sd_id128_t uuid, enum hand_over_why why);
/* Only the very process that the holder names, start time and boot compared, and never this one. Done when it has ended, which its writes may outlive. */
void hand_over_ask_kill(struct hand_over_ask *ask, const struct store_holder *holder);
/* done() comes soon. Idle: nothing happens. */
void hand_over_ask_stop(struct hand_over_ask *ask);
bool hand_over_ask_is_idle(const struct hand_over_ask *ask);
/* For the end, when the ring is gone. */
void hand_over_ask_abandon(struct hand_over_ask *ask);
