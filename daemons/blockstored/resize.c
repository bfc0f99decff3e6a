/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two things get the new size, the store's image and, if the image is attached on this host, the kernel's device; and at no time may the device be the larger one, for what is written
 * beyond the image's end is lost.
 *
 *      growing:    store ──▶ (its proxy tells the worker, the worker asks for the device) ──▶ awaited
 *      shrinking:  device ──▶ store ──▶ awaited
 *                               └──refused──▶ the device gets its old size back
 *
 * The worker is not asked: it hears of the size from its proxy, wherever the wish came from, this host or another one. So there is one way by which a device gets the image's size, and it also mends
 * what was cut short here: a supervisor that comes back is told the size by the worker. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "image-log.h"
#include "manager.h"
#include "peer-bus.h"
#include "resize.h"

#define ANSWER_USEC (23U * 1000U * 1000U) /* callers give up at 25 s */
#define RESIZES_MAX 64U
#define SECTOR_SIZE 512U

enum resize_phase {
        RESIZE_DEVICE,   /* it is made smaller */
        RESIZE_STORE,    /* ... is asked */
        RESIZE_AWAITING, /* the store has the size; the device is to get it */
};

struct resize {
        struct manager *manager;
        LIST_ENTRY(resize) entry;
        enum resize_phase phase;
        sd_bus_message *message; /* NULL: nobody waits */
        char *name;              /* the store's */
        char *local;             /* the image's on this host, while it is attached; else NULL */
        struct resize_wish wish;
        bool shrunk; /* the device is smaller than the image */
        struct query *query;
        sd_event_source *deadline;
};

static struct managed *find_local(const struct resize *resize) {
        return resize->local ? manager_find(resize->manager, resize->local) : NULL;
}

static void resize_free(struct resize *resize) {
        struct managed *managed = find_local(resize);

        if (managed && managed->resize == resize)
                managed->resize = NULL;
        LIST_REMOVE(resize, entry);
        resize->manager->n_operations--;
        manager_check_idle(resize->manager);
        if (resize->query)
                query_free(resize->query);
        sd_event_source_disable_unref(resize->deadline);
        sd_bus_message_unref(resize->message);
        free(resize->name);
        free(resize->local);
        free(resize);
}

static void on_undone(enum failure failure, const char *message, void *userdata) {
        struct managed *managed = userdata;

        if (failure != FAILURE_NONE)
                log_image(LOG_ERR, managed->image->name,
                        "The device is smaller than the image, and stays so until the worker is restarted: %s",
                        message);
        managed_device_free_again(managed);
}

/* The store has not become smaller. */
static void undo(struct resize *resize) {
        struct managed *managed = find_local(resize);
        int r;

        resize->shrunk = false;
        if (!managed || !device_exists(managed->device))
                return;
        r = device_resize(managed->device, managed->image->size, on_undone, managed);
        if (r < 0)
                on_undone(FAILURE_INTERNAL, strerror(-r), managed);
}

static void succeed(struct resize *resize) {
        if (resize->message)
                (void) sd_bus_reply_method_return(resize->message, NULL);
        resize_free(resize);
}

static void fail(struct resize *resize, enum failure failure, const char *format, ...) _printf_(3, 4);
static void fail(struct resize *resize, enum failure failure, const char *format, ...) {
        char text[1024];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);

        if (resize->message)
                (void) sd_bus_reply_method_errorf(resize->message, failure_lookup(failure)->bus_name, "%s", text);
        if (resize->shrunk)
                undo(resize);
        resize_free(resize);
}

/* Nobody is left who could get it, or it is there. */
static bool is_complete(const struct resize *resize) {
        const struct managed *managed = find_local(resize);

        return !managed || !managed->link || managed->image->size == resize->wish.size;
}

void resize_size_changed(struct manager *manager, const struct image *image) {
        struct resize *resize, *next;

        for (resize = LIST_FIRST(&manager->resizes); resize; resize = next) {
                next = LIST_NEXT(resize, entry);
                if (resize->phase == RESIZE_AWAITING && resize->local && strcmp(resize->local, image->name) == 0 &&
                        is_complete(resize))
                        succeed(resize);
        }
}

static int fill(sd_bus_message *call, void *userdata) {
        const struct resize *resize = userdata;

        if (!resize->wish.force_shrink)
                return sd_bus_message_append(call, "sta{sv}", resize->name, resize->wish.size, 0);
        return sd_bus_message_append(
                call, "sta{sv}", resize->name, resize->wish.size, 1, "force-shrink", "b", (int) true);
}

static void on_stored(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        struct resize *resize = userdata;

        resize->query = NULL;
        if (!answer) {
                fail(resize, failure, "%s", message);
                return;
        }

        log_event(LOG_NOTICE, LOG_FIELDS({ "IMAGE", resize->local }),
                "The store's image \"%s\" has the size of %" PRIu64 " bytes now", resize->name, resize->wish.size);
        resize->shrunk = false;
        resize->phase = RESIZE_AWAITING;
        if (is_complete(resize))
                succeed(resize);
}

static int ask_store(struct resize *resize, sd_bus_error *error) {
        resize->phase = RESIZE_STORE;
        return query_ask(resize->manager, "ResizeImage", fill, on_stored, resize, &resize->query, error);
}

static void on_device_shrunk(enum failure failure, const char *message, void *userdata) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        struct managed *managed = userdata;
        struct resize *resize = managed->resize;

        if (resize && failure != FAILURE_NONE)
                fail(resize, failure, "%s", message);
        else if (resize) {
                resize->shrunk = true;
                if (ask_store(resize, &error) < 0)
                        fail(resize, FAILURE_SYSTEM, "%s", error.message ?: "The store cannot be asked");
        }
        managed_device_free_again(managed);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct resize *resize = userdata;

        if (resize->phase == RESIZE_AWAITING)
                fail(resize, FAILURE_TIMEOUT,
                        "The store's image \"%s\" has the new size, and the device on this host does not have it yet: "
                        "its "
                        "Size "
                        "tells when it does, the journal of image@%s.service why it does not",
                        resize->name, resize->local);
        else {
                /* What was begun is finished, or undone. */
                if (resize->message)
                        (void) sd_bus_reply_method_errorf(resize->message, failure_lookup(FAILURE_TIMEOUT)->bus_name,
                                "Image \"%s\" is still being resized", resize->name);
                resize->message = sd_bus_message_unref(resize->message);
        }
        return 0;
}

/* Who has it here; one that writes, if there is one. */
static struct managed *find_attached(struct manager *manager, const char *name) {
        struct managed *managed, *next, *found = NULL;

        HASH_ITER(hh, manager->images, managed, next)
                if (managed->link && strcmp(managed->image->image_name, name) == 0 && managed->image->size > 0 &&
                        (!found || found->image->read_only))
                        found = managed;
        return found;
}

int resize_wish_read(sd_bus_message *message, struct resize_wish *ret, sd_bus_error *error) {
        struct resize_wish wish = {};
        const char *key;
        int r, force;

        r = sd_bus_message_read(message, "t", &wish.size);
        if (r >= 0 && (wish.size == 0 || wish.size > INT64_MAX || wish.size % SECTOR_SIZE != 0))
                r = peer_bus_error_set(error, FAILURE_USAGE,
                        "The size must be a multiple of %u bytes, at least one and below 2^63", SECTOR_SIZE);
        if (r >= 0)
                r = sd_bus_message_enter_container(message, SD_BUS_TYPE_ARRAY, "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
                r = sd_bus_message_read(message, "s", &key);
                if (r >= 0 && strcmp(key, "force-shrink") != 0)
                        r = peer_bus_error_set(
                                error, FAILURE_USAGE, "There is no option \"%s\": expected \"force-shrink\"", key);
                if (r >= 0)
                        r = sd_bus_message_read(message, "v", "b", &force);
                if (r >= 0) {
                        wish.force_shrink = force;
                        r = sd_bus_message_exit_container(message);
                }
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r >= 0)
                *ret = wish;
        return r;
}

bool resize_is_below(const struct resize *resize, uint64_t size) {
        return resize && (resize->phase == RESIZE_DEVICE || resize->shrunk) && resize->wish.size < size;
}

static int begin(struct resize *resize, sd_bus_error *error) {
        struct managed *managed = find_local(resize);
        int r;

        if (!managed || !*managed->image->device || !resize->wish.force_shrink ||
                resize->wish.size >= managed->image->size)
                return ask_store(resize, error);

        log_image(LOG_NOTICE, managed->image->name, "%s is made smaller: from %" PRIu64 " to %" PRIu64 " bytes",
                managed->image->device, managed->image->size, resize->wish.size);
        resize->phase = RESIZE_DEVICE;
        managed->resize = resize;
        r = device_resize(managed->device, resize->wish.size, on_device_shrunk, managed);
        if (r < 0)
                return peer_bus_error_set(error, r == -EBUSY || r == -EAGAIN ? FAILURE_BUSY : FAILURE_INTERNAL,
                        "The device of %s cannot be resized now: %s", managed->image->name, strerror(-r));
        return 0;
}

int resize_start(struct manager *manager, const char *name, const struct resize_wish *wish, sd_bus_message *message,
        sd_bus_error *error) {
        struct managed *managed = find_attached(manager, name);
        struct resize *resize, *other;
        unsigned n = 0;
        int r;

        LIST_FOREACH(other, &manager->resizes, entry) {
                if (strcmp(other->name, name) == 0)
                        return peer_bus_error_set(error, FAILURE_BUSY, "Image \"%s\" is being resized already", name);
                n++;
        }
        if (n >= RESIZES_MAX)
                return peer_bus_error_set(error, FAILURE_BUSY, "%u images are being resized; try again later", n);

        resize = calloc(1, sizeof(*resize));
        if (!resize)
                return -ENOMEM;
        resize->manager = manager;
        resize->message = sd_bus_message_ref(message);
        resize->wish = *wish;
        LIST_INSERT_HEAD(&manager->resizes, resize, entry);
        manager->n_operations++;

        resize->name = strdup(name);
        resize->local = managed ? strdup(managed->image->name) : NULL;
        r = !resize->name || (managed && !resize->local) ? -ENOMEM : 0;
        if (r >= 0)
                r = sd_event_add_time_relative(
                        manager->event, &resize->deadline, CLOCK_MONOTONIC, ANSWER_USEC, 0, on_deadline, resize);
        if (r >= 0)
                r = begin(resize, error);
        if (r < 0) {
                resize_free(resize);
                return r;
        }

        manager_check_idle(manager);
        return 0;
}

void resizes_forget(struct manager *manager) {
        struct resize *resize;

        LIST_FOREACH(resize, &manager->resizes, entry)
                resize->message = sd_bus_message_unref(resize->message);
}

void resizes_free(struct manager *manager) {
        while (!LIST_EMPTY(&manager->resizes))
                resize_free(LIST_FIRST(&manager->resizes));
}
