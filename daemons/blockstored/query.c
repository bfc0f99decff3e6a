/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The query worker is started by the socket it listens on. Where that socket unit is not started (nobody enabled it), it is started first, so that a host with nothing but
 * the package installed can list its store. A query worker that dies instead of answering is looked up in systemd: the unit knows why.
 *
 * It keeps its session for some seconds, and with it the settings and the password of its start. So when these have changed since the last question (or nobody knows: the
 * supervisor is new), it is stopped first; it finishes what others have asked, and the socket starts another. */

#include <errno.h>
#include <string.h>

#include "error-table.h"
#include "manager.h"
#include "peer-bus.h"
#include "query.h"
#include "query-sources.h"

#define SOCKET_UNIT  "blockstore-query@" STORE_INSTANCE ".socket"
#define SERVICE_UNIT "blockstore-query@" STORE_INSTANCE ".service"
#define QUERY_USEC   (20U * 1000U * 1000U) /* callers on the bus give up at 25 s */

struct query {
        struct manager *manager;
        LIST_ENTRY(query) entry;
        sd_bus_message *message; /* the caller's, which is forwarded; or NULL, and these: */
        query_fill_t fill;
        query_done_t done;
        void *userdata;
        const char *method;
        sd_bus *bus;
        sd_bus_slot *slot;
        sd_event_source *deadline;
        struct units_call *call;
        struct query_sources sources; /* as they were when it began */
};

struct query *query_free(struct query *query) {
        if (!query)
                return NULL;

        LIST_REMOVE(query, entry);
        query->manager->n_operations--;
        manager_check_idle(query->manager);
        units_call_free(query->call);
        sd_event_source_disable_unref(query->deadline);
        sd_bus_slot_unref(query->slot);
        sd_bus_close_unref(query->bus);
        sd_bus_message_unref(query->message);
        free(query);
        return NULL;
}

/* Tells how it ended, and frees it. answer: or NULL, with the failure. */
static void end(struct query *query, sd_bus_message *answer, enum failure failure, const char *message) {
        query_done_t done = query->done;
        void *userdata = query->userdata;

        if (!done)
                (void) sd_bus_reply_method_errorf(query->message, failure_lookup(failure)->bus_name, "%s", message);
        query_free(query);
        if (done)
                done(answer, failure, message, userdata);
}

static void fail(struct query *query, enum failure failure, const char *format, ...) _printf_(3, 4);

static void fail(struct query *query, enum failure failure, const char *format, ...) {
        char text[1024];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);

        end(query, NULL, failure, text);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        fail(userdata, FAILURE_TIMEOUT, "The store has not answered within %u s", QUERY_USEC / 1000U / 1000U);
        return 0;
}

static void on_unit(const struct unit_state *state, int error, void *userdata) {
        struct query *query = userdata;
        char text[1024];

        query->call = NULL;
        if (error >= 0 && (unit_state_is_failed(state) || (state->exec_main_status != 0 && state->status_text[0]))) {
                enum failure failure = unit_state_failure(state, SERVICE_UNIT, text, sizeof(text));

                fail(query, failure, "%s", text);
        } else
                fail(query, FAILURE_SYSTEM, "The store could not be asked: %s ended without an answer", SERVICE_UNIT);
}

static int on_answer(sd_bus_message *answer, void *userdata, sd_bus_error *ret_error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const sd_bus_error *error = sd_bus_message_get_error(answer);
        struct query *query = userdata;
        int r;

        if (error && strncmp(error->name, BUS_NAME ".Error.", strlen(BUS_NAME ".Error.")) != 0) {
                /* Not an answer of the query worker, but the end of its connection. */
                query->slot = sd_bus_slot_unref(query->slot);
                r = units_query(query->manager->units, SERVICE_UNIT, on_unit, query, &query->call);
                if (r < 0)
                        fail(query, FAILURE_SYSTEM, "The store could not be asked: %s", error->message ?: error->name);
                return 0;
        }
        if (query->done) {
                end(query, error ? NULL : answer, error ? failure_from_bus_name(error->name) : FAILURE_NONE,
                        error ? (error->message ?: error->name) : "");
                return 0;
        }
        if (error) {
                (void) sd_bus_reply_method_error(query->message, error);
                query_free(query);
                return 0;
        }

        r = sd_bus_message_new_method_return(query->message, &reply);
        if (r >= 0)
                r = sd_bus_message_copy(reply, answer, true);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        if (r < 0)
                fail(query, FAILURE_PROTOCOL, "The store's answer was not understood: %s", strerror(-r));
        else
                query_free(query);
        return 0;
}

static int send_call(struct query *query) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        _cleanup_free_ char *path = NULL;
        char name[64];
        int r;

        (void) snprintf(name, sizeof(name), STORE_SOCKET_FORMAT, STORE_INSTANCE);
        r = peer_bus_path(name, &path);
        if (r < 0)
                return r;

        r = peer_bus_connect(path, query->manager->event, false, &query->bus);
        if (r < 0)
                return r;

        r = sd_bus_message_new_method_call(query->bus, &call, NULL, STORE_PATH, STORE_INTERFACE, query->method);
        if (r < 0)
                return r;

        if (query->fill)
                r = query->fill(call, query->userdata);
        else {
                r = sd_bus_message_rewind(query->message, true);
                if (r >= 0)
                        r = sd_bus_message_copy(call, query->message, true);
        }
        if (r < 0)
                return r;

        return sd_bus_call_async(query->bus, &query->slot, call, on_answer, query, QUERY_USEC * 2);
}

static void on_socket_started(const char *result, const char *message, void *userdata);

static int ask(struct query *query) {
        int r;

        r = send_call(query);
        if (r == -ENOENT || r == -ECONNREFUSED)
                r = units_start(query->manager->units, SOCKET_UNIT, on_socket_started, query, &query->call);
        return r;
}

static int ask_afresh(struct query *query);

static void on_stale_stopped(const char *result, const char *message, void *userdata) {
        struct query *query = userdata;
        int r;

        query->call = NULL;
        if (result && strcmp(result, "canceled") == 0)
                r = ask_afresh(query); /* somebody has started it meanwhile */
        else {
                /* Whatever starts from now on has read what was seen before. (Without systemd there is nothing to stop, and nobody to say so.) */
                query->manager->query_sources = query->sources;
                query->manager->query_sources_known = result;
                r = ask(query);
        }
        if (r < 0)
                fail(query, FAILURE_SYSTEM, "The store cannot be asked: %s", strerror(-r));
}

/* Never an answer of a query worker that has started under other settings. */
static int ask_afresh(struct query *query) {
        struct manager *manager = query->manager;

        query_sources_look("", &query->sources);
        if (manager->query_sources_known && query_sources_equal(&query->sources, &manager->query_sources))
                return ask(query);

        if (units_stop(manager->units, SERVICE_UNIT, on_stale_stopped, query, &query->call) < 0)
                return ask(query);
        return 0;
}

static void on_socket_started(const char *result, const char *message, void *userdata) {
        struct query *query = userdata;
        int r;

        query->call = NULL;
        if (!result || strcmp(result, "done") != 0) {
                fail(query, FAILURE_SYSTEM, "%s could not be started: %s", SOCKET_UNIT, message ?: result);
                return;
        }

        r = send_call(query);
        if (r < 0)
                fail(query, FAILURE_SYSTEM, "The store could not be asked, although %s is started: %s", SOCKET_UNIT,
                        strerror(-r));
}

static int start(struct manager *manager, const struct query *wanted, struct query **ret, sd_bus_error *error) {
        struct query *query, *other;
        unsigned n = 0;
        int r;

        LIST_FOREACH(other, &manager->queries, entry)
                n++;
        if (n >= QUERIES_MAX)
                return peer_bus_error_set(
                        error, FAILURE_BUSY, "%u store operations are under way; try again later", n);

        query = calloc(1, sizeof(*query));
        if (!query)
                return -ENOMEM;
        *query = *wanted;
        query->manager = manager;
        if (query->message)
                sd_bus_message_ref(query->message);
        LIST_INSERT_HEAD(&manager->queries, query, entry);
        manager->n_operations++;

        r = sd_event_add_time_relative(
                manager->event, &query->deadline, CLOCK_MONOTONIC, QUERY_USEC, 0, on_deadline, query);
        if (r >= 0)
                r = ask_afresh(query);
        if (r < 0) {
                query_free(query);
                return peer_bus_error_set(error, FAILURE_SYSTEM, "The store cannot be asked: %s", strerror(-r));
        }

        manager_check_idle(manager);
        *ret = query;
        return 0;
}

int query_forward(struct manager *manager, sd_bus_message *message, const char *method, sd_bus_error *error) {
        const struct query wanted = { .message = message, .method = method };
        struct query *query;

        return start(manager, &wanted, &query, error);
}

int query_ask(struct manager *manager, const char *method, query_fill_t fill, query_done_t done, void *userdata,
        struct query **ret, sd_bus_error *error) {
        const struct query wanted = { .fill = fill, .done = done, .userdata = userdata, .method = method };

        return start(manager, &wanted, ret, error);
}

void queries_forget(struct manager *manager) {
        struct query *query, *next;

        for (query = LIST_FIRST(&manager->queries); query; query = next) {
                next = LIST_NEXT(query, entry);
                if (query->message)
                        query_free(query);
        }
}
