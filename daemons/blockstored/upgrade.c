/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One at a time, and the next only when the last is usable again: if the new program does not work, one image has to be helped and not all of them. For the same reason the first failure is the end. An image that
 * is not attached just now (parked, reconnecting) is passed over and named: it would wait for its proxy in the new worker as well, but what it has not flushed is known to the old one only. */

#include <errno.h>
#include <string.h>

#include "image-log.h"
#include "manager.h"
#include "upgrade.h"

struct upgrade {
        struct manager *manager;
        struct job *job;
        struct units_call *call;
        char **names;
        size_t n, position, n_passed_over;
        char passed_over[JOB_MESSAGE_MAX / 2];
        bool cancelled;
};

static struct upgrade *upgrade_free(struct upgrade *upgrade) {
        if (!upgrade)
                return NULL;

        units_call_free(upgrade->call);
        for (size_t i = 0; upgrade->names && i < upgrade->n; i++)
                free(upgrade->names[i]);
        free(upgrade->names);
        free(upgrade);
        return NULL;
}

static void end(struct upgrade *upgrade, enum failure failure, const char *message) {
        struct manager *manager = upgrade->manager;

        job_end(upgrade->job, failure, message);
        manager->upgrade = upgrade_free(upgrade);
        manager_check_idle(manager);
}

static void next(struct upgrade *upgrade);

static void on_restarted(const char *result, const char *message, void *userdata) {
        struct upgrade *upgrade = userdata;
        const char *name = upgrade->names[upgrade->position];
        struct managed *managed = manager_find(upgrade->manager, name);
        char text[JOB_MESSAGE_MAX];

        upgrade->call = NULL;
        if (!result || strcmp(result, "done") != 0) {
                (void) snprintf(text, sizeof(text),
                        "The worker of %s could not be replaced (%s)%s%.400s. %zu images are left as they were. See: "
                        "blockstorectl status %s",
                        name, result ?: message, managed && *managed->image->state_reason ? ": " : "",
                        managed ? managed->image->state_reason : "", upgrade->n - upgrade->position - 1, name);
                end(upgrade, FAILURE_SYSTEM, text);
                return;
        }

        log_image(LOG_NOTICE, name, "Its worker has been replaced");
        upgrade->position++;
        next(upgrade);
}

static void pass_over(struct upgrade *upgrade, const char *name, const char *state) {
        size_t used = strlen(upgrade->passed_over);

        (void) snprintf(upgrade->passed_over + used, sizeof(upgrade->passed_over) - used, "%s%s (%s)",
                used > 0 ? ", " : "", name, state);
        upgrade->n_passed_over++;
        upgrade->position++;
}

static void next(struct upgrade *upgrade) {
        while (upgrade->position < upgrade->n && !upgrade->cancelled) {
                const char *name = upgrade->names[upgrade->position];
                struct managed *managed = manager_find(upgrade->manager, name);

                job_set_progress(upgrade->job, upgrade->position, name);
                if (!managed || !managed->link)
                        upgrade->position++; /* has been detached, or has a new worker coming anyway */
                else if (managed->image->state != IMAGE_ATTACHED || managed->work != MANAGED_IDLE)
                        pass_over(upgrade, name, image_state_to_string(managed->image->state));
                else if (units_restart(upgrade->manager->units, managed->service, on_restarted, upgrade,
                                 &upgrade->call) < 0) {
                        on_restarted(NULL, "systemd cannot be reached", upgrade);
                        return;
                } else
                        return;
        }

        job_set_progress(upgrade->job, upgrade->position, NULL);
        if (upgrade->n_passed_over > 0) {
                char text[JOB_MESSAGE_MAX];

                (void) snprintf(text, sizeof(text),
                        "Passed over, for not being attached just now: %s. Try again when they are",
                        upgrade->passed_over);
                end(upgrade, upgrade->cancelled ? FAILURE_NONE : FAILURE_BUSY, text);
        } else
                end(upgrade, FAILURE_NONE, NULL);
}

/* The image that is being restarted is waited for. */
static void on_cancel(struct job *job, void *userdata) {
        struct upgrade *upgrade = userdata;

        upgrade->cancelled = true;
}

static int on_begin(sd_event_source *source, void *userdata) {
        struct manager *manager = userdata;

        if (manager->upgrade && !manager->upgrade->call)
                next(manager->upgrade);
        return 0;
}

int upgrade_start(struct manager *manager, struct job **ret) {
        struct managed *managed, *following;
        struct upgrade *upgrade;
        int r = 0;

        if (manager->upgrade)
                return -EBUSY;

        upgrade = calloc(1, sizeof(*upgrade));
        if (!upgrade)
                return -ENOMEM;
        upgrade->manager = manager;
        upgrade->names = calloc(HASH_COUNT(manager->images) + 1, sizeof(*upgrade->names));
        if (!upgrade->names)
                r = -ENOMEM;
        HASH_ITER(hh, manager->images, managed, following)
                if (r >= 0 && managed->link) {
                        upgrade->names[upgrade->n] = strdup(managed->image->name);
                        if (!upgrade->names[upgrade->n])
                                r = -ENOMEM;
                        else
                                upgrade->n++;
                }
        if (r >= 0)
                r = job_new(manager->jobs, "upgrade", "images", upgrade->n, on_cancel, upgrade, &upgrade->job);
        if (r < 0) {
                upgrade_free(upgrade);
                return r;
        }

        manager->upgrade = upgrade;
        *ret = upgrade->job;
        /* From the loop, so that the caller knows of the job before it may be over. */
        r = sd_event_add_defer(manager->event, NULL, on_begin, manager);
        if (r < 0) {
                end(upgrade, FAILURE_INTERNAL, "Out of memory");
                return r;
        }
        return 0;
}

void upgrade_forget(struct manager *manager) {
        manager->upgrade = upgrade_free(manager->upgrade);
}
