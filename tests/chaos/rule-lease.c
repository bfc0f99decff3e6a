/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One writer, and what becomes of a host that was taken for dead and is not. */

#include <string.h>

#include "rules.h"

#define W1 1U
#define W2 2U

struct second_host {
        struct rig *rig;
        uint32_t flags;
};

/* Attaches the image for writing from another machine. Returns the status, or 200 and more for an error. */
static int attach(void *userdata) {
        struct second_host *host = userdata;
        struct ivbs_lease lease = { .flags = host->flags, .name = RIG_IMAGE };
        uint8_t payload[IVBS_LEASE_SIZE], write[IVBS_WRITE_PREFIX_SIZE + CHAOS_BLOCK];
        struct control control;
        int r;

        if (control_open(&control, host->rig->proxies[0].port, 203, RIG_USER, RIG_PASSWORD) < 0)
                return 200;
        if (ivbs_lease_encode(&lease, payload) < 0)
                return 201;
        r = control_call(&control, IVBS_OP_ATTACH_LEASE, payload, sizeof(payload), NULL, NULL);
        if (r != 0)
                return r < 0 ? 202 : r;
        ivbs_offset_encode(0, write);
        block_fill(write + IVBS_WRITE_PREFIX_SIZE, 1, 0, W2);
        return control_call(&control, IVBS_OP_WRITE, write, sizeof(write), NULL, NULL) == 0 ? 0 : 203;
}

enum rule_verdict rule_one_writer(const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;
        struct second_host host;
        struct scene s;
        int status;

        o.n_proxies = 1;
        scene_begin(&s, &o, rules_off);
        scene_write(&s, 0, 0, W1);

        host = (struct second_host){ .rig = s.rig };
        status = scene_control(&s, attach, &host);
        if (status != IVBS_STATUS_HELD && status != 0)
                scene_give_up("The second host was answered with %d", status);
        if (status == IVBS_STATUS_HELD && scene_read(&s, 0) != W1)
                status = 0;
        scene_end(&s);
        return status == IVBS_STATUS_HELD ? RULE_HOLDS : RULE_IS_BROKEN;
}

static bool answered_or_ended(struct scene *s, void *userdata) {
        return ((struct scene_io *) userdata)->done || s->rig->worker.pid == 0;
}

/* The worker's host is cut off. Another one takes the image over and writes W2. Then the first one comes back, with W1 to write that it has accepted meanwhile. It had nothing
 * unanswered, so it does not fence: RESUME alone has to refuse it. */
enum rule_verdict rule_lease_generation(const struct rig_options *options, const char *rules_off) {
        struct rig_options o = *options;
        struct second_host host;
        struct relay *relay;
        uint64_t found;
        struct scene s;
        bool refused;
        unsigned w1;

        o.n_proxies = 1;
        scene_begin(&s, &o, rules_off);
        scene_write(&s, 0, 65536, W1);
        relay = s.rig->proxies[0].relay;
        relay_set_backend(relay, 0);
        (void) relay_cut(relay);
        w1 = scene_start(&s, NBD_CMD_WRITE, 0, 0, W1);

        host = (struct second_host){ .rig = s.rig, .flags = IVBS_LEASE_STEAL };
        if (scene_control(&s, attach, &host) != 0)
                scene_give_up("The second host could not take the image over");

        s.rig->worker_wanted = false; /* the right end for it is to fail */
        relay_set_backend(relay, s.rig->proxies[0].port);
        scene_wait(&s, answered_or_ended, s.ios + w1, "the first host had gone on or given up");
        refused = s.rig->worker.pid == 0 || s.ios[w1].error != 0;
        found = scene_read_file(&s, 0);
        scene_end(&s);
        return refused && found == W2 ? RULE_HOLDS : RULE_IS_BROKEN;
}
