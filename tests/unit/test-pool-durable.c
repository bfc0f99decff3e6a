/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a pool keeps until it is durable, and what it does when that may be lost. A server here is one machine whose identity the script changes: a power loss is a cut and another
 * boot id, an I/O error a raised error epoch. */

#include <systemd/sd-id128.h>

#include "mark.h"
#include "pool-fixture.h"
#include "scratch.h"

#define DURABLE_CAPS (SERVER_CAPS | IVBS_CAP_DURABILITY)

static void up(struct server *s, bool again) {
        s->caps = DURABLE_CAPS;
        server_modern_up(s, again);
}

static void lose_power(struct server *s) {
        server_cut(s);
        s->lease.identity.boot_id[0]++;
}

static void answer_flush(struct server *s, uint32_t status) {
        uint8_t payload[IVBS_IDENTITY_SIZE];

        server_expect(s, IVBS_OP_FLUSH);
        ivbs_identity_encode(&s->lease.identity, payload);
        server_reply(s, status, payload, sizeof(payload));
}

static void write_ok(struct server *s, uint64_t offset) {
        take_write(s, offset);
        server_reply(s, 0, NULL, 0);
}

static void answer_op(struct server *s, uint32_t op) {
        server_expect(s, op);
        server_reply(s, 0, NULL, 0);
}

static void end(struct server *s) {
        answer_flush(s, 0);
        answer_op(s, IVBS_OP_DETACH);
        server_expect_end(s);
}

static struct request *submit_fua(struct fixture *x, uint64_t offset) {
        struct request *request = client_request(&x->client, REQUEST_WRITE, offset, 512);

        request->fua = true;
        pool_submit(x->pool, request);
        return request;
}

static void done(struct fixture *x, unsigned n) {
        RUN_UNTIL(x->client.ring, x->client.n_done == n);
        for (unsigned i = 0; i < n; i++)
                ASSERT_EQ(x->client.errors[i], 0);
}

/* Every kind of change that was acknowledged and not flushed comes again, in its order, before anything else does. */
static void power_loss_script(struct server *s) {
        up(s, false);
        write_ok(s, 0);
        answer_flush(s, 0);
        write_ok(s, 4096);
        answer_op(s, IVBS_OP_WRITE_FUA);
        answer_op(s, IVBS_OP_TRIM);
        answer_op(s, IVBS_OP_WRITE_ZEROES);
        server_expect(s, IVBS_OP_READ);
        lose_power(s);

        up(s, true);
        write_ok(s, 4096); /* not the one that was flushed */
        server_expect(s, IVBS_OP_WRITE_FUA);
        ASSERT_EQ(ivbs_offset_decode(s->payload), 4096U);
        server_reply(s, 0, NULL, 0);
        answer_op(s, IVBS_OP_TRIM);
        answer_op(s, IVBS_OP_WRITE_ZEROES);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        end(s);
}

static void power_loss(void) {
        struct server *s = server_start(power_loss_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 0, 512);
        done(&x, 1);
        ASSERT_TRUE(pool_get_retained(x.pool) > 0);
        submit(&x, REQUEST_FLUSH, 0, 0);
        done(&x, 2);
        ASSERT_EQ(pool_get_retained(x.pool), 0U);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 3);
        submit_fua(&x, 4096); /* a durable one over a volatile one: the older must not come after it */
        done(&x, 4);
        submit(&x, REQUEST_TRIM, 1 << 20, 4096);
        done(&x, 5);
        submit(&x, REQUEST_WRITE_ZEROES, 2 << 20, 4096);
        done(&x, 6);
        submit(&x, REQUEST_READ, 4096, 512);
        done(&x, 7);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* The same machine again, by another connection: nothing is repeated that was acknowledged. */
static void same_machine_script(struct server *s) {
        up(s, false);
        write_ok(s, 4096);
        server_cut(s);
        up(s, true);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        end(s);
}

static void the_same_machine_keeps_it(void) {
        struct server *s = server_start(same_machine_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        RUN_UNTIL(x.client.ring, pool_get_state(x.pool) == POOL_PARKED);
        submit(&x, REQUEST_READ, 0, 512);
        done(&x, 2);
        stop(&x);
        server_join(s);
}

/* Nothing written; written and flushed; written; and written where nobody can tell. */
static void leaves_script(struct server *s) {
        unsigned way = *(const unsigned *) s->data;

        if (way < 3)
                up(s, false);
        else
                server_modern_up(s, false);
        if (way > 0)
                write_ok(s, 4096);
        if (way == 1)
                answer_flush(s, 0);
        server_expect(s, IVBS_OP_READ);
        s->listen_fd = safe_close(s->listen_fd);
        server_reply(s, 0, s->payload, 512);
        server_cut(s);
}

/* Without a proxy there is no last flush: an error where something needed it, and only there. */
static void stopped_while_parked(void) {
        for (unsigned way = 0; way < 4; way++) {
                struct server *s = server_start(leaves_script, &way);
                unsigned n = 0;
                struct fixture x;

                begin(&x, s, NULL);
                go_and_attach(&x);
                if (way > 0) {
                        submit(&x, REQUEST_WRITE, 4096, 512);
                        done(&x, ++n);
                }
                if (way == 1) {
                        submit(&x, REQUEST_FLUSH, 0, 0);
                        done(&x, ++n);
                }
                submit(&x, REQUEST_READ, 4096, 512);
                done(&x, ++n);
                RUN_UNTIL(x.client.ring, pool_get_state(x.pool) == POOL_PARKED);
                pool_stop(x.pool, true, way < 2 ? 10 * PATIENCE_USEC : 200000);
                wait_stopped(&x);
                if (way < 2)
                        ASSERT_EQ(x.stop_error, 0);
                else
                        ASSERT_TRUE(x.stop_error < 0);
                server_join(s);
        }
}

/* A flush that fails, that gets no answer, or that holds under another identity than what it was to cover: written again, then flushed again. */
static void flush_again_script(struct server *s) {
        unsigned way = *(const unsigned *) s->data;

        up(s, false);
        write_ok(s, 4096);
        switch (way) {
        case 0:
                s->lease.identity.error_epoch++;
                answer_flush(s, IVBS_STATUS_PERMANENT_ERROR);
                break;
        case 1:
                server_expect(s, IVBS_OP_FLUSH);
                server_cut(s);
                up(s, true);
                break;
        case 2:
                s->lease.identity.error_epoch++;
                answer_flush(s, 0);
                break;
        default:
                server_expect(s, IVBS_OP_WRITE_FUA);
                server_cut(s); /* it, too, may have swallowed an error */
                up(s, true);
                break;
        }
        write_ok(s, 4096);
        if (way == 3)
                answer_op(s, IVBS_OP_WRITE_FUA);
        answer_flush(s, 0);
        end(s);
}

static void flushed_again(void) {
        for (unsigned way = 0; way < 4; way++) {
                struct server *s = server_start(flush_again_script, &way);
                struct fixture x;

                begin(&x, s, NULL);
                go_and_attach(&x);
                submit(&x, REQUEST_WRITE, 4096, 512);
                done(&x, 1);
                if (way == 3) {
                        submit_fua(&x, 65536);
                        done(&x, 2);
                }
                submit(&x, REQUEST_FLUSH, 0, 0);
                done(&x, way == 3 ? 3 : 2);
                ASSERT_EQ(pool_get_retained(x.pool), 0U);
                ASSERT_EQ(x.n_failed, 0U);
                stop(&x);
                ASSERT_EQ(x.stop_error, 0);
                server_join(s);
        }
}

/* An error that stays: said, and not repeated for ever. */
static void broken_disk_script(struct server *s) {
        up(s, false);
        for (unsigned i = 0; i < 4; i++) {
                write_ok(s, 4096);
                s->lease.identity.error_epoch++;
                answer_flush(s, IVBS_STATUS_PERMANENT_ERROR);
        }
        server_expect_end(s);
}

static void a_broken_disk_is_told(void) {
        struct server *s = server_start(broken_disk_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        submit(&x, REQUEST_FLUSH, 0, 0);
        RUN_UNTIL(x.client.ring, x.n_failed > 0);
        ASSERT_EQ(x.failure, FAILURE_IO);
        ASSERT_TRUE(strstr(x.message, "durable"));
        ASSERT_EQ(x.client.errors[1], -EIO);
        stop(&x);
        server_join(s);
}

/* Power is lost again while the log is being written: all of it once more. */
static void power_loss_twice_script(struct server *s) {
        up(s, false);
        write_ok(s, 4096);
        write_ok(s, 8192);
        lose_power(s);
        up(s, true);
        write_ok(s, 4096);
        take_write(s, 8192);
        lose_power(s);
        up(s, true);
        write_ok(s, 4096);
        take_write(s, 8192);
        server_reply(s, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        write_ok(s, 8192); /* put off: that one alone */
        end(s);
}

static void power_loss_while_rewriting(void) {
        struct server *s = server_start(power_loss_twice_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        submit(&x, REQUEST_WRITE, 8192, 512);
        done(&x, 2);
        RUN_UNTIL(x.client.ring, pool_get_failovers(x.pool) > 0);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* What was written again and got no answer may land late, as any other write: it is fenced. */
static void rewrite_lost_script(struct server *s) {
        s->caps = DURABLE_CAPS | IVBS_CAP_FENCE;
        server_modern_up(s, false);
        write_ok(s, 4096);
        lose_power(s);
        server_modern_up(s, true);
        take_write(s, 4096);
        server_cut(s);
        server_modern_up(s, true);
        fence(s);
        write_ok(s, 4096);
        end(s);
}

static void a_lost_rewrite_is_fenced(void) {
        struct server *s = server_start(rewrite_lost_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        RUN_UNTIL(x.client.ring, pool_get_failovers(x.pool) > 0);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* Power is lost while the rest of the log waits to be written again: the next machine gets it from its beginning. */
static void power_loss_between_script(struct server *s) {
        uint32_t first;

        up(s, false);
        write_ok(s, 4096);
        write_ok(s, 8192);
        lose_power(s);
        up(s, true);
        take_write(s, 4096);
        first = s->header.sequence;
        take_write(s, 8192);
        server_reply(s, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        server_send(s, IVBS_OP_WRITE, 0, first, NULL, 0);
        lose_power(s);
        up(s, true);
        write_ok(s, 4096);
        write_ok(s, 8192);
        end(s);
}

static void power_loss_between_rewrites(void) {
        struct server *s = server_start(power_loss_between_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        submit(&x, REQUEST_WRITE, 8192, 512);
        done(&x, 2);
        RUN_UNTIL(x.client.ring, pool_get_failovers(x.pool) > 0);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* The proxy's machine has been restarted, one session knows, the other one has had no reason to find out: nothing is read of what the log has still to bring back. */
static void half_restarted_script(struct server *s) {
        int first, second;

        up(s, false);
        first = put_aside(s);
        up(s, true);
        second = put_aside(s);
        s->fd = first;
        write_ok(s, 4096);
        lose_power(s);
        up(s, true);
        write_ok(s, 4096);
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        end(s);

        s->fd = second;
        server_expect_end(s);
}

static void a_member_meets_another_machine(void) {
        struct server *s = server_start(half_restarted_script, NULL);
        const struct session *leader;
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.connections = 2;
        go_and_attach(&x);
        RUN_UNTIL(x.client.ring, pool_get_sessions(x.pool) == 2);
        leader = pool_get_session(x.pool);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        RUN_UNTIL(x.client.ring, pool_get_session(x.pool) && pool_get_session(x.pool) != leader);
        leader = pool_get_session(x.pool);
        RUN_UNTIL(x.client.ring, pool_get_session(x.pool) && pool_get_session(x.pool) != leader);
        x.client.config.connections = 1;
        submit(&x, REQUEST_READ, 4096, 512);
        done(&x, 2);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* What a session was told when it attached may be older than what another has been told since. */
static void older_sister_script(struct server *s) {
        int first, second;
        sd_id128_t boot_id;

        ASSERT_OK(sd_id128_get_boot(&boot_id));
        memcpy(s->lease.identity.boot_id, boot_id.bytes, sizeof(boot_id.bytes));
        up(s, false);
        first = put_aside(s);
        up(s, true);
        second = put_aside(s);
        s->fd = first;
        s->lease.identity.error_epoch++; /* of another image */
        answer_flush(s, 0);
        write_ok(s, 4096);
        server_cut(s);
        s->fd = second;
        server_expect(s, IVBS_OP_READ);
        server_reply(s, 0, s->payload, 512);
        end(s);
}

static void an_older_sister_leads(void) {
        struct server *s = server_start(older_sister_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.retain = RETAIN_AUTO;
        x.client.config.connections = 2;
        go_and_attach(&x);
        RUN_UNTIL(x.client.ring, pool_get_sessions(x.pool) == 2);
        x.client.config.connections = 1;
        submit(&x, REQUEST_FLUSH, 0, 0);
        done(&x, 1);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 2);
        RUN_UNTIL(x.client.ring, pool_get_sessions(x.pool) == 1);
        submit(&x, REQUEST_READ, 0, 512);
        done(&x, 3);
        ASSERT_EQ(x.n_failed, 0U);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* The log is bounded: near its bound the pool flushes by itself, and no write fails or is forgotten. */
#define FULL_WRITES 24U

static void full_log_script(struct server *s) {
        unsigned n_writes = 0, n_flushes = 0;
        uint8_t payload[IVBS_IDENTITY_SIZE];

        ivbs_identity_encode(&s->lease.identity, payload);
        up(s, false);
        for (;;) {
                ASSERT_TRUE(server_take(s));
                if (s->header.op == IVBS_OP_WRITE) {
                        n_writes++;
                        server_reply(s, 0, NULL, 0);
                } else if (s->header.op == IVBS_OP_FLUSH) {
                        n_flushes++;
                        server_reply(s, 0, payload, sizeof(payload));
                } else
                        break;
        }
        ASSERT_EQ(s->header.op, IVBS_OP_DETACH);
        ASSERT_EQ(n_writes, FULL_WRITES);
        ASSERT_TRUE(n_flushes >= 3);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static void a_full_log_is_flushed(void) {
        struct server *s = server_start(full_log_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        for (uint64_t i = 0; i < FULL_WRITES; i++)
                submit(&x, REQUEST_WRITE, i << 20, 128 * 1024);
        done(&x, FULL_WRITES);
        ASSERT_TRUE(pool_get_retained(x.pool) <= x.client.config.retain_limit);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* An epoch that could not be recorded is known to nobody after its proxy's end: a lower one is not believed, but what it was to cover is written again once, and not for ever. */
static void lower_epoch_script(struct server *s) {
        up(s, false);
        s->lease.identity.error_epoch = 7;
        answer_flush(s, 0);
        write_ok(s, 4096);
        server_cut(s);
        s->lease.identity.error_epoch = 6;
        up(s, true);
        answer_flush(s, 0);
        write_ok(s, 4096);
        answer_flush(s, 0);
        end(s);
}

static void the_epoch_falls(void) {
        struct server *s = server_start(lower_epoch_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        go_and_attach(&x);
        submit(&x, REQUEST_FLUSH, 0, 0);
        done(&x, 1);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 2);
        RUN_UNTIL(x.client.ring, pool_get_failovers(x.pool) > 0);
        submit(&x, REQUEST_FLUSH, 0, 0);
        done(&x, 3);
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* The mark tells of what is missing, and never of what is not: a store that was mounted anew while everything was durable is no reason to fail a successor. */
static void mounted_anew_script(struct server *s) {
        sd_id128_t boot_id;

        ASSERT_OK(sd_id128_get_boot(&boot_id));
        memcpy(s->lease.identity.boot_id, boot_id.bytes, sizeof(boot_id.bytes));
        up(s, false);
        answer_op(s, IVBS_OP_WRITE_FUA);
        server_cut(s);
        s->lease.identity.mount_instance++;
        up(s, true);
        end(s);
}

static void a_clean_mark_follows(void) {
        struct ivbs_identity identity;
        bool found, dirty;
        struct mark *mark;
        struct fixture x;
        struct server *s;

        scratch_make();
        s = server_start(mounted_anew_script, NULL);
        begin(&x, s, NULL);
        x.client.config.retain = RETAIN_AUTO;
        x.client.attachment.directory = scratch;
        go_and_attach(&x);
        submit_fua(&x, 4096);
        done(&x, 1);
        RUN_UNTIL(x.client.ring, pool_get_failovers(x.pool) > 0);
        ASSERT_OK(mark_open(&mark, scratch, &found, &identity, &dirty));
        ASSERT_FALSE(dirty);
        mark_close(mark);
        stop(&x);
        server_join(s);
        (void) attachment_remove(&x.client.attachment);
        scratch_remove();
}

/* The log is full, and the server puts off the flush that would make room: who waits for room is failed with it, and not left waiting for ever. */
static void no_flush_script(struct server *s) {
        const volatile bool *flushes = s->data;
        uint8_t payload[IVBS_IDENTITY_SIZE];

        ivbs_identity_encode(&s->lease.identity, payload);
        up(s, false);
        for (;;) {
                ASSERT_TRUE(server_take(s));
                if (s->header.op == IVBS_OP_WRITE)
                        server_reply(s, 0, NULL, 0);
                else if (s->header.op == IVBS_OP_FLUSH && *flushes)
                        server_reply(s, 0, payload, sizeof(payload));
                else if (s->header.op == IVBS_OP_FLUSH)
                        server_reply(s, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
                else
                        break;
        }
        ASSERT_EQ(s->header.op, IVBS_OP_DETACH);
        server_reply(s, 0, NULL, 0);
        server_expect_end(s);
}

static void no_room_for_ever(void) {
        volatile bool flushes = false;
        struct server *s = server_start(no_flush_script, (const void *) &flushes);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.io_timeout_usec = 150000;
        go_and_attach(&x);
        for (uint64_t i = 0; i < FULL_WRITES; i++)
                submit(&x, REQUEST_WRITE, i << 20, 128 * 1024);
        RUN_UNTIL(x.client.ring, x.client.n_done == FULL_WRITES);
        ASSERT_EQ(x.client.errors[0], 0);
        ASSERT_EQ(x.client.errors[FULL_WRITES - 1], -EIO);
        ASSERT_EQ(x.n_failed, 0U);
        x.client.config.io_timeout_usec = UINT64_MAX;
        flushes = true;
        stop(&x);
        ASSERT_EQ(x.stop_error, 0);
        server_join(s);
}

/* A server that takes nothing of the log again, and says each time that it will: I/O waits for that as long as for a proxy. */
static void no_rewrite_script(struct server *s) {
        up(s, false);
        write_ok(s, 4096);
        lose_power(s);
        up(s, true);
        while (server_take(s) && s->header.op == IVBS_OP_WRITE)
                server_reply(s, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        ASSERT_EQ(s->header.op, IVBS_OP_DETACH);
        server_reply(s, 0, NULL, 0);
        while (server_take(s)) /* it goes on to the end */
                ASSERT_EQ(s->header.op, IVBS_OP_WRITE);
        server_cut(s);
}

static void a_rewrite_is_put_off(void) {
        struct server *s = server_start(no_rewrite_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.io_timeout_usec = 300000;
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        RUN_UNTIL(x.client.ring, pool_get_state(x.pool) != POOL_ATTACHED);
        submit(&x, REQUEST_READ, 0, 512);
        RUN_UNTIL(x.client.ring, x.client.n_done == 2);
        ASSERT_EQ(x.client.errors[1], -EIO);
        stop(&x);
        ASSERT_TRUE(x.stop_error < 0);
        server_join(s);
}

/* The same after a flush that failed, where no session was lost. */
static void no_rewrite_here_script(struct server *s) {
        up(s, false);
        write_ok(s, 4096);
        s->lease.identity.error_epoch++;
        answer_flush(s, IVBS_STATUS_PERMANENT_ERROR);
        while (server_take(s) && s->header.op == IVBS_OP_WRITE)
                server_reply(s, IVBS_STATUS_TEMPORARY_ERROR, NULL, 0);
        ASSERT_EQ(s->header.op, IVBS_OP_DETACH);
        server_reply(s, 0, NULL, 0);
        while (server_take(s)) /* it goes on to the end */
                ASSERT_EQ(s->header.op, IVBS_OP_WRITE);
        server_cut(s);
}

static void a_rewrite_is_put_off_here(void) {
        struct server *s = server_start(no_rewrite_here_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.io_timeout_usec = 300000;
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        submit(&x, REQUEST_FLUSH, 0, 0);
        RUN_UNTIL(x.client.ring, x.client.n_done == 2);
        ASSERT_EQ(x.client.errors[1], -EIO);
        stop(&x);
        ASSERT_TRUE(x.stop_error < 0);
        server_join(s);
}

/* The mark: a worker that was killed leaves no log, and its successor must not go on as if nothing were missing. */
static void successor_script(struct server *s) {
        bool lost = s->data;

        if (lost)
                s->lease.identity.boot_id[0]++;
        up(s, true);
        if (lost)
                server_expect_end(s);
        else {
                answer_flush(s, 0); /* at once: from then on nothing can be missing */
                end(s);
        }
}

static void killed_worker(void) {
        for (unsigned lost = 0; lost < 2; lost++) {
                struct server *s;
                struct ivbs_lease_reply lease = server_lease();
                struct ivbs_identity identity;
                struct mark *mark;
                struct fixture x;
                bool found, dirty;

                scratch_make();
                ASSERT_OK(mark_open(&mark, scratch, &found, &identity, &dirty));
                ASSERT_FALSE(found);
                ASSERT_OK(mark_set(mark, &lease.identity, true));
                mark_close(mark);

                s = server_start(successor_script, lost ? "" : NULL);
                begin(&x, s, NULL);
                attachment_set_modern(&x.client.attachment, DURABLE_CAPS, &lease);
                x.client.attachment.directory = scratch;
                go(&x);
                if (lost) {
                        RUN_UNTIL(x.client.ring, x.n_failed > 0);
                        ASSERT_EQ(x.failure, FAILURE_IO);
                        ASSERT_TRUE(strstr(x.message, "cannot repeat"));
                } else
                        RUN_UNTIL(x.client.ring, x.n_attached > 0);
                stop(&x);
                server_join(s);

                ASSERT_OK(mark_open(&mark, scratch, &found, &identity, &dirty));
                ASSERT_TRUE(found);
                ASSERT_EQ(dirty, lost);
                mark_close(mark);
                scratch_remove();
        }
}

/* The proxy is on this very machine: a power loss takes both, so nothing is kept, but a failed flush cannot be mended. */
static void local_script(struct server *s) {
        sd_id128_t boot_id;

        ASSERT_OK(sd_id128_get_boot(&boot_id));
        memcpy(s->lease.identity.boot_id, boot_id.bytes, sizeof(boot_id.bytes));
        up(s, false);
        write_ok(s, 4096);
        answer_flush(s, 0);
        write_ok(s, 4096);
        s->lease.identity.error_epoch++;
        answer_flush(s, IVBS_STATUS_PERMANENT_ERROR);
        server_expect_end(s);
}

static void a_local_proxy_is_not_logged(void) {
        struct server *s = server_start(local_script, NULL);
        struct fixture x;

        begin(&x, s, NULL);
        x.client.config.retain = RETAIN_AUTO;
        go_and_attach(&x);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 1);
        ASSERT_EQ(pool_get_retained(x.pool), 0U);
        submit(&x, REQUEST_FLUSH, 0, 0);
        done(&x, 2);
        submit(&x, REQUEST_WRITE, 4096, 512);
        done(&x, 3);
        submit(&x, REQUEST_FLUSH, 0, 0);
        RUN_UNTIL(x.client.ring, x.n_failed > 0);
        ASSERT_EQ(x.client.errors[3], -EIO);
        ASSERT_EQ(x.failure, FAILURE_IO);
        stop(&x);
        server_join(s);
}

TEST_MAIN(TEST(the_epoch_falls), TEST(a_clean_mark_follows), TEST(no_room_for_ever), TEST(a_rewrite_is_put_off),
        TEST(a_rewrite_is_put_off_here), TEST(an_older_sister_leads), TEST(a_member_meets_another_machine),
        TEST(power_loss), TEST(the_same_machine_keeps_it), TEST(stopped_while_parked), TEST(flushed_again),
        TEST(a_broken_disk_is_told), TEST(power_loss_while_rewriting), TEST(a_lost_rewrite_is_fenced),
        TEST(power_loss_between_rewrites), TEST(a_full_log_is_flushed), TEST(killed_worker),
        TEST(a_local_proxy_is_not_logged));
