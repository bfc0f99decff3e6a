/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Acknowledged is kept, though the proxy's machine loses power, or a sync fails. The store forgets with its process what was not flushed, and calls itself another
 * machine at its next start. */

#include "rules.h"

#define W1 1U
#define W2 2U

static void begin(struct scene *s, const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;

        o.n_proxies = 1;
        o.volatile_store = true;
        o.settings = "\"connections\":1,\"retain\":\"always\",";
        scene_begin(s, &o, rules_off);
}

static void lose_power(struct scene *s) {
        scene_kill_proxy(s, 0);
        scene_start_proxy(s, 0);
}

/* What a read brings; a failing worker or an error counts as version 0. */
static enum rule_verdict expect(struct scene *s, uint64_t version) {
        unsigned io = 0;
        uint64_t found = 0;
        bool started = s->client;

        s->rig->worker_wanted = false; /* to fail loudly is not what is tested here, but better than silence */
        if (started) {
                io = scene_start(s, NBD_CMD_READ, 0, 0, 1);
                scene_wait(s, scene_io_is_done, s->ios + io, "a read after the loss of power was answered");
        }
        if (started && s->ios[io].done && s->ios[io].error == 0)
                found = scene_read(s, 0);
        scene_end(s);
        return found == version ? RULE_HOLDS : RULE_IS_BROKEN;
}

enum rule_verdict rule_retained(const struct rig_options *options, const char *rules_off) {
        struct scene s;

        begin(&s, options, rules_off);
        scene_write(&s, 0, 0, W1);
        lose_power(&s);
        return expect(&s, W1);
}

enum rule_verdict rule_durability_identity(const struct rig_options *options, const char *rules_off) {
        struct scene s;

        begin(&s, options, rules_off);
        scene_write(&s, 0, 0, W1);
        scene_flush(&s);
        scene_write(&s, 0, 0, W2);
        lose_power(&s);
        return expect(&s, W2);
}

/* W2 was durable when it was acknowledged, W1 before it was not: who repeats W1 must repeat W2 behind it. */
enum rule_verdict rule_retained_order(const struct rig_options *options, const char *rules_off) {
        struct scene s;

        begin(&s, options, rules_off);
        scene_write(&s, 0, 0, W1);
        scene_write(&s, NBD_CMD_FLAG_FUA, 0, W2);
        lose_power(&s);
        return expect(&s, W2);
}

static bool ready_or_ended(struct scene *s, void *userdata) {
        return s->rig->worker.is_ready || s->rig->worker.pid == 0;
}

/* The worker is killed, then the proxy's machine loses power; both come back. Whether the worker takes the image again. */
static bool comes_back(struct scene *s) {
        int r;

        scene_kill_worker(s);
        lose_power(s);
        r = rig_start_worker(s->rig);
        if (r < 0)
                scene_give_up("Cannot start the worker");
        s->rig->worker_wanted = false;
        scene_wait(s, ready_or_ended, NULL, "the worker had the image or gave up");
        return s->rig->worker.is_ready;
}

/* The log went with the worker: that something may be missing must be said, and only then. */
enum rule_verdict rule_dirty_mark(const struct rig_options *options, const char *rules_off) {
        enum rule_verdict verdict;
        struct scene s;

        begin(&s, options, rules_off);
        scene_write(&s, 0, 0, W1);
        scene_flush(&s);
        if (!comes_back(&s))
                scene_give_up("The worker has failed though all was flushed");
        scene_connect(&s);
        if (scene_read(&s, 0) != W1)
                scene_give_up("A flushed write is missing");
        scene_write(&s, 0, 0, W2);
        verdict = comes_back(&s) ? RULE_IS_BROKEN : RULE_HOLDS;
        scene_end(&s);
        return verdict;
}

/* A failed flush has dropped what it covered, and the next one succeeds: it proves nothing. Who repeats the flush only cannot ever answer it truly: the server's identity is
 * another one since the error. */
enum rule_verdict rule_flush_rewrite(const struct rig_options *options, const char *rules_off) {
        struct scene s;
        unsigned io;

        begin(&s, options, rules_off);
        scene_write(&s, 0, 0, W1);
        scene_store_file(&s, "fail-flush", "1\n");
        io = scene_start(&s, NBD_CMD_FLUSH, 0, 0, 0);
        s.rig->worker_wanted = false;
        if (!scene_try(&s, scene_io_is_done, s.ios + io, 10 * SEC) || !s.ios[io].done || s.ios[io].error != 0) {
                scene_end(&s);
                return RULE_IS_BROKEN;
        }
        lose_power(&s);
        return expect(&s, W1);
}

/* Somebody else's flush fails, and the system tells of it once. */
static int flush_as_another(void *userdata) {
        const struct rig *rig = userdata;
        struct ivbs_lease lease = { .flags = IVBS_LEASE_READ_ONLY, .name = RIG_IMAGE };
        uint8_t payload[IVBS_LEASE_SIZE];
        struct control control;
        int r;

        if (control_open(&control, rig->proxies[0].port, 204, RIG_USER, RIG_PASSWORD) < 0)
                return 200;
        if (ivbs_lease_encode(&lease, payload) < 0 ||
                control_call(&control, IVBS_OP_ATTACH_LEASE, payload, sizeof(payload), NULL, NULL) != 0)
                return 201;
        r = control_call(&control, IVBS_OP_FLUSH, NULL, 0, NULL, NULL);
        return r < 0 ? 202 : r;
}

enum rule_verdict rule_error_epoch(const struct rig_options *options, const char *rules_off) {
        struct scene s;
        int status;

        begin(&s, options, rules_off);
        scene_write(&s, 0, 0, W1);
        scene_store_file(&s, "fail-flush", "1\n");
        status = scene_control(&s, flush_as_another, s.rig);
        if (status != IVBS_STATUS_PERMANENT_ERROR)
                scene_give_up("The failed flush of another host was answered with %d", status);
        scene_flush(&s);
        lose_power(&s);
        return expect(&s, W1);
}
