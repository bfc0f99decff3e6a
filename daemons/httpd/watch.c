/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Signals say at once what has changed, except counters, which announce nothing. So who wants numbers asks for everything (GetManagedObjects), and those who ask at the same time share one call: a page left open
 * on ten screens costs the supervisor what one does.
 *
 * That the supervisor has left the bus means nothing: it does that when nothing is to be done, and attached images go on without it when it is restarted. The model stays as it was until somebody asks. */

#include <errno.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "bus-json.h"
#include "bus-objects.h"
#include "log.h"
#include "watch.h"

#define CALL_TIMEOUT_USEC (10U * UINT64_C(1000000))
#define FRESH_USEC        (200U * UINT64_C(1000))
#define WAITERS_MAX       128U

struct watch_waiter {
        struct watch *watch;
        uint64_t since_usec; /* what was asked for then, or later, will do */
        void (*ready)(int r, void *userdata);
        void *userdata;
        TAILQ_ENTRY(watch_waiter) entry;
};

struct watch {
        sd_bus *bus;
        sd_event *event;
        struct model *model;
        sd_bus_slot *changed, *added, *removed, *owner, *call;
        sd_event_source *defer;
        uint64_t asked_usec;    /* of the call under way */
        uint64_t answered_usec; /* when what the model has was asked for; 0: never */
        uint64_t changed_usec;  /* when something was changed by us: older than that is not fresh, however young */
        bool again;
        unsigned n_waiters;
        TAILQ_HEAD(watch_waiter_list, watch_waiter) waiters;
};

static uint64_t clock_usec(clockid_t id) {
        struct timespec now;

        clock_gettime(id, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

/* Both return 1 and the name, 0 for a path that is none, or -ENOMEM. */
static int image_of(const char *path, char **ret) {
        return sd_bus_path_decode(path, IMAGE_PREFIX, ret);
}

static const char *job_of(const char *path) {
        size_t n = strlen(JOB_PREFIX "/");

        return strncmp(path, JOB_PREFIX "/", n) == 0 ? path + n : NULL;
}

struct everything {
        struct json_object *images, *jobs;
};

static int add_object(const char *path, const char *interface, struct json_object *properties, void *userdata) {
        struct everything *everything = userdata;
        int r;

        if (strcmp(interface, BUS_IMAGE) == 0)
                return json_append(everything->images, json_object_get(properties));
        if (strcmp(interface, BUS_JOB) != 0 || !job_of(path))
                return 0;
        r = json_add(properties, "id", json_object_new_string(job_of(path)));
        return r < 0 ? r : json_append(everything->jobs, json_object_get(properties));
}

static int read_everything(struct watch *watch, sd_bus_message *m) {
        _cleanup_(json_object_putp) struct json_object *images = json_object_new_array(),
                                                       *jobs = json_object_new_array();
        int r;

        if (!images || !jobs)
                return -ENOMEM;

        r = bus_objects_read(m, add_object, &(struct everything){ .images = images, .jobs = jobs });
        if (r < 0)
                return r;

        return model_set_all(watch->model, images, jobs, clock_usec(CLOCK_REALTIME));
}

static int call(struct watch *watch);

/* The first of those whose wait is over; r < 0: of all. */
static struct watch_waiter *find_ready(struct watch *watch, int r) {
        struct watch_waiter *waiter;

        TAILQ_FOREACH(waiter, &watch->waiters, entry) {
                if (r < 0 || waiter->since_usec <= watch->answered_usec)
                        return waiter;
        }
        return NULL;
}

/* Who is told may take others from the list. */
static void tell(struct watch *watch, int r) {
        struct watch_waiter *waiter;

        while ((waiter = find_ready(watch, r))) {
                void (*ready)(int r, void *userdata) = waiter->ready;
                void *userdata = waiter->userdata;

                watch_waiter_free(waiter);
                ready(r, userdata);
        }
}

static int on_everything(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct watch *watch = userdata;
        const sd_bus_error *failed = sd_bus_message_get_error(m);
        int r;

        watch->call = sd_bus_slot_unref(watch->call);
        r = failed ? -(sd_bus_error_get_errno(failed) ?: EIO) : read_everything(watch, m);
        if (r < 0) {
                log_event(LOG_WARNING, NULL, "The supervisor cannot be asked: %s",
                        failed && failed->message ? failed->message : strerror(-r));
        } else
                watch->answered_usec = watch->asked_usec;

        tell(watch, r);
        if (watch->again || !TAILQ_EMPTY(&watch->waiters)) {
                r = call(watch);
                if (r < 0)
                        tell(watch, r);
        }
        return 0;
}

static int call(struct watch *watch) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        if (watch->call)
                return 0;
        r = sd_bus_message_new_method_call(
                watch->bus, &message, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects");
        if (r < 0)
                return r;
        watch->again = false;
        watch->asked_usec = clock_usec(CLOCK_MONOTONIC);
        return sd_bus_call_async(watch->bus, &watch->call, message, on_everything, watch, CALL_TIMEOUT_USEC);
}

/* For those who are content with what is there: told from the loop, like the others. */
static int on_defer(sd_event_source *source, void *userdata) {
        tell(userdata, 0);
        return 0;
}

int watch_ask(struct watch *watch, void (*ready)(int r, void *userdata), void *userdata, struct watch_waiter **ret) {
        uint64_t now = clock_usec(CLOCK_MONOTONIC), since = now > FRESH_USEC ? now - FRESH_USEC : 1;
        struct watch_waiter *waiter;
        int r;

        if (watch->n_waiters >= WAITERS_MAX)
                return -EBUSY;

        if (since < watch->changed_usec)
                since = watch->changed_usec;
        if (watch->answered_usec >= since)
                r = sd_event_source_set_enabled(watch->defer, SD_EVENT_ONESHOT);
        else
                r = call(watch);
        if (r < 0)
                return r;

        waiter = malloc(sizeof(*waiter));
        if (!waiter)
                return -ENOMEM;
        *waiter = (struct watch_waiter){ .watch = watch, .since_usec = since, .ready = ready, .userdata = userdata };
        TAILQ_INSERT_TAIL(&watch->waiters, waiter, entry);
        watch->n_waiters++;
        *ret = waiter;
        return 0;
}

struct watch_waiter *watch_waiter_free(struct watch_waiter *waiter) {
        if (!waiter)
                return NULL;

        TAILQ_REMOVE(&waiter->watch->waiters, waiter, entry);
        waiter->watch->n_waiters--;
        free(waiter);
        return NULL;
}

void watch_note_change(struct watch *watch) {
        watch->changed_usec = clock_usec(CLOCK_MONOTONIC);
}

void watch_refresh(struct watch *watch) {
        if (watch->call)
                watch->again = true;
        else
                (void) call(watch);
}

static int handle_changed(struct watch *watch, sd_bus_message *m) {
        _cleanup_(json_object_putp) struct json_object *properties = NULL;
        _cleanup_free_ char *name = NULL;
        const char *interface, *path = sd_bus_message_get_path(m);
        int r;

        r = sd_bus_message_read(m, "s", &interface);
        if (r < 0)
                return r;
        if (strcmp(interface, BUS_IMAGE) != 0 && strcmp(interface, BUS_JOB) != 0)
                return 0;
        r = bus_json_read_properties(m, &properties);
        if (r < 0)
                return r;

        if (strcmp(interface, BUS_JOB) == 0) {
                if (!job_of(path))
                        return 0;
                /* The rate is not announced, and should be shown with the progress. */
                watch_refresh(watch);
                r = model_update_job(watch->model, job_of(path), properties);
                return r == -ENOENT ? 0 : r;
        }

        r = image_of(path, &name);
        if (r <= 0)
                return r;
        /* Proxies and their health are two properties and one list here: only with both of them it is whole. */
        json_object_object_del(properties, "proxies");
        r = model_update_image(watch->model, name, properties, clock_usec(CLOCK_REALTIME));
        watch_refresh(watch);
        return r == -ENOENT ? 0 : r;
}

static int handle_removed(struct watch *watch, sd_bus_message *m) {
        _cleanup_free_ char *name = NULL;
        const char *path, *interface;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "s");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_read(m, "s", &interface)) > 0) {
                if (strcmp(interface, BUS_JOB) == 0 && job_of(path))
                        model_remove_job(watch->model, job_of(path));
                else if (strcmp(interface, BUS_IMAGE) == 0) {
                        if (!name) {
                                r = image_of(path, &name);
                                if (r <= 0)
                                        return r;
                        }
                        model_remove_image(watch->model, name);
                }
        }
        return r;
}

static void complain(sd_bus_message *m, int r) {
        if (r < 0)
                log_event(LOG_WARNING, NULL, "%s from the supervisor cannot be understood: %s",
                        sd_bus_message_get_member(m), strerror(-r));
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        complain(m, handle_changed(userdata, m));
        return 0;
}

static int on_added(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        watch_refresh(userdata);
        return 0;
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        complain(m, handle_removed(userdata, m));
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *before, *now;

        if (sd_bus_message_read(m, "sss", &name, &before, &now) >= 0 && *now)
                watch_refresh(userdata);
        return 0;
}

static int on_match_added(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const sd_bus_error *failed = sd_bus_message_get_error(m);

        if (failed)
                log_event(LOG_ERR, NULL, "The bus does not let us listen: %s", failed->message);
        return 0;
}

int watch_new(sd_bus *bus, sd_event *event, struct model *model, struct watch **ret) {
        _cleanup_(watch_freep) struct watch *watch = calloc(1, sizeof(*watch));
        int r;

        if (!watch)
                return -ENOMEM;
        TAILQ_INIT(&watch->waiters);
        watch->bus = sd_bus_ref(bus);
        watch->event = sd_event_ref(event);
        watch->model = model;

        if ((r = sd_event_add_defer(event, &watch->defer, on_defer, watch)) < 0 ||
                (r = sd_event_source_set_enabled(watch->defer, SD_EVENT_OFF)) < 0)
                return r;
        if ((r = sd_bus_match_signal_async(bus, &watch->changed, BUS_NAME, NULL, "org.freedesktop.DBus.Properties",
                     "PropertiesChanged", on_changed, on_match_added, watch)) < 0 ||
                (r = sd_bus_match_signal_async(bus, &watch->added, BUS_NAME, NULL,
                         "org.freedesktop.DBus.ObjectManager", "InterfacesAdded", on_added, on_match_added, watch)) <
                        0 ||
                (r = sd_bus_match_signal_async(bus, &watch->removed, BUS_NAME, NULL,
                         "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", on_removed, on_match_added,
                         watch)) < 0 ||
                (r = sd_bus_add_match_async(bus, &watch->owner,
                         "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='"
                         "NameOwnerChanged',arg0='" BUS_NAME "'",
                         on_owner, on_match_added, watch)) < 0)
                return r;

        *ret = TAKE_PTR(watch);
        return 0;
}

struct watch *watch_free(struct watch *watch) {
        if (!watch)
                return NULL;

        while (!TAILQ_EMPTY(&watch->waiters))
                watch_waiter_free(TAILQ_FIRST(&watch->waiters));
        sd_bus_slot_unref(watch->call);
        sd_bus_slot_unref(watch->changed);
        sd_bus_slot_unref(watch->added);
        sd_bus_slot_unref(watch->removed);
        sd_bus_slot_unref(watch->owner);
        sd_event_source_disable_unref(watch->defer);
        sd_event_unref(watch->event);
        sd_bus_unref(watch->bus);
        free(watch);
        return NULL;
}
