/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An import or export is a sequence of phases, each of which is one asynchronous call: to the store, to systemd, or to the process that moves the bytes. A failure or a cancellation jumps to the part where things are put in
 * order, which every transfer goes through. So whatever happens, the attachment is ended, and of an import either the image is there as a whole under its name, or nothing of it.
 *
 * What is being imported is called NAME.import in the store until it is complete. Nobody attaches half an image by mistake that way, one that is to be overwritten stays what it is until the new one is whole, and whoever finds
 * the name knows what it is. If this process is lost in between, NAME.import and the record are what is left, and resuming goes by both.
 *
 * The image is attached like any other, by a worker and without a kernel device, so that failover, leases and "who has it" need nothing of their own. Its local name is made of the image's, so that who comes back finds it. */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "image-log.h"
#include "peer-bus.h"
#include "transfer-internal.h"

#define LOCAL_PREFIX "transfer-"

const char *transfer_phase_to_string(enum transfer_phase phase) {
        static const char *const names[_TRANSFER_PHASE_MAX] = {
                [TRANSFER_LIST] = "list",
                [TRANSFER_CREATE] = "create",
                [TRANSFER_CLEAR] = "clear",
                [TRANSFER_ATTACH] = "attach",
                [TRANSFER_SOCKET] = "socket",
                [TRANSFER_HELLO] = "hello",
                [TRANSFER_RUN] = "run",
                [TRANSFER_STOP] = "stop",
                [TRANSFER_DETACH] = "detach",
                [TRANSFER_REPLACE] = "replace",
                [TRANSFER_RENAME] = "rename",
                [TRANSFER_DISCARD] = "discard",
                [TRANSFER_END] = "end",
        };

        return (unsigned) phase < _TRANSFER_PHASE_MAX ? names[phase] : NULL;
}

void transfer_local_name(const char *image, char ret[static TRANSFER_LOCAL_NAME_SIZE]) {
        uint64_t hash = UINT64_C(
                0xcbf29ce484222325); /* FNV-1a: not against an enemy, who could only make two of his own imports wait for each other */

        for (const char *c = image; *c; c++)
                hash = (hash ^ (unsigned char) *c) * UINT64_C(0x100000001b3);
        (void) snprintf(ret, TRANSFER_LOCAL_NAME_SIZE, LOCAL_PREFIX "%016" PRIx64, hash);
}

bool transfer_is_local_name(const char *name) {
        size_t n = strlen(LOCAL_PREFIX);

        return strlen(name) == TRANSFER_LOCAL_NAME_SIZE - 1 && strncmp(name, LOCAL_PREFIX, n) == 0 &&
               strspn(name + n, "0123456789abcdef") == 16;
}

static struct transfer *transfer_free(struct transfer *transfer) {
        struct managed *managed = manager_find(transfer->manager, transfer->local);

        LIST_REMOVE(transfer, entry);
        if (managed)
                operations_forget_caller(&managed->operations, transfer);
        if (transfer->query)
                query_free(transfer->query);
        units_call_free(transfer->call);
        transfer_hang_up(transfer);
        sd_event_source_disable_unref(transfer->go_on);
        sd_event_source_disable_unref(transfer->deadline);
        transfer_wish_done(&transfer->wish);
        free(transfer);
        return NULL;
}

static void end(struct transfer *transfer) {
        const char *what = transfer->wish.export ? "export" : "import";
        struct manager *manager = transfer->manager;

        if (transfer->failure != FAILURE_NONE)
                log_event(LOG_ERR, LOG_FIELDS({ "IMAGE", transfer->wish.name }), "The %s of %s has failed: %s", what,
                        transfer->wish.name, transfer->message);
        else
                log_event(LOG_NOTICE, LOG_FIELDS({ "IMAGE", transfer->wish.name }), "The %s of %s %s%s%s", what,
                        transfer->wish.name, transfer->complete ? "is done" : "was cancelled",
                        *transfer->message ? ": " : "", transfer->message);
        job_end(transfer->job, transfer->failure, transfer->message);
        transfer_free(transfer);
        manager_check_idle(manager);
}

void transfer_settle(struct transfer *transfer, enum failure failure, const char *format, ...) {
        va_list ap;

        if (failure != FAILURE_NONE && transfer->failure == FAILURE_NONE) {
                va_start(ap, format);
                (void) vsnprintf(transfer->message, sizeof(transfer->message), format, ap);
                va_end(ap);
                transfer->failure = failure;
        }
        if (sd_event_source_set_enabled(transfer->go_on, SD_EVENT_ONESHOT) < 0)
                end(transfer);
}

static int on_go_on(sd_event_source *source, void *userdata) {
        struct transfer *transfer = userdata;
        int r;

        do {
                if (transfer->phase == TRANSFER_RUN && transfer->failure == FAILURE_NONE && !transfer->cancelled)
                        transfer->complete = true;
                if ((transfer->failure != FAILURE_NONE || transfer->cancelled) && transfer->phase < TRANSFER_STOP)
                        transfer->phase = TRANSFER_STOP;
                else
                        transfer->phase++;
                if (transfer->phase == TRANSFER_END) {
                        end(transfer);
                        return 0;
                }
                job_set_step(transfer->job, transfer->phase < TRANSFER_STOP ? "preparing" : "completing");
                r = transfer_phase_runs[transfer->phase](transfer);
                if (r < 0)
                        transfer_settle(transfer, FAILURE_SYSTEM, "%s: %s", transfer_phase_to_string(transfer->phase),
                                strerror(-r));
        } while (r > 0);
        return 0;
}

static void on_cancel(struct job *job, void *userdata) {
        struct transfer *transfer = userdata;

        if (transfer->phase > TRANSFER_RUN)
                return; /* it is as good as done */
        transfer->cancelled = true;
        if (transfer->phase == TRANSFER_RUN && transfer->bus) {
                transfer_hang_up(transfer);
                transfer_settle(transfer, FAILURE_NONE, "%s", "");
        }
}

static int on_begin(sd_event_source *source, void *userdata) {
        struct transfer *transfer = userdata;
        int r;

        transfer->go_on = sd_event_source_disable_unref(transfer->go_on);
        r = sd_event_add_defer(transfer->manager->event, &transfer->go_on, on_go_on, transfer);
        if (r >= 0)
                r = sd_event_source_set_enabled(transfer->go_on, SD_EVENT_OFF);
        if (r >= 0)
                r = transfer_phase_runs[TRANSFER_LIST](transfer);
        if (r < 0)
                transfer_settle(transfer, FAILURE_SYSTEM, "The store cannot be asked: %s", strerror(-r));
        return 0;
}

static int check_free(struct manager *manager, const char *local, sd_bus_error *error) {
        struct transfer *other;
        unsigned n = 0;

        LIST_FOREACH(other, &manager->transfers, entry) {
                if (strcmp(other->local, local) == 0)
                        return peer_bus_error_set(error, FAILURE_BUSY, "Image \"%s\" is being %s already",
                                other->wish.name, other->wish.export ? "exported" : "imported");
                n++;
        }
        if (n >= TRANSFERS_MAX)
                return peer_bus_error_set(
                        error, FAILURE_BUSY, "%u images are being imported or exported; try again later", n);
        return 0;
}

int transfer_start(struct manager *manager, struct transfer_wish *wish, struct job **ret, sd_bus_error *error) {
        struct transfer *transfer;
        int r;

        transfer = calloc(1, sizeof(*transfer));
        if (!transfer)
                return -ENOMEM;
        transfer->manager = manager;
        transfer->wish = *wish;
        transfer->wish.file = -EBADF;
        transfer->size = wish->size;
        (void) snprintf(transfer->stage, sizeof(transfer->stage), "%s%s", wish->name,
                wish->export ? "" : TRANSFER_STAGE_SUFFIX);
        transfer_local_name(transfer->stage, transfer->local);
        (void) snprintf(transfer->unit, sizeof(transfer->unit), "blockstore-transfer@%s.socket", transfer->local);

        r = check_free(manager, transfer->local, error);
        if (r >= 0)
                r = job_new(manager->jobs, wish->export ? "export" : "import", "bytes", 0, on_cancel, transfer,
                        &transfer->job);
        if (r < 0) {
                free(transfer);
                return r;
        }
        LIST_INSERT_HEAD(&manager->transfers, transfer, entry);
        transfer->wish.file = TAKE_FD(wish->file);
        job_set_progress(transfer->job, 0, wish->name);

        /* From the loop, so that the caller knows of the job before it may be over. */
        r = sd_event_add_defer(manager->event, &transfer->go_on, on_begin, transfer);
        if (r < 0) {
                job_end(transfer->job, FAILURE_INTERNAL, "Out of memory");
                transfer_free(transfer);
                return r;
        }
        *ret = transfer->job;
        return 0;
}

void transfers_sweep(struct manager *manager) {
        struct managed *managed, *next;

        HASH_ITER(hh, manager->images, managed, next)
                if (transfer_is_local_name(managed->image->name) && managed_detach_for(managed, NULL, NULL, NULL) >= 0)
                        log_image(LOG_NOTICE, managed->image->name,
                                "An import or export that is no more has left it attached; it is detached");
}

void transfers_image_changed(struct manager *manager, const struct image *image) {
        struct transfer *transfer;

        LIST_FOREACH(transfer, &manager->transfers, entry)
                if (strcmp(transfer->local, image->name) == 0)
                        transfer_image_changed(transfer, image);
}

void transfers_free(struct manager *manager) {
        while (!LIST_EMPTY(&manager->transfers))
                transfer_free(LIST_FIRST(&manager->transfers));
}
