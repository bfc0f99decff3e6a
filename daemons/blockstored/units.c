/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One connection to systemd at a time. The private socket answers to root only, works before there is a bus, and sends its signals unasked; over the system bus one
 * subscribes. Which of the two it is shows in the destination of a call, and nowhere else.
 *
 * A job is waited for by its JobRemoved signal. systemd sends the reply that names the job before it begins it, and messages of one sender stay in order, so the
 * signal cannot be missed: the match stands since the connection was made.
 *
 * When the connection is lost, calls under way end with an error that says so, and watches are taken up again on the next one. */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/queue.h>

#include "image-log.h"
#include "peer-bus.h"
#include "units.h"

#define SYSTEMD_NAME         "org.freedesktop.systemd1"
#define SYSTEMD_PATH         "/org/freedesktop/systemd1"
#define SYSTEMD_UNIT_PATH    "/org/freedesktop/systemd1/unit"
#define SYSTEMD_MANAGER      "org.freedesktop.systemd1.Manager"
#define SYSTEMD_UNIT         "org.freedesktop.systemd1.Unit"
#define SYSTEMD_SERVICE      "org.freedesktop.systemd1.Service"
#define SYSTEMD_NO_SUCH_UNIT "org.freedesktop.systemd1.NoSuchUnit"
#define SYSTEMD_PRIVATE      "/run/systemd/private"
#define PROPERTIES           "org.freedesktop.DBus.Properties"

#define CALL_TIMEOUT_USEC    (20U * 1000U * 1000U)
#define RECONNECT_USEC       (1000U * 1000U)

struct units {
        sd_event *event;
        sd_bus *system_bus; /* as far as it is there */
        sd_bus *bus;        /* what is in use: system_bus, or a private connection */
        bool private;
        sd_bus_slot *job_slot, *disconnected_slot, *subscribe_slot;
        sd_event_source *reconnect;
        LIST_HEAD(units_call_list, units_call) calls;
        LIST_HEAD(units_watch_list, units_watch) watches;
};

/* One property that a query reads. */
struct units_read {
        struct units_call *call;
        sd_bus_slot *slot;
};

/* A call waits for a reply (slot), then, if it is a job, for the signal. A query is a row of property reads. */
struct units_call {
        struct units *units;
        LIST_ENTRY(units_call) entry;
        char *unit;
        sd_bus_slot *slot;
        char *job; /* object path, once known */
        bool start;
        struct units_read *reads; /* of a query, one a property */
        unsigned n_waiting;
        struct unit_state state;
        units_job_done_t job_done;
        units_state_done_t state_done;
        units_list_done_t list_done;
        void *userdata;
};

/* What a query reads of a unit that is loaded, all at once: what is shown of a failed unit should not lag behind. Sockets and targets have no Service interface: that error leaves the field empty. Of
 * one that is not loaded it reads the first only: each read has systemd load the unit from its files, and forget it again. */
static const struct {
        const char *interface, *property, *type;
        size_t offset, size;
} queried[] = {
        { SYSTEMD_UNIT, "LoadState", "s", offsetof(struct unit_state, load_state),
                sizeof(((struct unit_state *) 0)->load_state) },
        { SYSTEMD_UNIT, "Job", "(uo)", offsetof(struct unit_state, job), sizeof(uint32_t) },
        { SYSTEMD_SERVICE, "Result", "s", offsetof(struct unit_state, result),
                sizeof(((struct unit_state *) 0)->result) },
        { SYSTEMD_SERVICE, "ExecMainStatus", "i", offsetof(struct unit_state, exec_main_status), sizeof(int32_t) },
        { SYSTEMD_SERVICE, "ExecMainPID", "u", offsetof(struct unit_state, exec_main_pid), sizeof(uint32_t) },
        { SYSTEMD_SERVICE, "StatusText", "s", offsetof(struct unit_state, status_text),
                sizeof(((struct unit_state *) 0)->status_text) },
        { SYSTEMD_UNIT, "SubState", "s", offsetof(struct unit_state, sub_state),
                sizeof(((struct unit_state *) 0)->sub_state) },
        { SYSTEMD_UNIT, "ActiveState", "s", offsetof(struct unit_state, active_state),
                sizeof(((struct unit_state *) 0)->active_state) },
};

struct units_watch {
        struct units *units;
        LIST_ENTRY(units_watch) entry;
        char *unit;
        sd_bus_slot *slot;
        struct units_call *query;
        bool again; /* something changed while the query was under way */
        units_changed_t changed;
        void *userdata;
};

static int watch_begin(struct units_watch *watch);

static const char *destination(const struct units *units) {
        return units->private ? NULL : SYSTEMD_NAME;
}

struct units_call *units_call_free(struct units_call *call) {
        if (!call)
                return NULL;

        if (call->entry.le_prev)
                LIST_REMOVE(call, entry);
        sd_bus_slot_unref(call->slot);
        for (size_t i = 0; call->reads && i < ELEMENTSOF(queried); i++)
                sd_bus_slot_unref(call->reads[i].slot);
        free(call->reads);
        free(call->job);
        free(call->unit);
        free(call);
        return NULL;
}

/* Each ends its call: the object is gone before the callback runs, so that it may start the next. */
static void end_job(struct units_call *call, const char *result, const char *message) {
        units_job_done_t done = call->job_done;
        void *userdata = call->userdata;

        units_call_free(call);
        done(result, message, userdata);
}

static void end_query(struct units_call *call, int error) {
        units_state_done_t done = call->state_done;
        struct unit_state state = call->state;
        void *userdata = call->userdata;

        units_call_free(call);
        done(&state, error, userdata);
}

static void end_list(struct units_call *call, int error) {
        units_list_done_t done = call->list_done;
        void *userdata = call->userdata;

        units_call_free(call);
        done(NULL, NULL, error, userdata);
}

static void end_call(struct units_call *call, int error) {
        if (call->job_done)
                end_job(call, NULL, "The connection to systemd was lost");
        else if (call->state_done)
                end_query(call, error);
        else
                end_list(call, error);
}

static void forget_connection(struct units *units) {
        units->job_slot = sd_bus_slot_unref(units->job_slot);
        units->disconnected_slot = sd_bus_slot_unref(units->disconnected_slot);
        units->subscribe_slot = sd_bus_slot_unref(units->subscribe_slot);
        if (units->private)
                sd_bus_close_unref(units->bus);
        else
                sd_bus_unref(units->bus);
        units->bus = NULL;
}

static void lose_connection(struct units *units) {
        struct units_watch *watch;
        struct units_call *call;

        if (!units->bus)
                return;

        LIST_FOREACH(watch, &units->watches, entry) {
                watch->slot = sd_bus_slot_unref(watch->slot);
                watch->query = units_call_free(watch->query);
        }
        forget_connection(units);
        while ((call = LIST_FIRST(&units->calls)))
                end_call(call, -ECONNRESET);

        if (!LIST_EMPTY(&units->watches))
                (void) sd_event_source_set_time_relative(units->reconnect, RECONNECT_USEC);
        (void) sd_event_source_set_enabled(units->reconnect, SD_EVENT_ONESHOT);
}

static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        lose_connection(userdata);
        return 0;
}

static struct units_call *find_job(struct units *units, const char *job) {
        struct units_call *call;

        LIST_FOREACH(call, &units->calls, entry)
                if (call->job && strcmp(call->job, job) == 0)
                        return call;
        return NULL;
}

static int on_job_removed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct units *units = userdata;
        const char *job, *unit, *result;
        struct units_call *call;
        uint32_t id;

        if (sd_bus_message_read(message, "uoss", &id, &job, &unit, &result) < 0)
                return 0;

        /* Several may wait: systemd merges equal jobs of a unit into one. */
        while ((call = find_job(units, job)))
                end_job(call, result, NULL);
        return 0;
}

static int on_subscribed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return 0;
}

/* Makes sure of a connection. */
static int ensure_connection(struct units *units) {
        int r;

        if (units->bus)
                return 0;

        units->private = !units->system_bus;
        if (units->private) {
                /* A test's instance must not talk to the systemd of the machine it runs on. */
                const char *path = secure_getenv("BLOCKSTORE_SYSTEMD_SOCKET");

                r = peer_bus_connect(path ?: SYSTEMD_PRIVATE, units->event, false, &units->bus);
                if (r < 0)
                        return r;
        } else
                units->bus = sd_bus_ref(units->system_bus);

        r = sd_bus_match_signal_async(units->bus, &units->job_slot, destination(units), SYSTEMD_PATH, SYSTEMD_MANAGER,
                "JobRemoved", on_job_removed, NULL, units);
        if (r >= 0 && units->private)
                r = sd_bus_match_signal_async(units->bus, &units->disconnected_slot, NULL, NULL,
                        "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, units);
        if (r >= 0)
                r = sd_bus_call_method_async(units->bus, &units->subscribe_slot, destination(units), SYSTEMD_PATH,
                        SYSTEMD_MANAGER, "Subscribe", on_subscribed, NULL, NULL);
        if (r < 0)
                forget_connection(units);
        return r;
}

static int on_reconnect(sd_event_source *source, uint64_t usec, void *userdata) {
        struct units *units = userdata;
        struct units_watch *watch;
        bool missing = false;

        LIST_FOREACH(watch, &units->watches, entry)
                if (!watch->slot && watch_begin(watch) < 0)
                        missing = true;

        if (missing) {
                (void) sd_event_source_set_time_relative(source, RECONNECT_USEC);
                (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        return 0;
}

int units_new(sd_event *event, struct units **ret) {
        _cleanup_(units_freep) struct units *units = calloc(1, sizeof(*units));
        int r;

        if (!units)
                return -ENOMEM;
        units->event = sd_event_ref(event);
        LIST_INIT(&units->calls);
        LIST_INIT(&units->watches);

        r = sd_event_add_time(event, &units->reconnect, CLOCK_MONOTONIC, 0, 0, on_reconnect, units);
        if (r >= 0)
                r = sd_event_source_set_enabled(units->reconnect, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(units);
        return 0;
}

struct units *units_free(struct units *units) {
        if (!units)
                return NULL;

        while (!LIST_EMPTY(&units->watches))
                units_watch_free(LIST_FIRST(&units->watches));
        while (!LIST_EMPTY(&units->calls))
                units_call_free(LIST_FIRST(&units->calls));
        sd_event_source_disable_unref(units->reconnect);
        forget_connection(units);
        sd_bus_unref(units->system_bus);
        sd_event_unref(units->event);
        free(units);
        return NULL;
}

int units_set_system_bus(struct units *units, sd_bus *bus) {
        if (units->system_bus && !units->private)
                lose_connection(units);

        sd_bus_unref(units->system_bus);
        units->system_bus = sd_bus_ref(bus);
        return 0;
}

bool units_are_reachable(const struct units *units) {
        return units->bus != NULL;
}

static int call_new(struct units *units, const char *unit, void *userdata, struct units_call **ret) {
        struct units_call *call;
        int r;

        r = ensure_connection(units);
        if (r < 0)
                return r;

        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;
        call->units = units;
        call->userdata = userdata;
        call->unit = strdup(unit);
        if (!call->unit) {
                free(call);
                return -ENOMEM;
        }

        LIST_INSERT_HEAD(&units->calls, call, entry);
        *ret = call;
        return 0;
}

static int on_job_queued(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct units_call *call = userdata;
        const sd_bus_error *refused = sd_bus_message_get_error(message);
        const char *job;
        int r;

        call->slot = sd_bus_slot_unref(call->slot);

        if (refused) {
                /* Stopping what is not loaded is a job well done. */
                if (sd_bus_error_has_name(refused, "org.freedesktop.systemd1.NoSuchUnit") && !call->start)
                        end_job(call, "done", NULL);
                else {
                        char text[512];

                        (void) snprintf(text, sizeof(text), "systemd refused: %s", refused->message ?: refused->name);
                        end_job(call, NULL, text);
                }
                return 0;
        }

        r = sd_bus_message_read(message, "o", &job);
        if (r >= 0) {
                call->job = strdup(job);
                r = call->job ? 0 : -ENOMEM;
        }
        if (r < 0)
                end_job(call, NULL, "systemd's answer was not understood");
        return 0;
}

static int queue_job(struct units *units, const char *method, bool start, const char *unit, units_job_done_t done,
        void *userdata, struct units_call **ret) {
        struct units_call *call;
        int r;

        r = call_new(units, unit, userdata, &call);
        if (r < 0)
                return r;
        call->job_done = done;
        call->start = start;

        r = sd_bus_call_method_async(units->bus, &call->slot, destination(units), SYSTEMD_PATH, SYSTEMD_MANAGER,
                method, on_job_queued, call, "ss", unit, "replace");
        if (r < 0) {
                units_call_free(call);
                return r;
        }

        *ret = call;
        return 0;
}

int units_start(
        struct units *units, const char *unit, units_job_done_t done, void *userdata, struct units_call **ret) {
        return queue_job(units, "StartUnit", true, unit, done, userdata, ret);
}

int units_stop(struct units *units, const char *unit, units_job_done_t done, void *userdata, struct units_call **ret) {
        return queue_job(units, "StopUnit", false, unit, done, userdata, ret);
}

int units_restart(
        struct units *units, const char *unit, units_job_done_t done, void *userdata, struct units_call **ret) {
        return queue_job(units, "RestartUnit", true, unit, done, userdata, ret);
}

int units_connection(struct units *units, sd_bus **ret_bus, const char **ret_destination) {
        int r;

        r = ensure_connection(units);
        if (r < 0)
                return r;

        *ret_bus = units->bus;
        *ret_destination = destination(units);
        return 0;
}

void units_reset_failed(struct units *units, const char *unit) {
        if (ensure_connection(units) < 0)
                return;

        (void) sd_bus_call_method_async(units->bus, NULL, destination(units), SYSTEMD_PATH, SYSTEMD_MANAGER,
                "ResetFailedUnit", on_subscribed, NULL, "s", unit);
}

static int take_property(struct units_call *call, size_t index, sd_bus_message *message) {
        char *field = (char *) &call->state + queried[index].offset;
        const char *type = queried[index].type;
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_VARIANT, type);
        if (r < 0)
                return r;

        switch (*type) {
        case 's': {
                const char *text;

                r = sd_bus_message_read(message, "s", &text);
                if (r >= 0)
                        (void) snprintf(field, queried[index].size, "%s", text);
                return r;
        }
        case 'u':
                return sd_bus_message_read(message, "u", (uint32_t *) (void *) field);
        case 'i':
                return sd_bus_message_read(message, "i", (int32_t *) (void *) field);
        default: {
                const char *path;

                return sd_bus_message_read(message, "(uo)", (uint32_t *) (void *) field, &path);
        }
        }
}

static int on_property(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct units_read *read = userdata;
        struct units_call *call = read->call;
        size_t index = (size_t) (read - call->reads);
        int r = 0;

        read->slot = sd_bus_slot_unref(read->slot);

        if (!sd_bus_message_is_method_error(message, NULL))
                r = take_property(call, index, message);
        else if (strcmp(queried[index].interface, SYSTEMD_SERVICE) != 0)
                r = -sd_bus_message_get_errno(message);

        if (r < 0 || --call->n_waiting == 0)
                end_query(call, r < 0 ? r : 0);
        return 0;
}

static int send_reads(struct units_call *call, size_t n) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = sd_bus_path_encode(SYSTEMD_UNIT_PATH, call->unit, &path);
        if (r < 0)
                return r;

        assert(n > 0 && n <= ELEMENTSOF(queried));
        call->reads = calloc(ELEMENTSOF(queried), sizeof(*call->reads));
        if (!call->reads)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                call->reads[i].call = call;
                r = sd_bus_call_method_async(call->units->bus, &call->reads[i].slot, destination(call->units), path,
                        PROPERTIES, "Get", on_property, call->reads + i, "ss", queried[i].interface,
                        queried[i].property);
                if (r < 0)
                        return r;
                call->n_waiting++;
        }

        return 0;
}

static int on_looked_up(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct units_call *call = userdata;
        size_t n = ELEMENTSOF(queried);
        int r = 0;

        if (sd_bus_message_is_method_error(message, SYSTEMD_NO_SUCH_UNIT)) {
                /* What has failed, runs or has a job is loaded. */
                (void) snprintf(call->state.active_state, sizeof(call->state.active_state), "inactive");
                (void) snprintf(call->state.sub_state, sizeof(call->state.sub_state), "dead");
                n = 1;
        } else if (sd_bus_message_is_method_error(message, NULL))
                r = -sd_bus_message_get_errno(message);

        if (r >= 0)
                r = send_reads(call, n);
        if (r < 0)
                end_query(call, r);
        return 0;
}

int units_query(
        struct units *units, const char *unit, units_state_done_t done, void *userdata, struct units_call **ret) {
        struct units_call *call;
        int r;

        r = call_new(units, unit, userdata, &call);
        if (r < 0)
                return r;
        call->state_done = done;

        r = sd_bus_call_method_async(units->bus, &call->slot, destination(units), SYSTEMD_PATH, SYSTEMD_MANAGER,
                "GetUnit", on_looked_up, call, "s", unit);
        if (r < 0) {
                units_call_free(call);
                return r;
        }

        *ret = call;
        return 0;
}

static int read_list(struct units_call *call, sd_bus_message *message) {
        int r;

        r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "(ssssssouso)");
        while (r >= 0) {
                const char *unit, *active;

                r = sd_bus_message_read(
                        message, "(ssssssouso)", &unit, NULL, NULL, &active, NULL, NULL, NULL, NULL, NULL, NULL);
                if (r <= 0)
                        break;
                call->list_done(unit, active, 0, call->userdata);
        }
        return r;
}

static int on_list(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct units_call *call = userdata;
        int r;

        if (sd_bus_message_is_method_error(message, NULL))
                r = -sd_bus_message_get_errno(message);
        else
                r = read_list(call, message);

        end_list(call, r < 0 ? r : 0);
        return 0;
}

int units_list(
        struct units *units, const char *pattern, units_list_done_t done, void *userdata, struct units_call **ret) {
        struct units_call *call;
        int r;

        r = call_new(units, pattern, userdata, &call);
        if (r < 0)
                return r;
        call->list_done = done;

        r = sd_bus_call_method_async(units->bus, &call->slot, destination(units), SYSTEMD_PATH, SYSTEMD_MANAGER,
                "ListUnitsByPatterns", on_list, call, "asas", 0, 1, pattern);
        if (r < 0) {
                units_call_free(call);
                return r;
        }

        *ret = call;
        return 0;
}

static void on_watched_state(const struct unit_state *state, int error, void *userdata) {
        struct units_watch *watch = userdata;
        bool again = watch->again;

        watch->query = NULL;
        watch->again = false;

        if (again && units_query(watch->units, watch->unit, on_watched_state, watch, &watch->query) >= 0)
                return;                                            /* what was read is old already */
        watch->changed(error < 0 ? NULL : state, watch->userdata); /* may free us */
}

static int on_unit_changed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct units_watch *watch = userdata;

        if (watch->query)
                watch->again = true;
        else
                (void) units_query(watch->units, watch->unit, on_watched_state, watch, &watch->query);
        return 0;
}

static int watch_begin(struct units_watch *watch) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = ensure_connection(watch->units);
        if (r < 0)
                return r;

        r = sd_bus_path_encode(SYSTEMD_UNIT_PATH, watch->unit, &path);
        if (r < 0)
                return r;

        r = sd_bus_match_signal_async(watch->units->bus, &watch->slot, destination(watch->units), path, PROPERTIES,
                "PropertiesChanged", on_unit_changed, NULL, watch);
        if (r < 0)
                return r;

        return units_query(watch->units, watch->unit, on_watched_state, watch, &watch->query);
}

int units_watch(
        struct units *units, const char *unit, units_changed_t changed, void *userdata, struct units_watch **ret) {
        struct units_watch *watch = calloc(1, sizeof(*watch));
        int r;

        if (!watch)
                return -ENOMEM;
        watch->units = units;
        watch->changed = changed;
        watch->userdata = userdata;
        watch->unit = strdup(unit);
        if (!watch->unit) {
                free(watch);
                return -ENOMEM;
        }
        LIST_INSERT_HEAD(&units->watches, watch, entry);

        r = watch_begin(watch);
        if (r < 0) {
                /* Without systemd for now: tried again until it is there. */
                watch->slot = sd_bus_slot_unref(watch->slot);
                (void) sd_event_source_set_time_relative(units->reconnect, RECONNECT_USEC);
                (void) sd_event_source_set_enabled(units->reconnect, SD_EVENT_ONESHOT);
        }

        *ret = watch;
        return 0;
}

struct units_watch *units_watch_free(struct units_watch *watch) {
        if (!watch)
                return NULL;

        LIST_REMOVE(watch, entry);
        units_call_free(watch->query);
        sd_bus_slot_unref(watch->slot);
        free(watch->unit);
        free(watch);
        return NULL;
}
