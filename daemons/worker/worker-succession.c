/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From one worker to the next. A SIGTERM does not tell a stop from a restart, and a worker must know: after a stop the device has to be gone, before a restart it must not notice anything. systemd knows, since
 * the unit has a job of type "restart" then, and the supervisor can ask it. Without an answer (no supervisor, one that is older than the question, or systemd does not say) it is a stop: that is always
 * safe, for a device in use is not taken down, and the next worker gives it a new connection.
 *
 * What was left is adopted only when the image is attached again, and leaves systemd's store just before; until then a worker that dies changes nothing. */

#include <errno.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "fd-store.h"
#include "log.h"
#include "worker-internal.h"

#define ASK_USEC (2U * 1000U * 1000U)
/* How long the pool may take to finish and flush; what it does not do in time is the successor's. */
#define FINISH_USEC (5U * 1000U * 1000U)

static void decide(struct worker *w, bool restart) {
        w->asking = false;
        w->ask_timer = sd_event_source_disable_unref(w->ask_timer);
        if (w->stopping)
                return;

        if (!restart || w->failure != FAILURE_NONE || engine_hand_over(w->engine, FINISH_USEC) < 0) {
                worker_stop(w);
                return;
        }

        w->stopping = w->handing_over = true;
        (void) sd_notify(false, "STOPPING=1");
        worker_show(w);
}

static int on_ask_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        decide(userdata, false);
        return 0;
}

void worker_end(struct worker *w) {
        if (w->stopping || w->asking)
                return;

        /* One that is not usable yet has nothing that a successor could take up, or has not touched what it found. */
        if (!w->ready || supervisor_link_ask_job(w->supervisor) < 0 ||
                sd_event_add_time_relative(w->event, &w->ask_timer, CLOCK_MONOTONIC, ASK_USEC, 0, on_ask_timer, w) <
                        0) {
                worker_stop(w);
                return;
        }
        w->asking = true;
}

void worker_job_told(struct worker *w, const char *type) {
        if (w->asking)
                decide(w, strcmp(type, "restart") == 0);
}

void worker_ask_device(struct worker *w) {
        if (w->continues && w->kernel_has == WORKER_DEVICE_UNKNOWN)
                (void) supervisor_link_ask_device(w->supervisor);
}

void worker_device_told(struct worker *w, const char *node) {
        w->kernel_has = *node ? WORKER_DEVICE_THERE : WORKER_DEVICE_NONE;
        worker_show(w);
}

bool worker_must_go_on(const struct worker *w) {
        return w->found ||
               (w->continues && w->config && w->config->device == DEVICE_NBD && w->kernel_has != WORKER_DEVICE_NONE);
}

bool worker_continues(const struct worker *w) {
        return worker_must_go_on(w) || (w->continues && w->config && w->config->device != DEVICE_NBD);
}

void worker_left(struct worker *w, struct legacies *legacies) {
        legacies_free(w->left);
        w->left = legacies;
}

void worker_hand_over(struct worker *w, int error) {
        struct succession succession = { .size = w->known.size, .legacies = w->left };
        int r = -ENOMEM;

        if (error < 0)
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", w->name }, { "STATE", "reconnecting" }),
                        "Image %s: The worker is restarted before the last flush succeeded (%s): what was "
                        "acknowledged since the flush before it is lost if the proxy's machine fails before the next.",
                        w->name, strerror(-error));

        if (w->left) {
                strcpy(succession.image, w->attachment.name);
                memcpy(succession.uuid, w->known.uuid, sizeof(succession.uuid));
                snprintf(succession.node, sizeof(succession.node), "%s", w->node);
                r = fd_store_leave(&succession);
        }
        if (r < 0)
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", w->name }),
                        "Image %s: systemd does not take the connections (%s); they break, and the next worker makes "
                        "a new one for the device.",
                        w->name, strerror(-r));
        worker_finish(w);
}

bool worker_adopt(struct worker *w) {
        _cleanup_(succession_freep) struct succession *found = TAKE_PTR(w->found);
        bool kernel = false, ours;
        int r;

        if (!found)
                return false;

        ours = strcmp(found->image, w->attachment.name) == 0 && found->size == w->known.size &&
               memcmp(found->uuid, w->known.uuid, sizeof(found->uuid)) == 0;
        r = fd_store_clear();
        if (r < 0 || !ours) {
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", w->name }),
                        "Image %s: What the former worker has left cannot be taken up (%s); its connections are made "
                        "anew.",
                        w->name, !ours ? "it is of another image" : strerror(-r));
                return false;
        }

        for (size_t i = 0; i < found->legacies->n; i++)
                kernel |= found->legacies->items[i].kernel;
        if (engine_adopt(w->engine, TAKE_PTR(found->legacies)) < 0)
                return false;
        if (kernel)
                device_link_adopt(w->device, &w->known, found->node);
        return kernel;
}

void worker_succession_done(struct worker *w) {
        w->found = succession_free(w->found);
        w->left = legacies_free(w->left);
        w->ask_timer = sd_event_source_disable_unref(w->ask_timer);
}
