/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a pool does between a loss and the first request after it: fence, come back under the new generation, leave a proxy that drains, hold back what overlaps. The servers are
 * modern ones whose promises are kept by the script; the image is never lost here, see test-pool-durable.c for that. */

#include "pool-fixture.h"

#define FENCING_CAPS (SERVER_CAPS | IVBS_CAP_FENCE | IVBS_CAP_NOTICE)

/* A write that got no answer is sent again after a FENCE, and everything after it goes under the new generation. */
static void fence_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        take_write(s, 4096);
        server_cut(s);

        server_modern_up(s, true);
        fence(s);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_READ);
        server_cut(s);

        /* A read may be repeated as it is. */
        server_modern_up(s, true);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        expect_stop(s);
}

static void a_lost_write_is_fenced(void) {
        struct server *s = server_start(fence_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.attachment.generation, server_lease().generation + 1);
        submit(&x, REQUEST_READ, 0, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 1);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(x.client.errors[1], 0);
        ASSERT_EQ(pool_get_failovers(x.pool), 2U);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* The answer to a FENCE is lost: whether it was carried out or not, the attachment comes back, and what was lost is fenced. */
static void lost_fence_script(struct server *s) {
        bool done = s->data;

        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        take_write(s, 4096);
        server_cut(s);

        server_modern_up(s, true);
        expect_fence(s);
        server_cut(s);

        server_modern_login(s);
        server_expect_resume(s);
        if (done) {
                server_reply(s, IVBS_STATUS_EXPIRED, NULL, 0);
                s->lease.generation++;
                server_expect_resume(s);
        }
        server_reply_lease(s, &s->lease);
        fence(s);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void a_lost_fence_is_found_out(void) {
        for (unsigned done = 0; done < 2; done++) {
                struct server *s = server_start(lost_fence_script, done ? "" : NULL);
                struct fixture x;

                begin(&x, s, NULL);
                go_and_attach(&x);
                submit(&x, REQUEST_WRITE, 4096, 512);
                RUN_UNTIL(x.client.ring, x.client.n_done > 0);
                ASSERT_EQ(x.client.errors[0], 0);
                ASSERT_EQ(x.client.attachment.generation, server_lease().generation + 1 + done);
                ASSERT_FALSE(x.client.attachment.fencing);
                stop(&x);
                server_join(s);
        }
}

/* A FENCE waits for what others have in hand, not for what its own session has: when that is lost afterwards, it needs a fence of its own. */
#define LARGE (640U * 1024U) /* what comes next goes over the other session */

static void fencer_dies_script(struct server *s) {
        int first, second;

        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        first = put_aside(s);
        server_modern_up(s, true);
        second = put_aside(s);

        s->fd = first;
        take_write(s, 0);
        s->fd = second;
        take_write(s, 1 << 20);
        safe_close(first);
        fence(s);
        take_write(s, 0);
        server_reply(s, 0, NULL, 0);
        server_cut(s); /* the other one is unanswered still */

        server_modern_up(s, true);
        fence(s);
        take_write(s, 1 << 20);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void the_fencer_dies(void) {
        struct server *s = server_start(fencer_dies_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.connections = 2;
        go_and_attach(&x);
        RUN_UNTIL(x.client.ring, pool_get_sessions(x.pool) == 2);
        submit(&x, REQUEST_WRITE, 0, LARGE);
        submit(&x, REQUEST_WRITE, 1 << 20, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        x.client.config.connections = 1;
        RUN_UNTIL(x.client.ring, x.client.n_done > 1);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(x.client.errors[1], 0);
        stop(&x);
        server_join(s);
}

/* A FENCE that a cut connection still had in it comes late, between another's RESUME and its FENCE: that is still ours, but what it has waited for was not heard. */
static void overtaken_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        take_write(s, 4096);
        server_cut(s);

        server_modern_up(s, true);
        expect_fence(s);
        server_cut(s);

        server_modern_up(s, true);
        expect_fence(s);
        server_reply(s, IVBS_STATUS_EXPIRED, NULL, 0);
        s->lease.generation++;
        server_expect_resume(s);
        server_reply_lease(s, &s->lease);
        fence(s);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void a_fence_is_overtaken(void) {
        struct server *s = server_start(overtaken_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(x.client.attachment.generation, server_lease().generation + 2);
        stop(&x);
        server_join(s);
}

/* Somebody else has the image by then: neither generation is good, and there is no third try. */
static void stolen_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        take_write(s, 4096);
        server_cut(s);

        server_modern_up(s, true);
        expect_fence(s);
        server_cut(s);

        server_modern_login(s);
        server_expect_resume(s);
        server_reply(s, IVBS_STATUS_EXPIRED, NULL, 0);
        s->lease.generation++;
        server_expect_resume(s);
        server_reply(s, IVBS_STATUS_EXPIRED, NULL, 0);
        server_expect_end(s);
}

static void stolen_meanwhile(void) {
        struct server *s = server_start(stolen_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.n_failed > 0);
        ASSERT_EQ(x.failure, FAILURE_HELD);
        ASSERT_EQ(x.client.errors[0], -EIO);
        stop(&x);
        server_join(s);
}

/* A frozen proxy carries out a FENCE that was given up long ago: the sessions elsewhere are told EXPIRED, and rejoin, for the token is theirs. */
static void late_fence_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        take_write(s, 4096);
        server_cut(s);

        server_modern_up(s, true);
        expect_fence(s);
        server_cut(s);

        server_modern_up(s, true);
        expect_fence(s);
        server_reply(s, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0); /* which makes it the third connection's to find out */
        server_expect_end(s);

        server_modern_up(s, true);
        fence(s);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void a_fence_put_off(void) {
        struct server *s = server_start(late_fence_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        stop(&x);
        server_join(s);
}

/* A restarted worker fences what the dead one may have left in some proxy's hands, before anything of its own. */
static void inherits_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, true);
        fence(s);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        expect_stop(s);
}

static void a_restarted_worker_fences(void) {
        struct server *s = server_start(inherits_script, NULL);
        struct ivbs_lease_reply lease = server_lease();
        struct fixture x;

        begin(&x, s, NULL);
        attachment_set_modern(&x.client.attachment, FENCING_CAPS, &lease);
        x.client.attachment.inherited = true;
        go_and_attach(&x);
        submit(&x, REQUEST_READ, 0, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        stop(&x);
        server_join(s);
}

/* Who only reads has nothing that could be fenced: a restarted worker comes back without. */
static void inherits_read_only_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, true);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        server_expect(s, IVBS_OP_DETACH);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static void a_restarted_reader_does_not_fence(void) {
        struct server *s = server_start(inherits_read_only_script, NULL);
        struct ivbs_lease_reply lease = server_lease();
        struct fixture x;

        begin(&x, s, NULL);
        attachment_set_modern(&x.client.attachment, FENCING_CAPS, &lease);
        x.client.attachment.inherited = x.client.attachment.read_only = true;
        go_and_attach(&x);
        submit(&x, REQUEST_READ, 0, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        stop(&x);
        server_join(s);
}

/* Nor do generations concern it: a writer elsewhere raises them, and a session that comes later is told another one. */
static void readers_script(struct server *s) {
        int first, second;

        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        first = put_aside(s);
        server_modern_login(s);
        server_expect_resume(s);
        s->lease.generation += 2;
        server_reply_lease(s, &s->lease);
        second = put_aside(s);

        s->fd = first;
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, LARGE);
        s->fd = second;
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        s->fd = first;
        server_expect(s, IVBS_OP_DETACH);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
        safe_close(second);
}

static void readers_have_no_generation(void) {
        struct server *s = server_start(readers_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.attachment.read_only = true;
        x.client.config.connections = 2;
        go_and_attach(&x);
        RUN_UNTIL(x.client.ring, pool_get_sessions(x.pool) == 2);
        submit(&x, REQUEST_READ, 0, LARGE);
        submit(&x, REQUEST_READ, 1 << 20, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done == 2);
        stop(&x);
        server_join(s);
}

/* A proxy that drains is left when it has answered what it has; the standby attaches, without a fence, for nothing was lost. */
static void drains_script(struct server *s) {
        uint8_t notice[IVBS_NOTICE_LENGTH];
        uint32_t sequence;

        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        take_write(s, 4096);
        sequence = s->header.sequence;
        ivbs_notice_encode(&(const struct ivbs_notice){ IVBS_NOTICE_DRAIN, 1000 }, notice);
        server_send(s, IVBS_OP_NOTICE, 0, 0, notice, sizeof(notice));
        server_send(s, IVBS_OP_WRITE, 0, sequence, NULL, 0);
        server_expect_end(s);
}

static void relieves_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, true);
        take_write(s, 8192);
        server_reply(s, 0, NULL, 0);
        expect_stop(s);
}

static void a_drain_is_followed(void) {
        struct server *a = server_start(drains_script, NULL), *b = server_start(relieves_script, NULL);
        struct fixture x;

        begin(&x, a, b);
        go_and_attach(&x);
        RUN_UNTIL(x.client.ring, pool_get_standby(x.pool));
        ASSERT_STREQ(pool_get_standby(x.pool)->address, b->address);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        submit(&x, REQUEST_WRITE, 8192, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 1);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(x.client.errors[1], 0);
        ASSERT_STREQ(pool_get_active(x.pool)->address, b->address);
        ASSERT_EQ(proxies_get(pool_get_proxies(x.pool), 0)->state, PROXY_DRAINING);
        ASSERT_EQ(pool_get_failovers(x.pool), 1U);
        stop(&x);
        server_join(a);
        server_join(b);
}

/* One that is being drained lets us in and refuses the image: it is there, and is not taken for one that is not. */
static void is_drained_script(struct server *s) {
        uint8_t notice[IVBS_NOTICE_LENGTH];

        s->caps = FENCING_CAPS;
        server_modern_login(s);
        server_expect(s, IVBS_OP_ATTACH_LEASE);
        ivbs_notice_encode(&(const struct ivbs_notice){ IVBS_NOTICE_DRAIN, 0 }, notice);
        server_send(s, IVBS_OP_NOTICE, 0, 0, notice, sizeof(notice));
        server_reply(s, IVBS_STATUS_USE_ANOTHER_PROXY, NULL, 0);
        server_expect_end(s);
}

static void serves_instead_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        expect_stop(s);
}

static void drained_proxy_refuses(void) {
        struct server *a = server_start(is_drained_script, NULL), *b = server_start(serves_instead_script, NULL);
        struct fixture x;

        begin(&x, a, b);
        go_and_attach(&x);
        ASSERT_STREQ(pool_get_active(x.pool)->address, b->address);
        ASSERT_EQ(proxies_get(pool_get_proxies(x.pool), 0)->state, PROXY_DRAINING);
        ASSERT_STREQ(proxies_get(pool_get_proxies(x.pool), 0)->reason, "the proxy drains");
        stop(&x);
        server_join(a);
        server_join(b);
}

/* What overlaps a write that is under way stays here until that has its answer, however the server would order the two. */
static void overlap_script(struct server *s) {
        uint32_t first;

        server_modern_up(s, false);
        take_write(s, 4096);
        first = s->header.sequence;
        take_write(s, 65536); /* which overlaps nothing */
        server_reply(s, 0, NULL, 0);
        server_send(s, IVBS_OP_WRITE, 0, first, NULL, 0);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        expect_stop(s);
}

static void overlaps_wait(void) {
        struct server *s = server_start(overlap_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 4096);
        submit(&x, REQUEST_READ, 4608, 512);
        submit(&x, REQUEST_WRITE, 65536, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done == 3);
        ASSERT_EQ(x.client.order[2]->op, REQUEST_READ);
        stop(&x);
        server_join(s);
}

/* Whatever happens meanwhile, the answer to DETACH is waited for: else the lease may outlive its owner. */
static void detach_script(struct server *s) {
        const struct ivbs_proxy proxies[] = { { .priority = 7, .address = "127.0.0.1:9" } };
        uint8_t list[IVBS_PROXIES_SIZE_MAX];
        struct pollfd pfd;
        size_t n;

        server_modern_up(s, false);
        server_expect(s, IVBS_OP_FLUSH);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_DETACH);
        n = ivbs_proxies_encode(proxies, 1, list);
        server_send(s, IVBS_OP_LIST_PROXIES, 0, 0, list, (uint32_t) n);
        pfd = (struct pollfd){ .fd = s->fd, .events = POLLIN };
        ASSERT_EQ(poll(&pfd, 1, 100), 0);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static void detach_is_waited_for(void) {
        struct server *s = server_start(detach_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* To stop just when the proxy is being left is no reason to leave the lease behind: the next one is waited for. */
static void drains_idle_script(struct server *s) {
        uint8_t notice[IVBS_NOTICE_LENGTH];

        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        ivbs_notice_encode(&(const struct ivbs_notice){ IVBS_NOTICE_DRAIN, 1000 }, notice);
        server_send(s, IVBS_OP_NOTICE, 0, 0, notice, sizeof(notice));
        server_expect_end(s);
}

/* With nobody to go to, the pool is parked: the ends of the sessions that it has left must not make each new attempt, refused at once, look like one of several. */
static void drains_for_good_script(struct server *s) {
        uint8_t notice[IVBS_NOTICE_LENGTH];
        int first, second;

        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        first = put_aside(s);
        server_modern_up(s, true);
        second = put_aside(s);
        s->listen_fd = safe_close(s->listen_fd);
        ivbs_notice_encode(&(const struct ivbs_notice){ IVBS_NOTICE_DRAIN, 1000 }, notice);
        s->fd = first;
        server_send(s, IVBS_OP_NOTICE, 0, 0, notice, sizeof(notice));
        server_expect_end(s);
        server_cut(s);
        s->fd = second;
        server_expect_end(s);
}

static void is_away_script(struct server *s) {
        s->listen_fd = safe_close(s->listen_fd);
}

static void a_drain_leads_nowhere(void) {
        struct server *s = server_start(drains_for_good_script, NULL), *away = server_start(is_away_script, NULL);
        struct fixture x;

        begin(&x, s, away);
        x.client.config.connections = 2;
        go_and_attach(&x);
        RUN_UNTIL(x.client.ring, pool_get_state(x.pool) == POOL_PARKED);
        ASSERT_EQ(pool_get_sessions(x.pool), 0U);
        ASSERT_EQ(proxies_get(pool_get_proxies(x.pool), 1)->state, PROXY_UNREACHABLE);
        pool_stop(x.pool, true, 0);
        wait_stopped(&x);
        server_join(s);
        server_join(away);
}

static void takes_over_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, true);
        expect_stop(s);
}

static void stopped_while_it_moves(void) {
        struct server *a = server_start(drains_idle_script, NULL), *b = server_start(takes_over_script, NULL);
        const struct proxy *standby;
        uint64_t round_trip_usec;
        struct fixture x;

        begin(&x, a, b);
        go_and_attach(&x);
        RUN_UNTIL(x.client.ring, pool_get_standby(x.pool));
        standby = pool_get_standby(x.pool);
        round_trip_usec = standby->round_trip_usec;
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, proxies_get(pool_get_proxies(x.pool), 0)->state == PROXY_DRAINING);
        pool_stop(x.pool, true, PATIENCE_USEC);
        RUN_UNTIL(x.client.ring, x.n_stopped > 0);
        ASSERT_EQ(x.stop_error, 0);
        /* How long it stood by is no round trip. */
        ASSERT_EQ(standby->round_trip_usec, round_trip_usec);
        wait_stopped(&x);
        server_join(a);
        server_join(b);
}

/* What fails during a stop is the stop's failure. */
static void stolen_at_the_end_script(struct server *s) {
        s->caps = FENCING_CAPS;
        server_modern_up(s, false);
        take_write(s, 4096);
        server_reply(s, IVBS_STATUS_EXPIRED, NULL, 0);
        server_expect_end(s);
}

static void stolen_during_a_stop(void) {
        struct server *s = server_start(stolen_at_the_end_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        stop(&x);
        ASSERT_EQ(x.client.errors[0], -EIO);
        ASSERT_EQ(x.n_failed, 1U);
        ASSERT_TRUE(x.stop_error < 0);
        server_join(s);
}

/* Where nothing can be fenced, repeating is a choice. */
static void classic_cut_script(struct server *s) {
        server_classic_up(s);
        take_write(s, 4096);
        server_cut(s);
        server_classic_up(s);
        server_expect_end(s);
}

static void classic_without_replay(void) {
        struct server *s = server_start(classic_cut_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.classic_replay = false;
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], -EIO);
        RUN_UNTIL(x.client.ring, pool_get_state(x.pool) == POOL_ATTACHED && pool_get_failovers(x.pool) == 1);
        stop(&x);
        server_join(s);
}

/* One that says EXPIRED is attached to again: there is no lease that somebody else could have taken. */
static void classic_expired_script(struct server *s) {
        server_classic_up(s);
        take_write(s, 4096);
        server_reply(s, IVBS_STATUS_EXPIRED, NULL, 0);
        server_expect_end(s);
        server_classic_up(s);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static void classic_expired(void) {
        struct server *s = server_start(classic_expired_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(pool_get_failovers(x.pool), 1U);
        stop(&x);
        server_join(s);
}

/* A classic server that answers no KEEPALIVE is asked for its first block, and lives if it answers that. */
static void classic_probe_script(struct server *s) {
        uint32_t sequence;

        server_classic_up(s);
        take_write(s, 4096);
        sequence = s->header.sequence;
        for (unsigned i = 0; i < 2; i++) {
                server_expect(s, IVBS_OP_READ);
                ASSERT_EQ(get_be64(s->payload), 0U);
                ASSERT_EQ(get_be64(s->payload + 8), 512U);
                server_reply(s, 0, s->payload, 512);
        }
        server_send(s, IVBS_OP_WRITE, 0, sequence, NULL, 0);
        take_write(s, 8192);
        server_expect(s, IVBS_OP_READ);
        server_expect_end(s); /* silent by now */
        ASSERT_TRUE(s->n_keepalives > 0);

        server_classic_up(s);
        take_write(s, 8192);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static void a_silent_classic_server_is_asked(void) {
        struct server *s = server_start(classic_probe_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        expect_life_within(&x, 2400000);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done > 0);
        ASSERT_EQ(pool_get_failovers(x.pool), 0U);
        submit(&x, REQUEST_WRITE, 8192, 512);
        RUN_UNTIL(x.client.ring, pool_get_failovers(x.pool) > 0);
        x.client.config.dead_time_usec = PATIENCE_USEC;
        RUN_UNTIL(x.client.ring, x.client.n_done > 1);
        ASSERT_EQ(x.client.errors[1], 0);
        stop(&x);
        server_join(s);
}

/* The image grows: told, the worker asks, and nothing goes out before the answer; then it goes on with the new size, also at the next connection. */
static void grows_script(struct server *s) {
        struct ivbs_notice notice = { IVBS_NOTICE_SIZE, 2 * SERVER_IMAGE_SIZE, 1 };
        uint8_t bytes[IVBS_NOTICE_SIZE_LENGTH];
        uint32_t sequence;

        s->caps = FENCING_CAPS | IVBS_CAP_RESIZE;
        server_modern_up(s, false);
        take_write(s, 4096);
        sequence = s->header.sequence;
        ivbs_notice_size_encode(&notice, bytes);
        server_send(s, IVBS_OP_NOTICE, 0, 0, bytes, sizeof(bytes));
        server_expect_resume(s);
        s->lease.size = notice.value;
        s->lease.size_epoch = notice.size_epoch;
        server_reply_lease(s, &s->lease);
        server_send(s, IVBS_OP_WRITE, 0, sequence, NULL, 0);
        /* The same again is no news. */
        server_send(s, IVBS_OP_NOTICE, 0, 0, bytes, sizeof(bytes));
        take_write(s, SERVER_IMAGE_SIZE + 4096);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_READ);
        server_cut(s);

        server_modern_up(s, true);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        expect_stop(s);
}

static void a_new_size_is_taken_up(void) {
        struct server *s = server_start(grows_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        RUN_UNTIL(x.client.ring, x.n_resized > 0);
        ASSERT_EQ(x.client.attachment.size, 2 * SERVER_IMAGE_SIZE);
        ASSERT_EQ(x.client.attachment.size_epoch, 1U);
        submit(&x, REQUEST_WRITE, SERVER_IMAGE_SIZE + 4096, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done == 2);
        submit(&x, REQUEST_READ, 0, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done == 3);
        for (unsigned i = 0; i < 3; i++)
                ASSERT_EQ(x.client.errors[i], 0);
        ASSERT_EQ(x.n_resized, 1U);
        stop(&x);
        server_join(s);
}

/* Of what is retained, only what is left of the image is written again. */
static void shrinks_script(struct server *s) {
        struct ivbs_notice notice = { IVBS_NOTICE_SIZE, 8192, 1 };
        uint8_t bytes[IVBS_NOTICE_SIZE_LENGTH];

        s->caps = FENCING_CAPS | IVBS_CAP_RESIZE | IVBS_CAP_DURABILITY;
        s->lease.identity.error_epoch = 1;
        server_modern_up(s, false);
        for (uint64_t offset = 4096; offset <= 12288; offset += 4096) {
                take_write(s, offset);
                server_reply(s, 0, NULL, 0);
        }
        ivbs_notice_size_encode(&notice, bytes);
        server_send(s, IVBS_OP_NOTICE, 0, 0, bytes, sizeof(bytes));
        server_expect_resume(s);
        s->lease.size = notice.value;
        s->lease.size_epoch = notice.size_epoch;
        server_reply_lease(s, &s->lease);
        /* An error at the server: all has to be written again. */
        server_expect(s, IVBS_OP_READ);
        s->lease.identity.error_epoch = 2;
        server_cut(s);

        server_modern_up(s, true);
        take_write(s, 4096);
        server_reply(s, 0, NULL, 0);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        server_expect(s, IVBS_OP_FLUSH);
        ivbs_identity_encode(&s->lease.identity, s->payload);
        server_reply(s, 0, s->payload, IVBS_IDENTITY_SIZE);
        server_expect(s, IVBS_OP_DETACH);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static void what_was_cut_off_is_not_rewritten(void) {
        struct server *s = server_start(shrinks_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        for (unsigned i = 0; i < 3; i++) {
                submit(&x, REQUEST_WRITE, 4096 * (i + 1), 512);
                RUN_UNTIL(x.client.ring, x.client.n_done == i + 1);
        }
        RUN_UNTIL(x.client.ring, x.n_resized > 0);
        submit(&x, REQUEST_READ, 0, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done == 4);
        ASSERT_EQ(x.n_failed, 0U);
        stop(&x);
        server_join(s);
}

TEST_MAIN(TEST(a_new_size_is_taken_up), TEST(what_was_cut_off_is_not_rewritten), TEST(stolen_during_a_stop),
        TEST(stopped_while_it_moves), TEST(detach_is_waited_for), TEST(a_restarted_reader_does_not_fence),
        TEST(readers_have_no_generation), TEST(a_lost_write_is_fenced), TEST(a_lost_fence_is_found_out),
        TEST(the_fencer_dies), TEST(a_fence_is_overtaken), TEST(stolen_meanwhile), TEST(a_fence_put_off),
        TEST(a_restarted_worker_fences), TEST(a_drain_is_followed), TEST(drained_proxy_refuses),
        TEST(a_drain_leads_nowhere), TEST(overlaps_wait), TEST(classic_without_replay), TEST(classic_expired),
        TEST(a_silent_classic_server_is_asked));
