/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A device goes through phases, one step at a time:
 *
 *      connect:     [absent]  connecting -> settling -> present         (settling failed: undoing -> absent)
 *      reconnect:   [present] pausing -> reconfiguring -> present
 *      another's:   [present] clearing -> unsettling -> connecting ...
 *      disconnect:  [present] disconnecting -> unsettling -> absent
 *      check:       [present] checking -> present
 *      waiting:     [present] timing -> present
 *      resize:      [present] resizing -> present
 *      abandon:     [present] abandoning -> present, or absent if nobody held it any more
 *
 * A device is "another's" when it goes by this image's name but differs in UUID, in write protection, or is larger than the image: such a one is never given the new
 * connection, for its cached pages are not those of this image. It is disconnected first, if nobody holds it.
 *
 * A CONNECT that the kernel does not finish in time is reported as failed, and the device counts as busy until the call has ended: it may have made the device in the end, and a second one beside it would make a
 * second device of the same name. Other calls need no such care, and must not be waited for: what they hang on may be the very I/O that only a new connection brings on.
 *
 * Before RECONFIGURE there is a pause: the kernel replaces only a socket that it already holds dead, its reader needs a moment to notice, and a late reader marks dead
 * whatever socket it finds. The kernel reports success either way; that the worker's end does not hang up is what tells it the truth. */

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "device.h"
#include "device-child.h"
#include "device-settle.h"
#include "device-sysfs.h"
#include "device-work.h"
#include "fault-point.h"
#include "nbd.h"

#define SYSFS                   "/sys"
#define PAUSE_USEC              (60U * 1000U)
#define CONNECT_TIMEOUT_USEC    (10U * 1000U * 1000U)
#define DISCONNECT_TIMEOUT_USEC (60U * 1000U * 1000U) /* includes the flush of all that is cached */
#define CHECK_TIMEOUT_USEC      (5U * 1000U * 1000U)
#define RESIZE_TIMEOUT_USEC     (20U * 1000U * 1000U) /* a smaller one is flushed */
#define TIMER_TIMEOUT_USEC      (60U * 1000U * 1000U)
#define SETTLE_TIMEOUT_USEC     (15U * 1000U * 1000U)
#define SETTLE_BUSY_USEC        (45U * 1000U * 1000U) /* ... and more, while udev is at work */

enum phase {
        PHASE_ABSENT,
        PHASE_CONNECTING,
        PHASE_SETTLING,
        PHASE_PRESENT,
        PHASE_PAUSING,
        PHASE_RECONFIGURING,
        PHASE_CLEARING,
        PHASE_DISCONNECTING,
        PHASE_UNSETTLING,
        PHASE_UNDOING,
        PHASE_CHECKING,
        PHASE_TIMING,
        PHASE_RESIZING,
        PHASE_ABANDONING,
        _PHASE_MAX,
};

static const char *const phase_names[_PHASE_MAX] = {
        [PHASE_ABSENT] = "absent",
        [PHASE_CONNECTING] = "connecting",
        [PHASE_SETTLING] = "settling",
        [PHASE_PRESENT] = "present",
        [PHASE_PAUSING] = "pausing",
        [PHASE_RECONFIGURING] = "reconfiguring",
        [PHASE_CLEARING] = "clearing",
        [PHASE_DISCONNECTING] = "disconnecting",
        [PHASE_UNSETTLING] = "unsettling",
        [PHASE_UNDOING] = "undoing",
        [PHASE_CHECKING] = "checking",
        [PHASE_TIMING] = "timing",
        [PHASE_RESIZING] = "resizing",
        [PHASE_ABANDONING] = "abandoning",
};

struct device {
        sd_event *event;
        char *name;
        enum phase phase;

        bool exists;
        uint32_t index;
        char *uuid; /* of what exists */

        /* the operation that is under way */
        device_done_t done;
        void *userdata;
        struct device_parameters wanted;
        int socket;
        bool unserved;      /* disconnecting: if it cannot be opened, it is disconnected without that */
        bool waiting;       /* timing: what to set */
        bool was_waiting;   /* ... the last time */
        bool connect_after; /* what is being cleared makes room */
        struct device_child *child;
        struct device_child *stuck; /* a CONNECT that was killed at its deadline, and has not ended */
        void (*freed)(void *userdata);
        void *freed_userdata;
        struct device_child *timer; /* beside whatever else is under way: see device_work_set_timer() */
        struct device_settle *settle;
        sd_event_source *pause;
        enum failure failure; /* what undoing ends with */
        char message[1280];
};

int device_new(sd_event *event, const char *name, void (*freed)(void *userdata), void *userdata, struct device **ret) {
        _cleanup_(device_freep) struct device *device = calloc(1, sizeof(*device));

        if (!device)
                return -ENOMEM;
        *device = (struct device){
                .event = sd_event_ref(event),
                .freed = freed,
                .freed_userdata = userdata,
                .socket = -EBADF,
        };

        device->name = strdup(name);
        if (!device->name)
                return -ENOMEM;

        *ret = TAKE_PTR(device);
        return 0;
}

/* Everything that belongs to a step, but not the result. */
static void release_step(struct device *device) {
        device->child = device_child_free(device->child);
        device->settle = device_settle_free(device->settle);
        device->pause = sd_event_source_disable_unref(device->pause);
}

struct device *device_free(struct device *device) {
        if (!device)
                return NULL;

        release_step(device);
        device_child_free(device->stuck);
        device_child_free(device->timer);
        safe_close(device->socket);
        sd_event_unref(device->event);
        free(device->name);
        free(device->uuid);
        free(device);
        return NULL;
}

static void set_existing(struct device *device, bool exists, uint32_t index, char *uuid) {
        free(device->uuid);
        device->exists = exists;
        device->index = index;
        device->uuid = uuid;
}

int device_discover(struct device *device) {
        struct device_found *found = NULL;
        size_t n = 0;
        int r;

        r = device_sysfs_list(SYSFS, &found, &n);
        if (r < 0)
                return r;

        set_existing(device, false, 0, NULL);
        for (size_t i = 0; i < n && !device->exists; i++)
                if (strcmp(found[i].name, device->name) == 0)
                        set_existing(device, true, found[i].index, TAKE_PTR(found[i].uuid));

        device_found_free_many(found, n);
        if (device->phase == PHASE_ABSENT || device->phase == PHASE_PRESENT)
                device->phase = device->exists ? PHASE_PRESENT : PHASE_ABSENT;
        return device->exists;
}

bool device_exists(const struct device *device) {
        return device->exists;
}

bool device_is_busy(const struct device *device) {
        return device->stuck || (device->phase != PHASE_ABSENT && device->phase != PHASE_PRESENT);
}

uint32_t device_index(const struct device *device) {
        return device->index;
}

const char *device_uuid(const struct device *device) {
        return device->uuid;
}

const char *device_phase(const struct device *device) {
        return phase_names[device->phase];
}

const char *device_parameters_check(const struct device_parameters *parameters) {
        if (parameters->block_size < 512 || parameters->block_size > 4096 ||
                (parameters->block_size & (parameters->block_size - 1)) != 0)
                return "the block size must be a power of two from 512 to 4096";
        if (parameters->size == 0 || parameters->size > INT64_MAX)
                return "the size must be from 1 to 2^63-1 bytes";
        if (parameters->size % parameters->block_size != 0)
                return "the size must be a multiple of the block size";
        if (parameters->flags > UINT16_MAX || !(parameters->flags & NBD_FLAG_HAS_FLAGS))
                return "the flags are not NBD transmission flags";
        if (!device_uuid_is_valid(parameters->uuid))
                return "the UUID is not one";
        return NULL;
}

static void finish(struct device *device, enum failure failure, const char *message) {
        device_done_t done = device->done;
        char copy[sizeof(device->message)];

        (void) snprintf(copy, sizeof(copy), "%s", message ? message : "");
        release_step(device);
        device->socket = safe_close(device->socket);
        device->connect_after = false;
        device->phase = device->exists ? PHASE_PRESENT : PHASE_ABSENT;
        device->done = NULL;

        if (done)
                done(failure, copy, device->userdata); /* may free us */
}

static void fail(struct device *device, enum failure failure, const char *format, ...) _printf_(3, 4);

static void fail(struct device *device, enum failure failure, const char *format, ...) {
        char message[sizeof(device->message)];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);
        finish(device, failure, message);
}

/* What a child's error means to a user. */
static enum failure explain(const struct device *device, const struct device_result *result, char *text, size_t size) {
        switch (result->error) {
        case -ENOPROTOOPT:
                (void) snprintf(text, size, "The kernel has no NBD: load its module with \"modprobe nbd\"");
                return FAILURE_SYSTEM;
        case -ETIMEDOUT:
                (void) snprintf(text, size, "The kernel did not finish %s the device of %s in time",
                        phase_names[device->phase], device->name);
                return FAILURE_TIMEOUT;
        case -EBUSY:
                (void) snprintf(text, size, "/dev/nbd%u of image %s is in use: %s", result->index, device->name,
                        result->text[0] ? result->text : "it is not said by whom");
                return FAILURE_BUSY;
        case -ENODEV:
                (void) snprintf(text, size, "The device of %s has gone", device->name);
                return FAILURE_NOT_ATTACHED;
        case -EPERM:
        case -EACCES:
                (void) snprintf(text, size,
                        "%s: the supervisor lacks the right (CAP_SYS_ADMIN and DeviceAllow= of blockstored.service)",
                        result->text[0] ? result->text : "/dev/nbd* cannot be opened");
                return FAILURE_SYSTEM;
        case -EIO:
                (void) snprintf(text, size, "%s: %s", result->text[0] ? result->text : device->name, strerror(EIO));
                return FAILURE_IO;
        default:
                (void) snprintf(text, size, "%s (%s the device of %s): %s",
                        result->text[0] ? result->text : "The operation failed", phase_names[device->phase],
                        device->name, strerror(-result->error));
                return FAILURE_SYSTEM;
        }
}

static void on_child(const struct device_result *result, void *userdata);

/* Starts the child of a phase. What the work points to is copied by the fork. */
static int run(struct device *device, enum phase phase, device_work_t function, bool flush, sd_id128_t trigger,
        uint64_t timeout_usec) {
        const char *uuid = phase == PHASE_CONNECTING ? device->wanted.uuid : device->uuid;
        char identity[DEVICE_NBD_IDENTITY_MAX];
        struct device_work work;
        int r;

        (void) snprintf(identity, sizeof(identity), "%s/%s", device->name, uuid);
        work = (struct device_work){
                .name = device->name,
                .index = device->index,
                .trigger = trigger,
                .waiting = device->waiting,
                .was_waiting = device->was_waiting,
                .flush = flush,
                .setup = {
                        .size = device->wanted.size,
                        .block_size = device->wanted.block_size,
                        .flags = device->wanted.flags,
                        .identity = identity,
                        .socket = device->socket,
                },
        };

        release_step(device);
        r = device_child_start(
                device->event, function, &work, device->socket, timeout_usec, on_child, device, &device->child);
        if (r < 0)
                return r;

        device->phase = phase;
        return 0;
}

/* The same for phases whose change udev is to see. */
static int run_and_settle(
        struct device *device, enum phase phase, device_work_t function, bool flush, uint64_t timeout_usec) {
        struct device_settle *settle = NULL;
        sd_id128_t trigger;
        int r;

        r = sd_id128_randomize(&trigger);
        if (r < 0)
                return r;

        r = device_settle_new(device->event, device->name, trigger, phase == PHASE_CONNECTING, &settle);
        if (r < 0)
                return r;

        r = run(device, phase, function, flush, trigger, timeout_usec);
        if (r < 0) {
                device_settle_free(settle);
                return r;
        }

        device->settle = settle;
        return 0;
}

static void start_failed(struct device *device, int error) {
        fail(device, error == -EAGAIN ? FAILURE_BUSY : FAILURE_INTERNAL,
                "The work on the device of %s could not be started: %s", device->name,
                error == -EAGAIN ? "too many are under way or stuck in the kernel" : strerror(-error));
}

/* Leaves nothing half-done: what was made, or may have been, is disconnected before the failure is reported. */
static void undo(struct device *device, enum failure failure, const char *message) {
        device->failure = failure;
        (void) snprintf(device->message, sizeof(device->message), "%s", message);

        device->unserved = true;
        release_step(device);
        if (device_discover(device) > 0 && !device->stuck &&
                run_and_settle(device, PHASE_UNDOING, device_work_disconnect, false, CHECK_TIMEOUT_USEC) >= 0)
                return;

        finish(device, failure, message);
}

static void on_settled(int error, void *userdata) {
        struct device *device = userdata;
        char message[512];

        if (device->phase == PHASE_UNSETTLING) {
                /* The device is gone, only its link may be left; udev puts that right when it gets round to it. */
                if (device->connect_after) {
                        device->connect_after = false;
                        error = run_and_settle(
                                device, PHASE_CONNECTING, device_work_connect, false, CONNECT_TIMEOUT_USEC);
                        if (error < 0)
                                start_failed(device, error);
                        return;
                }
                finish(device, FAILURE_NONE, NULL);
                return;
        }

        if (error == 0) {
                finish(device, FAILURE_NONE, NULL);
                return;
        }

        if (error == -ENOENT)
                (void) snprintf(message, sizeof(message),
                        "udev did not make /dev/blockstore/%s: is 65-blockstore.rules installed, and not overridden?",
                        device->name);
        else
                (void) snprintf(message, sizeof(message),
                        "udev has not processed /dev/nbd%u in time: is systemd-udevd running, or is one of its rules "
                        "stuck?",
                        device->index);
        undo(device, error == -ENOENT ? FAILURE_SYSTEM : FAILURE_TIMEOUT, message);
}

static void wait_for_udev(struct device *device, enum phase phase) {
        int r;

        device->phase = phase;
        /* What is gone is gone, whenever udev gets round to it. */
        r = device_settle_wait(device->settle, device->index, SETTLE_TIMEOUT_USEC,
                phase == PHASE_SETTLING ? SETTLE_BUSY_USEC : 0, on_settled, device);
        if (r < 0)
                start_failed(device, r);
}

static void on_connected(struct device *device, const struct device_result *result) {
        char message[1280], *uuid;
        enum failure failure;

        if (result->error < 0) {
                failure = explain(device, result, message, sizeof(message));
                if (result->error == -ENOPROTOOPT)
                        finish(device, failure, message);
                else
                        undo(device, failure, message);
                return;
        }

        uuid = strdup(device->wanted.uuid);
        if (!uuid) {
                undo(device, FAILURE_INTERNAL, "Out of memory");
                return;
        }
        set_existing(device, true, result->index, uuid);
        /* From here on only the kernel holds this end: the worker's end hangs up when the kernel lets go. */
        device->socket = safe_close(device->socket);
        wait_for_udev(device, PHASE_SETTLING);
}

static void on_timer_set(const struct device_result *result, void *userdata) {
        struct device *device = userdata;

        /* On failure a request that is lost with its worker comes back later than it could; the next time tries again. */
        device->timer = NULL;
}

static void set_timer(struct device *device) {
        char identity[DEVICE_NBD_IDENTITY_MAX];
        struct device_work work = { .name = device->name, .index = device->index, .setup.identity = identity };

        if (device->timer)
                return; /* still waits, and will do it */

        (void) snprintf(identity, sizeof(identity), "%s/%s", device->name, device->uuid);
        (void) device_child_start(device->event, device_work_set_timer, &work, -EBADF, TIMER_TIMEOUT_USEC,
                on_timer_set, device, &device->timer);
}

static void on_late(void *userdata) {
        struct device *device = userdata;
        int r;

        device->stuck = NULL;
        r = device_discover(device);
        (void) r;                              /* what was known stays */
        device->freed(device->freed_userdata); /* may free us */
}

static bool go_without_opening(struct device *device) {
        if (!device->unserved)
                return false;
        device->unserved = false;
        return run_and_settle(device, device->phase, device_work_disconnect_unserved, false, CHECK_TIMEOUT_USEC) >= 0;
}

static void on_child(const struct device_result *result, void *userdata) {
        struct device *device = userdata;
        char message[1280] = "";
        enum failure failure = FAILURE_NONE;

        if (result->error == -ETIMEDOUT && device->phase == PHASE_CONNECTING) {
                device->stuck = device->child;
                device_child_watch(device->stuck, on_late, device);
        }
        device->child = NULL;
        if (device->phase == PHASE_CONNECTING)
                fault_point("device-connected");
        if (device->phase == PHASE_RECONFIGURING)
                fault_point("device-reconfigured");

        switch (device->phase) {
        case PHASE_CONNECTING:
                on_connected(device, result);
                return;

        case PHASE_UNDOING:
                if (result->error == -ETIMEDOUT && go_without_opening(device))
                        return;
                (void) device_discover(device);
                (void) snprintf(message, sizeof(message), "%s", device->message);
                finish(device, device->failure, message);
                return;

        case PHASE_CLEARING:
        case PHASE_DISCONNECTING:
                if (result->error == -ETIMEDOUT && go_without_opening(device))
                        return;
                if (result->error == 0 || result->error == -ENODEV) {
                        set_existing(device, false, device->index, NULL);
                        if (result->error == 0) {
                                wait_for_udev(device, PHASE_UNSETTLING);
                                return;
                        }
                        device->phase = PHASE_UNSETTLING;
                        on_settled(0, device);
                        return;
                }
                break;

        case PHASE_RECONFIGURING:
        case PHASE_RESIZING:
                break;

        case PHASE_TIMING:
                if (result->error == 0) {
                        device->was_waiting = device->waiting;
                        if (!device->waiting)
                                set_timer(device);
                }
                break;

        case PHASE_ABANDONING:
                (void) device_discover(device);
                break;

        case PHASE_CHECKING:
                break;

        case PHASE_ABSENT:
        case PHASE_SETTLING:
        case PHASE_PRESENT:
        case PHASE_PAUSING:
        case PHASE_UNSETTLING:
        case _PHASE_MAX:
                return;
        }

        if (result->error < 0)
                failure = explain(device, result, message, sizeof(message));
        if (result->error == -ENODEV || result->error == -ETIMEDOUT) {
                int r = device_discover(device);

                (void) r; /* what was known stays */
        }
        finish(device, failure, message);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata) {
        struct device *device = userdata;
        uint64_t size;
        int r;

        fault_point("device-paused");
        /* The size goes along only when it changes: the kernel takes any SIZE_BYTES as a resize. */
        r = device_sysfs_size(SYSFS, device->index, &size);
        if (r >= 0 && size == device->wanted.size)
                device->wanted.size = 0;

        r = run(device, PHASE_RECONFIGURING, device_work_reconfigure, false, SD_ID128_NULL, CONNECT_TIMEOUT_USEC);
        if (r < 0)
                start_failed(device, r);
        return 0;
}

/* Whether what the kernel has can take the new connection. */
static bool is_same_device(struct device *device) {
        uint64_t size;
        bool read_only;

        return strcasecmp(device->uuid, device->wanted.uuid) == 0 &&
               device_sysfs_size(SYSFS, device->index, &size) >= 0 && size <= device->wanted.size &&
               device_sysfs_read_only(SYSFS, device->index, &read_only) >= 0 &&
               read_only == !!(device->wanted.flags & NBD_FLAG_READ_ONLY);
}

/* What has begun ends with done(). */
static int begun(struct device *device, int r, device_done_t done, void *userdata) {
        if (r < 0)
                return r;
        device->done = done;
        device->userdata = userdata;
        return 0;
}

/* 0, or a negative errno: -EBUSY, something is under way; -ENODEV, the kernel has no such device. */
static int find_idle(struct device *device) {
        int r;

        if (device_is_busy(device))
                return -EBUSY;

        r = device_discover(device);
        if (r < 0)
                return r;
        return r == 0 ? -ENODEV : 0;
}

int device_connect(struct device *device, const struct device_parameters *parameters, int socket, device_done_t done,
        void *userdata) {
        _cleanup_close_ int owned = socket;
        int r;

        if (device_is_busy(device))
                return -EBUSY;

        r = device_discover(device);
        if (r < 0)
                return r;

        device->wanted = *parameters;
        device->socket = TAKE_FD(owned);
        device->unserved = false;

        if (!device->exists)
                r = run_and_settle(device, PHASE_CONNECTING, device_work_connect, false, CONNECT_TIMEOUT_USEC);
        else if (is_same_device(device)) {
                r = sd_event_add_time_relative(
                        device->event, &device->pause, CLOCK_MONOTONIC, PAUSE_USEC, 1, on_pause_over, device);
                if (r >= 0)
                        device->phase = PHASE_PAUSING;
        } else {
                r = run_and_settle(device, PHASE_CLEARING, device_work_disconnect, false, CHECK_TIMEOUT_USEC);
                if (r >= 0)
                        device->connect_after = true;
        }
        if (r < 0)
                device->socket = safe_close(device->socket);
        return begun(device, r, done, userdata);
}

int device_disconnect(struct device *device, bool flush, device_done_t done, void *userdata) {
        int r = find_idle(device);

        if (r >= 0) {
                r = run_and_settle(device, PHASE_DISCONNECTING, device_work_disconnect, flush,
                        flush ? DISCONNECT_TIMEOUT_USEC : CHECK_TIMEOUT_USEC);
                device->unserved = !flush;
        }
        return begun(device, r, done, userdata);
}

int device_check_unheld(struct device *device, device_done_t done, void *userdata) {
        int r = find_idle(device);

        if (r >= 0)
                r = run(device, PHASE_CHECKING, device_work_check, false, SD_ID128_NULL, CHECK_TIMEOUT_USEC);
        return begun(device, r, done, userdata);
}

int device_resize(struct device *device, uint64_t size, device_done_t done, void *userdata) {
        int r = find_idle(device);

        if (r >= 0) {
                device->wanted.size = size;
                r = run(device, PHASE_RESIZING, device_work_resize, false, SD_ID128_NULL, RESIZE_TIMEOUT_USEC);
        }
        return begun(device, r, done, userdata);
}

int device_set_waiting(struct device *device, bool waiting, device_done_t done, void *userdata) {
        int r = find_idle(device);

        if (r >= 0) {
                device->waiting = waiting;
                device->was_waiting |= waiting;
                r = run(device, PHASE_TIMING, device_work_set_waiting, false, SD_ID128_NULL, CHECK_TIMEOUT_USEC);
        }
        return begun(device, r, done, userdata);
}

int device_abandon(struct device *device, device_done_t done, void *userdata) {
        int r = find_idle(device);

        if (r >= 0)
                r = run(device, PHASE_ABANDONING, device_work_abandon, false, SD_ID128_NULL, CHECK_TIMEOUT_USEC);
        return begun(device, r, done, userdata);
}
