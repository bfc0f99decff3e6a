/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The state of an image comes from two sources: the worker says how I/O goes, and the supervisor sees what happens to unit, link and device. The table below is for the
 * second; the first applies as it comes while a worker is linked, but for two things: a worker cannot make itself inactive, and while the image is being
 * detached its status no longer tells otherwise.
 *
 * Every setter compares before it announces, so that PropertiesChanged carries exactly what has changed. */

#include <string.h>
#include <time.h>

#include "device-sysfs.h"
#include "host-config.h"
#include "image.h"

static const char *const state_names[_IMAGE_STATE_MAX] = {
        [IMAGE_INACTIVE] = "inactive",
        [IMAGE_ATTACHING] = "attaching",
        [IMAGE_ATTACHED] = "attached",
        [IMAGE_RECONNECTING] = "reconnecting",
        [IMAGE_PARKED] = "parked",
        [IMAGE_DETACHING] = "detaching",
        [IMAGE_FAILED] = "failed",
};

#define STAY (-1)

/* Rows: where the image is. Columns: what happens. */
static const short transitions[_IMAGE_STATE_MAX][_IMAGE_EVENT_MAX] = {
        /*                       START            LINKED           LINK_LOST           DEVICE_FOUND        STOP             STOP_REFUSED        UNIT_STARTED     UNIT_GONE       UNIT_FAILED */
        [IMAGE_INACTIVE] = { IMAGE_ATTACHING, IMAGE_ATTACHING, STAY, IMAGE_RECONNECTING, STAY, STAY, IMAGE_ATTACHING,
                STAY, IMAGE_FAILED },
        [IMAGE_ATTACHING] = { STAY, STAY, STAY, STAY, IMAGE_DETACHING, STAY, STAY, IMAGE_INACTIVE, IMAGE_FAILED },
        [IMAGE_ATTACHED] = { STAY, STAY, IMAGE_RECONNECTING, STAY, IMAGE_DETACHING, STAY, STAY, IMAGE_INACTIVE,
                IMAGE_FAILED },
        [IMAGE_RECONNECTING] = { STAY, STAY, STAY, STAY, IMAGE_DETACHING, STAY, STAY, IMAGE_INACTIVE, IMAGE_FAILED },
        [IMAGE_PARKED] = { STAY, STAY, IMAGE_RECONNECTING, STAY, IMAGE_DETACHING, STAY, STAY, IMAGE_INACTIVE,
                IMAGE_FAILED },
        [IMAGE_DETACHING] = { IMAGE_ATTACHING, IMAGE_ATTACHING, STAY, STAY, STAY, IMAGE_ATTACHED, STAY, IMAGE_INACTIVE,
                IMAGE_FAILED },
        [IMAGE_FAILED] = { IMAGE_ATTACHING, IMAGE_ATTACHING, STAY, STAY, STAY, STAY, IMAGE_ATTACHING, IMAGE_INACTIVE,
                STAY },
};

const char *image_state_to_string(enum image_state state) {
        if (state < 0 || state >= _IMAGE_STATE_MAX)
                return NULL;
        return state_names[state];
}

enum image_state image_state_from_string(const char *text) {
        for (int i = 0; text && i < _IMAGE_STATE_MAX; i++)
                if (strcmp(state_names[i], text) == 0)
                        return i;
        return _IMAGE_STATE_INVALID;
}

static const struct {
        enum image_feature feature;
        const char *name;
} features[] = {
        { IMAGE_FEATURE_LEASE, "lease" },
        { IMAGE_FEATURE_FENCE, "fence" },
        { IMAGE_FEATURE_FLUSH, "flush" },
        { IMAGE_FEATURE_DURABILITY, "durability" },
};

const char *image_feature_to_string(enum image_feature feature) {
        for (size_t i = 0; i < ELEMENTSOF(features); i++)
                if (features[i].feature == feature)
                        return features[i].name;
        return NULL;
}

uint32_t image_feature_from_string(const char *text) {
        for (size_t i = 0; i < ELEMENTSOF(features); i++)
                if (strcmp(features[i].name, text) == 0)
                        return features[i].feature;
        return 0;
}

static void proxies_free(struct image_proxy *proxies, size_t n) {
        for (size_t i = 0; proxies && i < n; i++) {
                free(proxies[i].address);
                free(proxies[i].state);
                free(proxies[i].origin);
        }
        free(proxies);
}

static int proxies_copy(const struct image_proxy *from, size_t n, struct image_proxy **ret) {
        struct image_proxy *copy = calloc(n > 0 ? n : 1, sizeof(*copy));

        if (!copy)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                copy[i] = (struct image_proxy){
                        .address = strdup(from[i].address),
                        .state = strdup(from[i].state),
                        .origin = strdup(from[i].origin),
                        .priority = from[i].priority,
                        .round_trip_usec = from[i].round_trip_usec,
                };
                if (!copy[i].address || !copy[i].state || !copy[i].origin) {
                        proxies_free(copy, i + 1);
                        return -ENOMEM;
                }
        }

        *ret = copy;
        return 0;
}

static bool proxies_equal(const struct image_proxy *a, size_t n_a, const struct image_proxy *b, size_t n_b) {
        if (n_a != n_b)
                return false;

        for (size_t i = 0; i < n_a; i++)
                if (strcmp(a[i].address, b[i].address) != 0 || strcmp(a[i].state, b[i].state) != 0 ||
                        strcmp(a[i].origin, b[i].origin) != 0 || a[i].priority != b[i].priority ||
                        a[i].round_trip_usec != b[i].round_trip_usec)
                        return false;
        return true;
}

static void health_free(struct image_health *health, size_t n) {
        for (size_t i = 0; health && i < n; i++) {
                free(health[i].address);
                free(health[i].reason);
        }
        free(health);
}

static int health_copy(const struct image_health *from, size_t n, struct image_health **ret) {
        struct image_health *copy = calloc(n > 0 ? n : 1, sizeof(*copy));

        if (!copy)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                copy[i] = (struct image_health){
                        .address = strdup(from[i].address),
                        .reason = strdup(from[i].reason),
                        .failures = from[i].failures,
                };
                if (!copy[i].address || !copy[i].reason) {
                        health_free(copy, i + 1);
                        return -ENOMEM;
                }
        }

        *ret = copy;
        return 0;
}

static bool health_equal(const struct image_health *a, size_t n_a, const struct image_health *b, size_t n_b) {
        if (n_a != n_b)
                return false;

        for (size_t i = 0; i < n_a; i++)
                if (strcmp(a[i].address, b[i].address) != 0 || strcmp(a[i].reason, b[i].reason) != 0 ||
                        a[i].failures != b[i].failures)
                        return false;
        return true;
}

/* Shown to people, so by the clock they know. */
static uint64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t) now.tv_sec * 1000000U + (uint64_t) now.tv_nsec / 1000U;
}

int image_new(const char *name, struct image **ret) {
        _cleanup_(image_freep) struct image *image = calloc(1, sizeof(*image));

        if (!image)
                return -ENOMEM;

        image->name = strdup(name);
        image->image_name = strdup(name);
        image->uuid = strdup("");
        image->state_reason = strdup("");
        image->device = strdup("");
        image->active_proxy = strdup("");
        image->standby_proxy = strdup("");
        if (!image->name || !image->image_name || !image->uuid || !image->state_reason || !image->device ||
                !image->active_proxy || !image->standby_proxy)
                return -ENOMEM;
        image->state_since_usec = now_usec();

        *ret = TAKE_PTR(image);
        return 0;
}

struct image *image_free(struct image *image) {
        if (!image)
                return NULL;

        proxies_free(image->proxies, image->n_proxies);
        health_free(image->health, image->n_health);
        free(image->name);
        free(image->image_name);
        free(image->uuid);
        free(image->state_reason);
        free(image->device);
        free(image->active_proxy);
        free(image->standby_proxy);
        free(image);
        return NULL;
}

enum failure image_shown_failure(const struct image *image) {
        if (image->state != IMAGE_FAILED)
                return FAILURE_NONE;
        return image->failure != FAILURE_NONE ? image->failure : FAILURE_INTERNAL;
}

static void announce(struct image *image, uint32_t mask) {
        if (image_shown_failure(image) != image->told_failure) {
                image->told_failure = image_shown_failure(image);
                mask |= IMAGE_FAILURE;
        }
        if (mask && image->changed)
                image->changed(image, mask);
}

/* Replaces a string if it differs. Returns 0 or -ENOMEM; sets bit in *mask when it has changed. */
static int set_string(char **field, const char *value, uint32_t bit, uint32_t *mask) {
        char *copy;

        if (strcmp(*field, value) == 0)
                return 0;

        copy = strdup(value);
        if (!copy)
                return -ENOMEM;

        free(*field);
        *field = copy;
        *mask |= bit;
        return 0;
}

/* since_usec 0: now. */
static void set_state(struct image *image, enum image_state state, uint64_t since_usec, uint32_t *mask) {
        if (image->state != state) {
                image->state = state;
                *mask |= IMAGE_STATE | IMAGE_STATE_SINCE;
                image->state_since_usec = since_usec ?: now_usec();
        } else if (since_usec != 0 && image->state_since_usec != since_usec) {
                image->state_since_usec = since_usec;
                *mask |= IMAGE_STATE_SINCE;
        }
}

bool image_handle_event(struct image *image, enum image_event event, const char *reason) {
        short next = transitions[image->state][event];
        uint32_t mask = 0;

        if (next != STAY)
                set_state(image, (enum image_state) next, 0, &mask);
        /* A reason belongs to a state; out of memory is none to keep the state back. */
        if (next != STAY || reason)
                (void) set_string(&image->state_reason, reason ? reason : "", IMAGE_STATE_REASON, &mask);

        announce(image, mask);
        return next != STAY;
}

bool image_fail(struct image *image, enum failure failure, const char *reason) {
        image->failure = failure;
        return image_handle_event(image, IMAGE_EVENT_UNIT_FAILED, reason);
}

static bool string_is_valid(const char *text) {
        return !text || strlen(text) <= IMAGE_STRING_MAX;
}

static bool status_is_valid(const struct image_status *status) {
        if (!string_is_valid(status->state_reason) || !string_is_valid(status->image_name) ||
                !string_is_valid(status->active_proxy) || !string_is_valid(status->standby_proxy))
                return false;
        if (status->uuid && *status->uuid && !device_uuid_is_valid(status->uuid))
                return false;
        if (status->n_proxies > IMAGE_PROXIES_MAX || status->n_health > IMAGE_PROXIES_MAX)
                return false;
        for (size_t i = 0; i < status->n_health; i++)
                if (!string_is_valid(status->health[i].address) || !string_is_valid(status->health[i].reason))
                        return false;
        for (size_t i = 0; i < status->n_proxies; i++)
                if (!string_is_valid(status->proxies[i].address) || !string_is_valid(status->proxies[i].state) ||
                        !string_is_valid(status->proxies[i].origin))
                        return false;
        return true;
}

static bool worker_may_say(const struct image *image, enum image_state state) {
        if (state < 0 || state >= _IMAGE_STATE_MAX || state == IMAGE_INACTIVE)
                return false;
        return image->state != IMAGE_DETACHING || state == IMAGE_DETACHING || state == IMAGE_FAILED;
}

int image_apply_status(struct image *image, const struct image_status *status) {
        enum image_state state = status->state;
        uint32_t mask = 0;
        int r = 0;

        /* To a new worker everything is new; who uses the device has been waiting for it. */
        if (state == IMAGE_ATTACHING && image->state == IMAGE_RECONNECTING && *image->device)
                state = IMAGE_RECONNECTING;

        if (!status_is_valid(status))
                return -EINVAL;

        if ((status->mask & IMAGE_PROXIES) &&
                !proxies_equal(image->proxies, image->n_proxies, status->proxies, status->n_proxies)) {
                struct image_proxy *copy;

                r = proxies_copy(status->proxies, status->n_proxies, &copy);
                if (r < 0)
                        return r;
                proxies_free(image->proxies, image->n_proxies);
                image->proxies = copy;
                image->n_proxies = status->n_proxies;
                mask |= IMAGE_PROXIES;
        }

        if ((status->mask & IMAGE_PROXY_HEALTH) &&
                !health_equal(image->health, image->n_health, status->health, status->n_health)) {
                struct image_health *copy;

                r = health_copy(status->health, status->n_health, &copy);
                if (r < 0)
                        return r;
                health_free(image->health, image->n_health);
                image->health = copy;
                image->n_health = status->n_health;
                mask |= IMAGE_PROXY_HEALTH;
        }

        if (worker_may_say(image, state)) {
                if (image->state != state && !status->state_reason)
                        r = set_string(&image->state_reason, "", IMAGE_STATE_REASON, &mask);
                /* Where its word was not taken, its time is not either. */
                set_state(image, state, state == status->state ? status->state_since_usec : 0, &mask);
        }
        if (r >= 0 && status->state_reason)
                r = set_string(&image->state_reason, status->state_reason, IMAGE_STATE_REASON, &mask);
        if (r >= 0 && status->image_name)
                r = set_string(&image->image_name, status->image_name, IMAGE_IMAGE_NAME, &mask);
        if (r >= 0 && status->uuid)
                r = set_string(&image->uuid, status->uuid, IMAGE_UUID, &mask);
        if (r >= 0 && status->active_proxy)
                r = set_string(&image->active_proxy, status->active_proxy, IMAGE_ACTIVE_PROXY, &mask);

        if (r >= 0 && status->standby_proxy)
                r = set_string(&image->standby_proxy, status->standby_proxy, IMAGE_STANDBY_PROXY, &mask);

        if ((status->mask & IMAGE_SESSIONS) && image->n_sessions != status->n_sessions) {
                image->n_sessions = status->n_sessions;
                mask |= IMAGE_SESSIONS;
        }
        if ((status->mask & IMAGE_MISSING_FEATURES) && image->missing_features != status->missing_features) {
                image->missing_features = status->missing_features;
                mask |= IMAGE_MISSING_FEATURES;
        }
        if ((status->mask & IMAGE_SIZE) && image->size != status->size) {
                image->size = status->size;
                mask |= IMAGE_SIZE;
        }
        if ((status->mask & IMAGE_READ_ONLY) && image->read_only != status->read_only) {
                image->read_only = status->read_only;
                mask |= IMAGE_READ_ONLY;
        }
        if ((status->mask & IMAGE_FAILOVERS) && image->failovers != status->failovers) {
                image->failovers = status->failovers;
                mask |= IMAGE_FAILOVERS;
        }
        if (status->failure != FAILURE_NONE)
                image->failure = status->failure;
        image->counters = status->counters;

        announce(image, mask);
        return r < 0 ? r : 0;
}

int image_set_device(struct image *image, const char *device) {
        uint32_t mask = 0;
        int r = set_string(&image->device, device, IMAGE_DEVICE, &mask);

        announce(image, mask);
        return r;
}

void image_set_owner(struct image *image, uint32_t uid) {
        uint32_t mask = image->owner_uid != uid ? IMAGE_OWNER : 0;

        image->owner_uid = uid;
        announce(image, mask);
}

void image_set_detach_pending(struct image *image, bool pending) {
        uint32_t mask = image->detach_pending != pending ? IMAGE_DETACH_PENDING : 0;

        image->detach_pending = pending;
        announce(image, mask);
}

int image_set_reason(struct image *image, const char *reason) {
        uint32_t mask = 0;
        int r = set_string(&image->state_reason, reason, IMAGE_STATE_REASON, &mask);

        announce(image, mask);
        return r;
}

int image_set_configuration(struct image *image, bool configured, const char *image_name, bool read_only) {
        uint32_t mask = 0;
        int r = 0;

        if (image->configured != configured) {
                image->configured = configured;
                mask |= IMAGE_CONFIGURED;
        }

        /* While a worker serves the image, it is what the worker says, whatever the file says by now. */
        if (!image->linked && (image->state == IMAGE_INACTIVE || image->state == IMAGE_FAILED)) {
                if (image_name)
                        r = set_string(&image->image_name, image_name, IMAGE_IMAGE_NAME, &mask);
                if (image->read_only != read_only) {
                        image->read_only = read_only;
                        mask |= IMAGE_READ_ONLY;
                }
        }

        announce(image, mask);
        return r;
}

void image_forget_worker(struct image *image) {
        uint32_t mask = 0;

        if (image->n_proxies > 0) {
                proxies_free(image->proxies, image->n_proxies);
                image->proxies = NULL;
                image->n_proxies = 0;
                mask |= IMAGE_PROXIES;
        }
        if (image->n_health > 0) {
                health_free(image->health, image->n_health);
                image->health = NULL;
                image->n_health = 0;
                mask |= IMAGE_PROXY_HEALTH;
        }
        if (image->size != 0) {
                image->size = 0;
                mask |= IMAGE_SIZE;
        }
        if (image->n_sessions != 0) {
                image->n_sessions = 0;
                mask |= IMAGE_SESSIONS;
        }
        if (image->missing_features != 0) {
                image->missing_features = 0;
                mask |= IMAGE_MISSING_FEATURES;
        }
        if (*image->standby_proxy) {
                *image->standby_proxy = 0;
                mask |= IMAGE_STANDBY_PROXY;
        }
        if (image->failovers != 0) {
                image->failovers = 0;
                mask |= IMAGE_FAILOVERS;
        }
        if (*image->active_proxy) {
                *image->active_proxy = 0;
                mask |= IMAGE_ACTIVE_PROXY;
        }
        if (*image->uuid) {
                *image->uuid = 0;
                mask |= IMAGE_UUID;
        }
        image->counters = (struct image_counters){};

        announce(image, mask);
}

bool image_is_forgettable(const struct image *image) {
        return image->state == IMAGE_INACTIVE && !image->configured && !image->linked && !*image->device;
}
