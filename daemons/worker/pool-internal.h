/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the pool share: pool.c (requests, and what there is to know), pool-sessions.c (which sessions there are), pool-landing.c (from a loss to the first request
 * after it), pool-durable.c (what is acknowledged and not durable), pool-rewrite.c (doing that again), pool-stop.c (the end). */

#include "container-of.h"
#include "mark.h"
#include "ordering.h"
#include "pool.h"
#include "retained.h"

#define POOL_OF(ptr, member) CONTAINER_OF(ptr, struct pool, member)
#define POOL_RETRY_USEC      (100U * 1000U)
#define POOL_RETRY_MAX_USEC  (800U * 1000U)

enum pool_role {
        ROLE_MEMBER,  /* at the active proxy */
        ROLE_STANDBY, /* at another one */
        ROLE_RETIRED, /* on its way out: its end is no news */
};

/* What is done so that an acknowledged change outlives the proxy's machine. */
enum pool_durability {
        DURABILITY_NONE, /* nothing can be done (a classic server), or need be (acknowledgements are durable) */
        DURABILITY_MARKED, /* the proxy is on this machine, and a power loss takes both: only a failed flush can lose something */
        DURABILITY_RETAINED, /* changes are kept until a flush has covered them */
};

struct pool {
        struct ring *ring;
        struct requests *requests;
        const struct host_config *config;
        const struct credentials *credentials;
        struct attachment *attachment;
        const struct pool_ops *ops;
        void *userdata;

        enum pool_state state;
        uint64_t since_usec; /* CLOCK_REALTIME */
        char reason[PROXY_REASON_MAX + IVBS_PROXY_ADDRESS_MAX + 64];
        uint64_t failovers;
        uint64_t n_joined;  /* members that became ready, ever */
        unsigned n_at_once; /* the most of them at a time */

        /* Requests. A request is in one place: held back by the ordering, in one of the lists, or in flight. */
        struct ordering *ordering;
        struct request_list queue;   /* in order of acceptance */
        struct request_list delayed; /* answered with "not now" */
        unsigned n_requests;         /* in any of these places */
        struct ring_timer retry_timer;
        uint64_t
                retry_usec; /* how long the proxy is left alone; twice as long each time that nothing was done in between */
        struct ring_timer io_timer; /* how long I/O may wait for a session */
        uint64_t io_limit_usec;     /* ... at most, 0: not limited; for the end */
        bool io_failing;            /* it has: fail I/O at once until a session is there */

        /* Sessions. */
        struct proxies *proxies;
        struct session_list sessions; /* all, until they have ended */
        struct session *leader;       /* the member that fences and rewrites */
        struct session *standby;
        const struct session *last;    /* over which a request went last; only compared, never looked into */
        enum failure refusal;          /* of the proxy that refused us last */
        struct proxy *active;          /* where the members are; NULL: to be chosen */
        struct ring_timer dial_timer;  /* the next try to make a session */
        uint64_t fill_not_before_usec; /* members beside the leader */
        bool moved;                    /* the active proxy was lost or left: the next landing is a failover */

        /* Landing. */
        struct ring_deferred landing;
        bool open;          /* requests may be sent */
        bool first;         /* no landing has succeeded yet */
        uint64_t told_size; /* bytes, of the image, as resized() has told it; 0: not yet */
        bool leaving;       /* the active proxy drains */
        bool fence_needed;  /* a change was lost unanswered */
        bool fence_sent;    /* over the leader */
        bool leader_is_new; /* its identity has not been looked at */

        /* Durability. */
        enum pool_durability durability;
        bool durable_acks; /* what the last proxy acknowledged is durable without a flush */
        struct retained *retained;
        struct mark *mark;
        uint8_t boot_id[IVBS_UUID_SIZE];
        struct ivbs_identity identity; /* under which what is acknowledged and not durable was acknowledged */
        struct ivbs_identity current;  /* of the active proxy, as it last told it */
        uint64_t acknowledged;         /* changes so far */
        uint64_t durable;              /* ... of which so many are durable */
        uint64_t unretained;           /* count at the last change that was not retained */
        bool inherited; /* an earlier process may have left changes that are not durable, and took the log with it */
        bool marked;    /* the mark says dirty */
        unsigned failed_syncs;       /* in a row */
        struct request_list crowded; /* acknowledged by the proxy, and the log has no room for them */
        struct request *sync;        /* our own flush, NULL: none under way */

        /* Rewriting what is retained. */
        bool rewrite_needed;
        bool rewriting;
        bool rewrite_again; /* from rewrite_position, when those under way are back and a moment has passed */
        uint64_t rewrite_position;
        struct ivbs_identity rewrite_identity; /* under which it began */
        unsigned n_rewriting, rewrite_failures;
        struct request *rewrites[REQUESTS_RESERVED]; /* under way */
        struct ring_timer rewrite_timer;

        /* The end. */
        struct ring_timer stop_timer;
        struct ring_deferred stop_step;
        struct request *stop_flush;
        bool stop_detach, stop_flushed, stop_detaching, stop_detached, stop_expired, stopped;
        int stop_error;
};

/* pool.c */
void pool_set_state(struct pool *pool, enum pool_state state);
void pool_set_reason(struct pool *pool, const struct proxy *proxy, const char *message);
/* Terminal, with the reason that is set. */
void pool_fail(struct pool *pool, enum failure failure);
void pool_enqueue(struct pool *pool, struct request *request);
/* The request's end. */
void pool_finish(struct pool *pool, struct request *request, int error);
void pool_fail_requests(struct pool *pool, int error);
void pool_pump(struct pool *pool);
void pool_answered(struct session *session, struct request *request, int error);
/* A request came back from a session without an answer. */
void pool_take_back(struct pool *pool, struct request *request);

/* pool-sessions.c */
extern const struct session_ops pool_session_ops;
static inline bool pool_is_usable(const struct pool *pool, const struct session *s) {
        return s->role == ROLE_MEMBER && s->state == SESSION_READY && !s->awaiting &&
               (!pool->attachment || (s->generation == pool->attachment->generation && session_knows_size(s)));
}
unsigned pool_in_flight(const struct pool *pool); /* over all sessions, those that are ending included */
bool pool_is_ending(const struct pool *pool);     /* one that ends has not given its requests back yet */
void pool_retire(struct pool *pool, struct session *session, const char *why);
void pool_retire_all(struct pool *pool, const char *why);
/* Sees to it that there is a leader soon. Returns false when no proxy can be had at present. */
bool pool_find_leader(struct pool *pool);
/* Members beside the leader, and the standby. */
void pool_fill(struct pool *pool);
void pool_dial_expired(struct ring_timer *timer);

/* pool-landing.c */
void pool_land(struct pool *pool); /* soon */
void pool_landing_run(struct ring_deferred *deferred);

/* pool-durable.c */
int pool_durable_init(struct pool *pool, struct buffers *buffers);
void pool_durable_free(struct pool *pool);
/* A new leader: decides what must be done before it gets requests. Returns 0, or -ESTALE when something is lost, with the reason set. */
int pool_durable_check(struct pool *pool);
/* Whether a member that has attached was told something that the leader does not know of: the server has been restarted, or has had an I/O error. */
bool pool_durable_is_news(const struct pool *pool, const struct session *session);
bool pool_durable_is_elsewhere(const struct session *a, const struct session *b);
/* A change was acknowledged. Returns 0, or -EAGAIN when the request has to wait for room in the log. */
int pool_durable_changed(struct pool *pool, struct request *request);
/* A flush, or a change that was to be durable, is over. Returns 0, a negative errno for its acceptor, or -EAGAIN when it was taken to be done again. */
int pool_durable_synced(struct pool *pool, struct request *request, int error);
/* What did not get its answer makes it necessary. */
void pool_durable_lost(struct pool *pool, const struct request *request);
void pool_durable_sending(struct pool *pool, struct request *request);
bool pool_is_dirty(const struct pool *pool);
/* Whether every change that was acknowledged is known to be durable. */
bool pool_is_all_durable(const struct pool *pool);
/* All that is retained was written again. */
void pool_durable_rewritten(struct pool *pool);

/* pool-rewrite.c */
void pool_rewrite_init(struct pool *pool);
/* Goes on with it; true when it is done. */
bool pool_rewrite(struct pool *pool);
bool pool_is_rewrite(const struct pool *pool, const struct request *request);
void pool_rewrite_answered(struct pool *pool, struct session *session, struct request *request, int error);
void pool_rewrite_lost(struct pool *pool, struct request *request);

/* pool-stop.c */
void pool_stop_init(struct pool *pool);
void pool_step_stop(struct pool *pool);
/* What is not done by now will not be. */
void pool_stop_give_up(struct pool *pool, int error);
uint64_t pool_wait_limit(const struct pool *pool); /* UINT64_MAX: none */
