/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The pictures of the I/O thread are as many as the main thread has time for, so one of them may stand for several events: a connection that was lost and replaced between two
 * pictures shows as nothing but a larger count of failovers. Each of them is a line nevertheless, and no line comes twice: what is compared is what was shown last.
 *
 * "attaching" is no line of ours: the supervisor, which is there before the worker is, says that. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "message-ids.h"
#include "transitions.h"

#define USEC_PER_MSEC 1000U

static bool waits(const char *state) {
        return strcmp(state, "reconnecting") == 0 || strcmp(state, "parked") == 0;
}

/* Why the proxy that I/O went to before was left: its own entry knows. */
static const char *reason_of_proxy(const struct engine_status *status, const char *address) {
        for (size_t i = 0; i < status->n_proxies; i++)
                if (strcmp(status->proxies[i].address, address) == 0)
                        return status->proxies[i].reason;
        return "";
}

static void say(struct transition *ret, int priority, const char *message_id, const char *proxy, const char *format,
        ...) _printf_(5, 6);
static void say(
        struct transition *ret, int priority, const char *message_id, const char *proxy, const char *format, ...) {
        va_list ap;

        ret->priority = priority;
        ret->message_id = message_id;
        snprintf(ret->proxy, sizeof(ret->proxy), "%s", proxy);
        va_start(ap, format);
        (void) vsnprintf(ret->message, sizeof(ret->message), format, ap);
        va_end(ap);
}

static void say_moved(const struct transitions *t, const struct engine_status *status, uint64_t waited_usec,
        struct transition *ret) {
        const char *from = t->proxy, *to = status->active_proxy, *reason = reason_of_proxy(status, from);
        char waited[64] = "";

        if (waited_usec > 0)
                snprintf(waited, sizeof(waited), ", after it waited for %" PRIu64 ".%03" PRIu64 " s",
                        waited_usec / (1000U * USEC_PER_MSEC), waited_usec / USEC_PER_MSEC % 1000U);

        if (strcmp(from, to) == 0)
                say(ret, LOG_NOTICE, MESSAGE_IMAGE_RESUMED, to, "I/O goes on, through %s again%s.", to, waited);
        else
                say(ret, LOG_NOTICE, MESSAGE_IMAGE_FAILOVER, to, "I/O goes on, through %s instead of %s%s%s%s%s.", to,
                        *from ? from : "another proxy", waited, *reason ? " (" : "", reason, *reason ? ")" : "");
}

/* A change of the state. */
static bool say_state(const struct transitions *t, const char *state, const char *reason, const char *detail,
        const struct engine_status *status, uint64_t now_usec, struct transition *ret) {
        const char *space = *reason ? " " : "";

        if (strcmp(state, "attached") == 0 && t->waiting_usec > 0 && t->proxy[0])
                say_moved(t, status, now_usec > t->waiting_usec ? now_usec - t->waiting_usec : 0, ret);
        else if (strcmp(state, "attached") == 0)
                say(ret, LOG_INFO, MESSAGE_IMAGE_ATTACHED, status->active_proxy, "attached%s%s %s.",
                        status->active_proxy[0] ? " to " : "", status->active_proxy, detail);
        else if (strcmp(state, "reconnecting") == 0 && (!*t->state || strcmp(t->state, "attaching") == 0))
                say(ret, LOG_INFO, NULL, "", "started again; I/O waits for a proxy.%s%s", space, reason);
        else if (strcmp(state, "reconnecting") == 0 &&
                 (status->state == POOL_ATTACHED || status->state == POOL_STOPPING))
                say(ret, LOG_INFO, NULL, t->proxy, "I/O waits for the next worker.%s%s", space, reason);
        else if (strcmp(state, "reconnecting") == 0)
                say(ret, LOG_WARNING, MESSAGE_CONNECTION_LOST, t->proxy,
                        "The connection to %s was lost; I/O waits for another one.%s%s",
                        t->proxy[0] ? t->proxy : "the proxy", space, reason);
        else if (strcmp(state, "parked") == 0)
                say(ret, LOG_WARNING, MESSAGE_IMAGE_PARKED, t->proxy,
                        "No proxy can be had; I/O waits until one is back.%s%s", space, reason);
        else if (strcmp(state, "detaching") == 0)
                say(ret, LOG_INFO, MESSAGE_IMAGE_DETACHING, status->active_proxy, "detaching.%s%s", space, reason);
        else if (strcmp(state, "failed") == 0)
                say(ret, LOG_ERR, MESSAGE_IMAGE_FAILED, status->active_proxy, "%s", reason);
        else
                return false;
        return true;
}

bool transitions_observe(struct transitions *t, const char *state, const char *reason, const char *detail,
        const struct engine_status *status, uint64_t now_usec, struct transition *ret) {
        bool changed = strcmp(t->state, state) != 0, moved = status->failovers > t->failovers, logged = false;

        if (changed) {
                /* The I/O thread knows better when its own states began; that the device is there as well is the main thread's to say. */
                bool pools = strcmp(state, pool_state_to_string(status->state)) == 0 && status->state_since_usec > 0 &&
                             strcmp(t->state, "attaching") != 0;
                uint64_t since = pools ? status->state_since_usec : now_usec;

                /* Parked is shown late, and did not begin before what was shown instead. */
                if (pools && strcmp(state, "parked") == 0 && since < t->since_usec)
                        since = t->since_usec;
                logged = say_state(t, state, reason, detail, status, now_usec, ret);
                snprintf(t->state, sizeof(t->state), "%s", state);
                t->since_usec = since;
                if (!waits(state))
                        t->waiting_usec = 0;
                else if (t->waiting_usec == 0)
                        t->waiting_usec = since;
        } else if (moved && strcmp(state, "attached") == 0) {
                say_moved(t, status, 0, ret);
                logged = true;
        }

        t->failovers = status->failovers;
        /* While I/O waits, the active proxy is the one that is being tried. */
        if (status->active_proxy[0] && !waits(state))
                strcpy(t->proxy, status->active_proxy);
        return logged;
}

const char *transitions_failure_id(enum failure failure, bool attached) {
        static const struct {
                enum failure failure;
                const char *before, *after;
        } ids[] = {
                { FAILURE_HELD, MESSAGE_IMAGE_HELD, MESSAGE_IMAGE_TAKEN },
                { FAILURE_IO, MESSAGE_IMAGE_FAILED, MESSAGE_DATA_LOST },
                { FAILURE_BUSY, MESSAGE_DEVICE_BUSY, MESSAGE_DEVICE_BUSY },
                { FAILURE_ACCESS_DENIED, MESSAGE_ACCESS_REFUSED, MESSAGE_ACCESS_REFUSED },
                { FAILURE_NO_PROXY, MESSAGE_NO_PROXY, MESSAGE_IMAGE_FAILED },
                { FAILURE_CONFIGURATION, MESSAGE_CONFIGURATION, MESSAGE_CONFIGURATION },
                { FAILURE_SYSTEM, MESSAGE_SYSTEM_NOT_READY, MESSAGE_SYSTEM_NOT_READY },
        };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                if (ids[i].failure == failure)
                        return attached ? ids[i].after : ids[i].before;
        return MESSAGE_IMAGE_FAILED;
}
