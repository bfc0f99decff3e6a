/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The main thread: nothing here touches a byte of I/O. It starts the engine, asks the supervisor for the device once the image is attached, and is ready when the device is; it tells
 * systemd and the supervisor the same state in the same words; and it stops from the outside in: the device, then the engine.
 *
 * Whatever ends the worker ends it in one place, give_up() or worker_finish(), with the exit status that error-table.h has for it and a sentence in STATUS=. */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "block-signals.h"
#include "fd-store.h"
#include "log.h"
#include "mark.h"
#include "one-name.h"
#include "refuse.h"
#include "worker-internal.h"
#include "worker.h"

#define STOP_TIMEOUT_USEC (10U * 1000U * 1000U)
/* While the system goes down it is not to wait for proxies that will not come back: not for I/O of file systems that are being unmounted, and not for the last flush. */
#define GOING_DOWN_IO_USEC   POOL_STOP_WAIT_USEC
#define GOING_DOWN_STOP_USEC (3U * 1000U * 1000U)
#define EXTEND_EVERY_USEC    (10U * 1000U * 1000U)
#define REFUSE_TIMEOUT_MS    500

static const char *state_of(const struct worker *w) {
        if (w->failure != FAILURE_NONE)
                return "failed";
        if (w->handing_over)
                return "reconnecting";
        if (w->stopping)
                return "detaching";
        /* Attached at the proxy is not yet usable: the device must be there. What was usable once, and still is to those above, is not attached again. */
        if (!w->ready && !worker_continues(w) && w->status.state != POOL_FAILED)
                return "attaching";
        if (!w->ready && w->status.state == POOL_ATTACHED)
                return "reconnecting";
        return pool_state_to_string(w->shown);
}

static const char *reason_of(const struct worker *w) {
        if (w->failure != FAILURE_NONE)
                return w->sentence;
        if (w->handing_over)
                return "The worker is being restarted.";
        if (w->status.reason[0])
                return w->status.reason;
        if (w->attached && !w->ready && !supervisor_link_is_up(w->supervisor) && w->config->device == DEVICE_NBD)
                return supervisor_link_reason(w->supervisor);
        if (w->status.classic)
                return "The proxy is a classic server: no flush, no fencing of other writers.";
        return "";
}

static uint64_t realtime_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t) now.tv_sec * 1000000U + (uint64_t) now.tv_nsec / 1000U;
}

/* Each transition, and each failover, is one line in the journal; the supervisor logs only what happens while no worker is there to. */
static void note(struct worker *w) {
        struct transition transition;
        char detail[160];

        snprintf(detail, sizeof(detail), "%s%s%s%" PRIu64 " bytes%s", w->node[0] ? "as " : "", w->node,
                w->node[0] ? ", " : "with ", w->known.size,
                w->known.read_only || w->known.refuses_writes ? ", read-only" : "");
        if (!transitions_observe(
                    &w->transitions, state_of(w), reason_of(w), detail, &w->status, realtime_usec(), &transition))
                return;
        log_event(transition.priority,
                LOG_FIELDS({ "IMAGE", w->name }, { "STATE", w->transitions.state },
                        { "PROXY", transition.proxy[0] ? transition.proxy : NULL },
                        { "MESSAGE_ID", w->failure == FAILURE_NONE
                                                ? transition.message_id
                                                : transitions_failure_id(w->failure, w->attached) }),
                "Image %s: %s", w->name, transition.message);
}

static void on_patience_over(void *userdata) {
        worker_show(userdata);
}

static int on_io_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct worker *w = userdata;

        /* I/O fails from now on, which the kernel is to hear. */
        w->io_fails = true;
        device_link_set_waiting(w->device, false, false);
        return 0;
}

static uint64_t io_timeout_usec(const struct worker *w) {
        return w->going_down && w->config->io_timeout_usec > GOING_DOWN_IO_USEC ? GOING_DOWN_IO_USEC
                                                                                : w->config->io_timeout_usec;
}

/* Whether I/O waits for a proxy, which the device link wants to know. */
static void note_waiting(struct worker *w) {
        bool waits = w->ready && !w->stopping && w->failure == FAILURE_NONE && w->transitions.waiting_usec > 0;
        bool parked = waits && w->status.state == POOL_PARKED;

        if (!w->device)
                return;
        if (waits != w->waits) {
                w->waits = waits;
                w->io_deadline = sd_event_source_disable_unref(w->io_deadline);
                if (waits && io_timeout_usec(w) != UINT64_MAX)
                        (void) sd_event_add_time_relative(
                                w->event, &w->io_deadline, CLOCK_MONOTONIC, io_timeout_usec(w), 0, on_io_deadline, w);
                w->io_fails = false;
        }
        if (!w->io_fails)
                device_link_set_waiting(w->device, waits, parked);
}

/* Tells the journal, systemd and the supervisor how things are. */
void worker_show(struct worker *w) {
        const char *state, *reason = reason_of(w);

        w->shown = patience_observe(&w->patience, w->status.state);
        state = state_of(w);
        note(w);
        note_waiting(w);

        if (w->status.active_proxy[0] && w->failure == FAILURE_NONE)
                (void) sd_notifyf(false, "STATUS=%s to %s, %" PRIu32 " request%s in flight%s%s", state,
                        w->status.active_proxy, w->status.stats.in_flight, w->status.stats.in_flight == 1 ? "" : "s",
                        reason[0] ? ". " : "", reason);
        else
                (void) sd_notifyf(false, "STATUS=%s%s%s", state, reason[0] ? ": " : "", reason);

        if (w->supervisor)
                supervisor_link_update(w->supervisor, &w->status, w->attached ? &w->known : NULL, state,
                        w->transitions.since_usec, reason, w->failure);
}

void worker_finish(struct worker *w) {
        worker_show(w);
        if (w->supervisor)
                supervisor_link_flush(w->supervisor);
        (void) sd_event_exit(w->event, (int) w->failure);
}

static void stop_engine(struct worker *w, bool detach) {
        if (!w->engine || engine_stop(w->engine, detach, w->going_down ? GOING_DOWN_STOP_USEC : STOP_TIMEOUT_USEC) < 0)
                worker_finish(w);
}

static void fail(struct worker *w, enum failure failure, const char *format, ...) _printf_(3, 4);
static void fail(struct worker *w, enum failure failure, const char *format, ...) {
        va_list ap;

        if (w->failure != FAILURE_NONE)
                return;

        w->failure = failure;
        va_start(ap, format);
        (void) vsnprintf(w->sentence, sizeof(w->sentence), format, ap);
        va_end(ap);
        note(w);
}

/* Ends the worker for a reason that a user is told. Before the engine runs it ends at once.
 *
 * An image that somebody else has attached since is not ours to continue, ever: the proof of our attachment must go, or the next start would only hear the same. But while the kernel's device is there, with pages of
 * the image as it was, the next start must not serve it under a new lease; so the device goes first, and if it is held, both stay. */
static void give_up(struct worker *w) {
        worker_show(w);
        if (w->stopping)
                return;

        w->stopping = true;
        if (worker_must_go_on(w))
                device_link_expect(w->device);
        /* At shutdown nobody comes after us who would serve it. */
        if ((w->failure == FAILURE_HELD || w->going_down) && w->device)
                device_link_disconnect(w->device);
        else
                stop_engine(w, false);
}

void worker_become_ready(struct worker *w) {
        if (w->ready) {
                worker_show(w);
                return;
        }

        w->ready = true;
        w->extend_timer = sd_event_source_disable_unref(w->extend_timer);
        /* The supervisor first: who has waited for the start, and asks the bus then, is to be told of an image that is attached. */
        worker_show(w);
        (void) sd_notify(false, "READY=1");
}

static void on_attached(void *userdata, const struct attachment *attachment) {
        struct worker *w = userdata;

        w->known = *attachment;
        w->attached = true;
        if (engine_accept(w->engine) < 0) {
                fail(w, FAILURE_INTERNAL, "Out of memory.");
                give_up(w);
                return;
        }

        if (worker_adopt(w))
                return;
        if (w->config->device == DEVICE_NBD)
                device_link_connect(w->device, &w->known);
        else
                worker_become_ready(w);
}

/* What is shown is what the device has. */
static void on_device_resized(void *userdata, uint64_t size) {
        struct worker *w = userdata;

        if (w->known.size != size)
                log_event(LOG_NOTICE, LOG_FIELDS({ "IMAGE", w->name }),
                        "Image %s: its size is %" PRIu64 " bytes now, and was %" PRIu64, w->name, size, w->known.size);
        w->known.size = size;
        worker_show(w);
}

static void on_resized(void *userdata, uint64_t size) {
        struct worker *w = userdata;

        if (w->config->device == DEVICE_NBD)
                device_link_resize(w->device, size);
        else
                on_device_resized(w, size);
}

static void on_status(void *userdata, const struct engine_status *status) {
        struct worker *w = userdata;

        w->status = *status;
        log_event(LOG_DEBUG, LOG_FIELDS({ "IMAGE", w->name }, { "STATE", pool_state_to_string(status->state) }),
                "Image %s: the pool is %s, with %u sessions for I/O", w->name, pool_state_to_string(status->state),
                status->n_sessions);
        worker_show(w);
}

static void on_engine_failed(void *userdata, enum failure failure, const char *message) {
        struct worker *w = userdata;

        fail(w, failure, "%s", message);
        give_up(w);
}

static void on_kernel_lost(void *userdata) {
        struct worker *w = userdata;

        if (!w->stopping)
                device_link_kernel_lost(w->device);
}

static void on_left(void *userdata, struct legacies *legacies) {
        worker_left(userdata, legacies);
}

static void on_stopped(void *userdata, int error) {
        struct worker *w = userdata;

        if (w->handing_over && w->failure == FAILURE_NONE) {
                worker_hand_over(w, error);
                return;
        }
        if (w->device_gone && w->failure == FAILURE_HELD) {
                (void) attachment_remove(&w->attachment);
                (void) mark_remove(w->attachment.directory);
        }
        if (error < 0)
                fail(w, FAILURE_IO,
                        "The last flush did not succeed: %s. What was written since the flush before it may be lost.",
                        strerror(-error));
        worker_finish(w);
}

static void on_alive(void *userdata) {
        (void) sd_notify(false, "WATCHDOG=1");
}

static const struct engine_events engine_events = {
        .attached = on_attached,
        .status = on_status,
        .resized = on_resized,
        .failed = on_engine_failed,
        .kernel_lost = on_kernel_lost,
        .left = on_left,
        .stopped = on_stopped,
        .alive = on_alive,
};

static void on_device_connected(void *userdata, const char *node) {
        struct worker *w = userdata;

        snprintf(w->node, sizeof(w->node), "%s", node);
        worker_become_ready(w);
}

static void on_device_failed(void *userdata, enum failure failure, const char *message) {
        struct worker *w = userdata;

        fail(w, failure, "The kernel device cannot be had: %s", message);
        give_up(w);
}

static void on_device_disconnected(void *userdata, enum failure failure, const char *message) {
        struct worker *w = userdata;

        if (failure != FAILURE_NONE)
                fail(w, failure, "The device stays: %s", message);
        w->device_gone = failure == FAILURE_NONE;
        /* A device that stays will be served again under the same lease. */
        stop_engine(w, failure == FAILURE_NONE);
}

static const struct device_link_events device_events = {
        .connected = on_device_connected,
        .resized = on_device_resized,
        .failed = on_device_failed,
        .disconnected = on_device_disconnected,
};

static void on_supervisor_up(void *userdata) {
        struct worker *w = userdata;

        worker_show(w);
        worker_ask_device(w);
        if (engine_heat_fd(w->engine) >= 0)
                (void) supervisor_link_share_heat(w->supervisor, engine_heat_fd(w->engine));
        if (w->device && !w->stopping)
                device_link_supervisor_up(w->device);
}

static void on_answer_told(void *userdata, enum failure failure, const char *message) {
        struct worker *w = userdata;

        if (failure != FAILURE_NONE && !w->told_badly && supervisor_link_is_up(w->supervisor))
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", w->name }),
                        "Image %s: The kernel cannot be told whether I/O waits: %s", w->name, message);
        w->told_badly = failure != FAILURE_NONE;
        device_link_answer_told(w->device, failure);
}

static void on_answer_resized(void *userdata, enum failure failure, const char *message) {
        struct worker *w = userdata;

        if (failure != FAILURE_NONE && supervisor_link_is_up(w->supervisor))
                log_event(LOG_ERR, LOG_FIELDS({ "IMAGE", w->name }),
                        "Image %s: The kernel device keeps its size for now: %s", w->name, message);
        device_link_answer_resized(w->device, failure);
}

static void on_answer_connected(void *userdata, enum failure failure, const char *message, const char *node) {
        struct worker *w = userdata;

        device_link_answer_connected(w->device, failure, message, node);
}

static void on_answer_disconnected(void *userdata, enum failure failure, const char *message) {
        struct worker *w = userdata;

        device_link_answer_disconnected(w->device, failure, message);
}

static void on_unit_job(void *userdata, const char *type) {
        worker_job_told(userdata, type);
}

static void on_device_known(void *userdata, const char *node) {
        worker_device_told(userdata, node);
}

static const struct supervisor_link_events supervisor_events = {
        .up = on_supervisor_up,
        .device_connected = on_answer_connected,
        .device_disconnected = on_answer_disconnected,
        .device_told = on_answer_told,
        .unit_job = on_unit_job,
        .device_known = on_device_known,
        .device_resized = on_answer_resized,
};

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        struct worker *w = userdata;

        worker_end(w);
        return 0;
}

void worker_stop(struct worker *w) {
        if (w->stopping)
                return;

        w->stopping = true;
        (void) sd_notify(false, "STOPPING=1");
        worker_show(w);
        /* The kernel flushes before it lets go of the device: that must not wait for ever either. */
        (void) engine_limit_wait(w->engine);
        /* The device of a former worker, which we never came to serve, could not be flushed: it is left as that one left it. */
        if (!w->ready && worker_must_go_on(w))
                stop_engine(w, false);
        else
                device_link_disconnect(w->device);
}

static void on_going_down(void *userdata) {
        struct worker *w = userdata;

        w->going_down = true;
        if (w->waits && !w->io_fails) {
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", w->name }, { "STATE", w->transitions.state }),
                        "Image %s: The system is going down: I/O fails unless a proxy is there within %u s.", w->name,
                        GOING_DOWN_IO_USEC / 1000000U);
                /* Its deadline begins now. */
                w->waits = false;
        }
        (void) engine_limit_wait(w->engine);
        note_waiting(w);
        if (!w->ready)
                (void) sd_event_source_set_time_relative(w->extend_timer, GOING_DOWN_IO_USEC);
}

static uint64_t now_usec(struct worker *w) {
        uint64_t now = 0;

        (void) sd_event_now(w->event, CLOCK_MONOTONIC, &now);
        return now;
}

/* While it is still trying: systemd is asked for patience, up to what the configuration allows. */
static int on_extend(sd_event_source *source, uint64_t usec, void *userdata) {
        struct worker *w = userdata;
        uint64_t elapsed = now_usec(w) - w->started_usec;

        if (w->ready || w->stopping)
                return 0;

        /* A device that is there is waited for as long as its I/O may wait: one that starts again and again would be no better. */
        if (w->going_down || (elapsed >= w->config->attach_timeout_usec &&
                                     (!worker_must_go_on(w) || elapsed >= w->config->io_timeout_usec))) {
                const char *reason = reason_of(w);

                fail(w, w->attached ? FAILURE_SYSTEM : FAILURE_NO_PROXY, "%s within %" PRIu64 " s. %s",
                        w->attached ? "The kernel device was not there" : "No proxy could be reached",
                        (w->going_down ? elapsed : w->config->attach_timeout_usec) / 1000000,
                        reason[0]     ? reason
                        : w->attached ? "\"journalctl -b -u blockstored -u systemd-udevd\" says what it waited for."
                                      : "Is a proxy running, and is \"proxies\" in " HOST_CONFIG_DIRECTORY
                                        "/blockstore.json right?");
                give_up(w);
                return 0;
        }

        (void) sd_notifyf(false, "EXTEND_TIMEOUT_USEC=%" PRIu64, (uint64_t) 3 * EXTEND_EVERY_USEC);
        usec = w->config->attach_timeout_usec > elapsed ? w->config->attach_timeout_usec - elapsed : EXTEND_EVERY_USEC;
        (void) sd_event_source_set_time_relative(source, usec < EXTEND_EVERY_USEC ? usec : EXTEND_EVERY_USEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Readers may be many. Where there is no directory for claims (no tmpfiles, tests), fencing is what remains. */
static int claim(struct worker *w, const char *image) {
        char other[IMAGE_LOCAL_NAME_MAX + 1] = "";
        int r;

        r = one_name_claim(w->config, image, w->name, other, sizeof(other));
        if (r == -EBUSY) {
                fail(w, FAILURE_HELD,
                        "Image \"%s\" is attached on this host already, as \"%s\". To have it under this name: "
                        "blockstorectl detach %s",
                        image, other, other);
                return r;
        }
        if (r >= 0)
                w->claim_fd = r;
        else if (r != -ENOENT)
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", w->name }),
                        "Image %s: cannot make sure that it has one name on this host only: %s.", w->name,
                        strerror(-r));
        return 0;
}

/* The settings and what they lead to. On failure the sentence is set. */
static int configure(struct worker *w, const struct passed_password *passed) {
        _cleanup_free_ char *message = NULL;
        const char *image;
        int r;

        if (!image_local_name_is_valid(w->name)) {
                fail(w, FAILURE_USAGE,
                        "\"%s\" cannot be the name of an image on this host: 1-64 letters, digits, '_', '.', ':' or "
                        "'-'.",
                        w->name);
                return -EINVAL;
        }

        r = host_config_load(w->name, &w->config, &message);
        if (r >= 0 && w->config->n_proxies == 0) {
                fail(w, FAILURE_CONFIGURATION,
                        "No proxies are configured: set \"proxies\" in " HOST_CONFIG_DIRECTORY "/blockstore.json.");
                return -EINVAL;
        }
        if (r >= 0)
                r = credentials_load(w->config, w->name, passed, &w->credentials, &message);
        if (r < 0) {
                fail(w, FAILURE_CONFIGURATION, "%s", message ?: strerror(-r));
                return r;
        }

        image = w->config->image ?: w->name;
        if (!image_store_name_is_valid(image)) {
                fail(w, FAILURE_CONFIGURATION,
                        "\"image\" is not a name that a store can have: 1-255 bytes without '/' and control "
                        "characters.");
                return -EINVAL;
        }
        strcpy(w->attachment.name, image);
        w->attachment.read_only = w->config->read_only;
        w->attachment.steal = w->config->steal;
        return w->attachment.read_only ? 0 : claim(w, image);
}

static int start(struct worker *w) {
        struct engine_settings settings = {
                .config = w->config,
                .credentials = w->credentials,
                .name = w->name,
                .attachment = &w->attachment,
                .listen_fd = w->listen_fd,
                .tickets = w->found ? &w->found->legacies->tickets : NULL,
        };
        uint64_t watchdog_usec;
        int r;

        if (sd_watchdog_enabled(false, &watchdog_usec) > 0)
                settings.alive_usec = watchdog_usec / 3;

        w->attachment.directory = getenv("RUNTIME_DIRECTORY");
        r = attachment_load(&w->attachment);
        if (r < 0)
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", w->name }, { "STATE", "attaching" }),
                        "Image %s: The former attachment cannot be read (%s); attaching anew.", w->name, strerror(-r));
        w->continues = r > 0;
        if (w->continues)
                w->status.state = POOL_RECONNECTING; /* until the I/O thread says more */

        r = engine_new(&w->engine, w->event, &settings, &engine_events, w);
        if (r == -ENOSYS || r == -EPERM || r == -EACCES) {
                fail(w, FAILURE_SYSTEM,
                        "io_uring cannot be used on this system, and blockstore needs it. Try: sysctl "
                        "kernel.io_uring_disabled=0 (%s).",
                        strerror(-r));
                return r;
        }
        if (r < 0) {
                fail(w, FAILURE_SYSTEM, "The I/O thread cannot be started: %s.", strerror(-r));
                return r;
        }

        r = supervisor_link_new(&w->supervisor, w->event, &supervisor_events, w);
        if (r >= 0)
                r = device_link_new(&w->device, w->event, w->engine, w->supervisor, &device_events, w);
        if (r >= 0)
                r = sd_event_add_time_relative(w->event, &w->extend_timer, CLOCK_MONOTONIC, 0, 0, on_extend, w);
        if (r >= 0)
                r = going_down_new(&w->watch, w->event, on_going_down, w);
        if (r < 0)
                fail(w, FAILURE_INTERNAL, "Cannot start: %s.", strerror(-r));
        return r;
}

static void clean_up(struct worker *w) {
        worker_succession_done(w);
        going_down_free(w->watch);
        device_link_free(w->device);
        supervisor_link_free(w->supervisor);
        engine_free(w->engine);
        credentials_free(w->credentials);
        host_config_free(w->config);
        explicit_bzero(&w->attachment, sizeof(w->attachment));
        safe_close(w->claim_fd);
        sd_event_source_disable_unref(w->extend_timer);
        sd_event_source_disable_unref(w->io_deadline);
        patience_done(&w->patience);
        sd_event_unref(w->event);
}

int worker_run(const char *name) {
        struct worker w = { .name = name, .listen_fd = -EBADF, .claim_fd = -EBADF };
        struct passed_password passed;
        bool found = false;
        int r;

        /* Before any thread is made: signals come to the main loop only. */
        (void) block_signals(SIGTERM, SIGINT, SIGPIPE, 0);

        (void) passed_password_take(&passed);
        r = fd_store_receive(&w.listen_fd, &w.found, &found);
        if (r < 0)
                log_event(LOG_WARNING, LOG_FIELDS({ "IMAGE", name }),
                        "Image %s: What the former worker has left is of no use (%s); its connections are made anew.",
                        name, strerror(-r));
        if (found && !w.found)
                (void) fd_store_clear();

        r = sd_event_new(&w.event);
        w.patience = (struct patience){
                .event = w.event, .limit_usec = PATIENCE_USEC, .over = on_patience_over, .userdata = &w
        };
        if (r >= 0)
                r = sd_event_add_signal(w.event, NULL, SIGTERM, on_signal, &w);
        if (r >= 0)
                r = sd_event_add_signal(w.event, NULL, SIGINT, on_signal, &w);
        if (r < 0)
                fail(&w, FAILURE_INTERNAL, "Cannot make an event loop: %s.", strerror(-r));

        (void) sd_event_now(w.event, CLOCK_MONOTONIC, &w.started_usec);
        if (r >= 0)
                r = configure(&w, &passed);
        passed_password_wipe(&passed);
        if (r >= 0)
                r = start(&w);
        if (r < 0 && !w.engine)
                worker_show(&w);
        else {
                if (r < 0)
                        give_up(&w);
                r = sd_event_loop(w.event);
                if (r < 0)
                        fail(&w, FAILURE_INTERNAL, "The event loop failed: %s.", strerror(-r));
        }

        if (w.failure != FAILURE_NONE)
                refuse_clients(w.listen_fd, w.sentence, REFUSE_TIMEOUT_MS);
        clean_up(&w);
        return (int) w.failure;
}
