/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.blockstore.Image: an image's face on the bus. Properties are read from the model as it is; changes are announced by what the model said has changed, gathered over one
 * turn of the loop, so that a status of ten properties is one signal. */

#include <errno.h>
#include <string.h>

#include "latency-bus.h"
#include "manager.h"
#include "peer-bus.h"

#define IMAGE_OF(userdata) (((struct managed *) (userdata))->image)

#define DEFINE_STRING_GETTER(function, expression)                                                      \
        static int function(sd_bus *bus, const char *path, const char *interface, const char *property, \
                sd_bus_message *reply, void *userdata, sd_bus_error *error) {                           \
                return sd_bus_message_append(reply, "s", expression);                                   \
        }                                                                                               \
        struct _swallow_semicolon_

#define DEFINE_NUMBER_GETTER(function, type, expression)                                                \
        static int function(sd_bus *bus, const char *path, const char *interface, const char *property, \
                sd_bus_message *reply, void *userdata, sd_bus_error *error) {                           \
                return sd_bus_message_append(reply, type, expression);                                  \
        }                                                                                               \
        struct _swallow_semicolon_

DEFINE_STRING_GETTER(get_name, IMAGE_OF(userdata)->name);
DEFINE_STRING_GETTER(get_image_name, IMAGE_OF(userdata)->image_name);
DEFINE_STRING_GETTER(get_uuid, IMAGE_OF(userdata)->uuid);
DEFINE_STRING_GETTER(get_state, image_state_to_string(IMAGE_OF(userdata)->state));
DEFINE_STRING_GETTER(get_state_reason, IMAGE_OF(userdata)->state_reason);
DEFINE_STRING_GETTER(get_device, IMAGE_OF(userdata)->device);
DEFINE_STRING_GETTER(get_unit, ((struct managed *) userdata)->service);
DEFINE_STRING_GETTER(get_active_proxy, IMAGE_OF(userdata)->active_proxy);
DEFINE_STRING_GETTER(get_standby_proxy, IMAGE_OF(userdata)->standby_proxy);
DEFINE_NUMBER_GETTER(get_state_since, "t", IMAGE_OF(userdata)->state_since_usec);
DEFINE_NUMBER_GETTER(get_sessions, "u", IMAGE_OF(userdata)->n_sessions);
DEFINE_NUMBER_GETTER(get_size, "t", IMAGE_OF(userdata)->size);
DEFINE_NUMBER_GETTER(get_failovers, "t", IMAGE_OF(userdata)->failovers);
DEFINE_NUMBER_GETTER(get_read_only, "b", (int) IMAGE_OF(userdata)->read_only);
DEFINE_NUMBER_GETTER(get_owner, "u", IMAGE_OF(userdata)->owner_uid);
DEFINE_NUMBER_GETTER(get_detach_pending, "b", (int) IMAGE_OF(userdata)->detach_pending);
DEFINE_NUMBER_GETTER(get_configured, "b", (int) IMAGE_OF(userdata)->configured);
DEFINE_NUMBER_GETTER(get_read_operations, "t", IMAGE_OF(userdata)->counters.read_operations);
DEFINE_NUMBER_GETTER(get_write_operations, "t", IMAGE_OF(userdata)->counters.write_operations);
DEFINE_NUMBER_GETTER(get_flush_operations, "t", IMAGE_OF(userdata)->counters.flush_operations);
DEFINE_NUMBER_GETTER(get_read_bytes, "t", IMAGE_OF(userdata)->counters.read_bytes);
DEFINE_NUMBER_GETTER(get_written_bytes, "t", IMAGE_OF(userdata)->counters.written_bytes);
DEFINE_NUMBER_GETTER(get_errors, "t", IMAGE_OF(userdata)->counters.errors);
DEFINE_NUMBER_GETTER(get_latency, "t", IMAGE_OF(userdata)->counters.latency_usec);
DEFINE_NUMBER_GETTER(get_retained_bytes, "t", IMAGE_OF(userdata)->counters.retained_bytes);
DEFINE_NUMBER_GETTER(get_reconnects, "t", IMAGE_OF(userdata)->counters.reconnects);
DEFINE_NUMBER_GETTER(get_stalls, "t", IMAGE_OF(userdata)->counters.stalls);
DEFINE_NUMBER_GETTER(get_longest_stall, "t", IMAGE_OF(userdata)->counters.longest_stall_usec);
DEFINE_NUMBER_GETTER(get_stalled, "t", IMAGE_OF(userdata)->counters.stalled_usec);
DEFINE_NUMBER_GETTER(get_in_flight, "u", IMAGE_OF(userdata)->counters.in_flight);

#define DEFINE_LATENCY_GETTER(function, member)                                                         \
        static int function(sd_bus *bus, const char *path, const char *interface, const char *property, \
                sd_bus_message *reply, void *userdata, sd_bus_error *error) {                           \
                return latency_append(reply, &IMAGE_OF(userdata)->counters.member);                     \
        }                                                                                               \
        struct _swallow_semicolon_

DEFINE_LATENCY_GETTER(get_read_latency, read_latency);
DEFINE_LATENCY_GETTER(get_write_latency, write_latency);
DEFINE_LATENCY_GETTER(get_flush_latency, flush_latency);

static int get_failure(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        enum failure failure = image_shown_failure(IMAGE_OF(userdata));

        return sd_bus_message_append(reply, "s", failure == FAILURE_NONE ? "" : failure_lookup(failure)->bus_name);
}

static int get_proxies(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const struct image *image = IMAGE_OF(userdata);
        int r;

        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "(susts)");
        for (size_t i = 0; r >= 0 && i < image->n_proxies; i++) {
                const struct image_proxy *proxy = image->proxies + i;

                r = sd_bus_message_append(reply, "(susts)", proxy->address, proxy->priority, proxy->state,
                        proxy->round_trip_usec, proxy->origin);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_proxy_health(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const struct image *image = IMAGE_OF(userdata);
        int r;

        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "(sus)");
        for (size_t i = 0; r >= 0 && i < image->n_health; i++)
                r = sd_bus_message_append(
                        reply, "(sus)", image->health[i].address, image->health[i].failures, image->health[i].reason);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_missing_features(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const struct image *image = IMAGE_OF(userdata);
        int r;

        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "s");
        for (uint32_t bit = 1; r >= 0 && bit != 0; bit <<= 1)
                if (image->missing_features & bit)
                        r = sd_bus_message_append(reply, "s", image_feature_to_string((enum image_feature) bit));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* Both may run a second time, after polkit has answered; the image may have gone in between, so it is looked up by the path each time. */
static int find_called(struct manager *manager, sd_bus_message *message, struct managed **ret, sd_bus_error *error) {
        _cleanup_free_ char *name = NULL;
        struct managed *managed = NULL;
        int r;

        r = sd_bus_path_decode(sd_bus_message_get_path(message), IMAGE_PATH, &name);
        if (r < 0)
                return r;
        if (r > 0)
                managed = manager_find(manager, name);
        if (!managed)
                return peer_bus_error_set(
                        error, FAILURE_NO_SUCH_IMAGE, "The image is not known on this host any more");

        *ret = managed;
        return 0;
}

static int attach_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct attach_options options = { .read_only = -1 };
        struct manager *manager = userdata;
        struct managed *managed = NULL;
        int r;

        r = bouncer_check(manager->bouncer, message, attach_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = find_called(manager, message, &managed, error);
        if (r >= 0)
                r = attach_options_read(message, &options, error);
        if (r >= 0)
                r = managed_attach(managed, &options, bouncer_caller(manager->bouncer, message), message, error);
        attach_options_done(&options);
        return r < 0 ? r : 1;
}

static int detach_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        struct managed *managed = NULL;
        struct detach_options options;
        int r;

        r = find_called(manager, message, &managed, error);
        if (r < 0 || !managed)
                return r;
        r = detach_options_read(message, &options, error);
        if (r >= 0)
                r = bouncer_check_owner(
                        manager->bouncer, message, managed->image->owner_uid, detach_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = managed_detach(managed, &options, message, error);
        return r < 0 ? r : 1;
}

static int resize_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        struct managed *managed = NULL;
        struct resize_wish wish = {};
        int r;

        r = resize_wish_read(message, &wish, error);
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, resize_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = find_called(manager, message, &managed, error);
        if (r < 0 || !managed)
                return r;
        r = resize_start(manager, managed->image->image_name, &wish, message, error);
        return r < 0 ? r : 1;
}

static int method_holders(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return image_holders_method(userdata, message, error);
}

static int method_heat_map(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return image_heat_method(userdata, message, error);
}

static int method_resize(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return resize_checked(message, ((struct managed *) userdata)->manager, error);
}

static int method_attach(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return attach_checked(message, ((struct managed *) userdata)->manager, error);
}

static int method_detach(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return detach_checked(message, ((struct managed *) userdata)->manager, error);
}

static const sd_bus_vtable image_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS(
                "Attach", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_attach, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS(
                "Detach", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_detach, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resize", SD_BUS_ARGS("t", size, "a{sv}", options), SD_BUS_NO_RESULT, method_resize,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("HeatMap", SD_BUS_NO_ARGS,
                SD_BUS_RESULT("t", size, "t", half_life_usec, "ad", reads, "ad", writes), method_heat_map,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Holders", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", holders), method_holders,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Name", "s", get_name, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("ImageName", "s", get_image_name, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("UUID", "s", get_uuid, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Size", "t", get_size, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ReadOnly", "b", get_read_only, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StateReason", "s", get_state_reason, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StateSince", "t", get_state_since, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Failure", "s", get_failure, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Device", "s", get_device, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Unit", "s", get_unit, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("ActiveProxy", "s", get_active_proxy, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Proxies", "a(susts)", get_proxies, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ProxyHealth", "a(sus)", get_proxy_health, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StandbyProxy", "s", get_standby_proxy, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Sessions", "u", get_sessions, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MissingFeatures", "as", get_missing_features, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Configured", "b", get_configured, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Owner", "u", get_owner, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("DetachPending", "b", get_detach_pending, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Failovers", "t", get_failovers, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("RetainedBytes", "t", get_retained_bytes, 0, 0),
        SD_BUS_PROPERTY("ReadOperations", "t", get_read_operations, 0, 0),
        SD_BUS_PROPERTY("WriteOperations", "t", get_write_operations, 0, 0),
        SD_BUS_PROPERTY("FlushOperations", "t", get_flush_operations, 0, 0),
        SD_BUS_PROPERTY("ReadBytes", "t", get_read_bytes, 0, 0),
        SD_BUS_PROPERTY("WrittenBytes", "t", get_written_bytes, 0, 0),
        SD_BUS_PROPERTY("Errors", "t", get_errors, 0, 0),
        SD_BUS_PROPERTY("InFlight", "u", get_in_flight, 0, 0),
        SD_BUS_PROPERTY("LatencyUSec", "t", get_latency, 0, 0),
        SD_BUS_PROPERTY("ReadLatency", LATENCY_SIGNATURE, get_read_latency, 0, 0),
        SD_BUS_PROPERTY("WriteLatency", LATENCY_SIGNATURE, get_write_latency, 0, 0),
        SD_BUS_PROPERTY("FlushLatency", LATENCY_SIGNATURE, get_flush_latency, 0, 0),
        SD_BUS_PROPERTY("Reconnects", "t", get_reconnects, 0, 0),
        SD_BUS_PROPERTY("Stalls", "t", get_stalls, 0, 0),
        SD_BUS_PROPERTY("LongestStallUSec", "t", get_longest_stall, 0, 0),
        SD_BUS_PROPERTY("StalledUSec", "t", get_stalled, 0, 0),
        SD_BUS_VTABLE_END,
};

static int find_image(
        sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found, sd_bus_error *error) {
        struct manager *manager = userdata;
        _cleanup_free_ char *name = NULL;
        struct managed *managed;
        int r;

        r = sd_bus_path_decode(path, IMAGE_PATH, &name);
        if (r <= 0)
                return r;

        managed = manager_find(manager, name);
        if (!managed)
                return 0;

        *ret_found = managed;
        return 1;
}

static int enumerate_images(sd_bus *bus, const char *prefix, void *userdata, char ***ret_paths, sd_bus_error *error) {
        struct manager *manager = userdata;
        struct managed *managed, *next;
        size_t n = 0;
        char **paths;

        /* sd-bus takes the list and its strings. */
        paths = calloc(HASH_COUNT(manager->images) + 1, sizeof(*paths));
        if (!paths)
                return -ENOMEM;

        HASH_ITER(hh, manager->images, managed, next) {
                paths[n] = strdup(managed->path);
                if (!paths[n++]) {
                        while (n > 0)
                                free(paths[--n]);
                        free(paths);
                        return -ENOMEM;
                }
        }

        *ret_paths = paths;
        return 0;
}

int image_bus_add(struct manager *manager) {
        int r;

        r = sd_bus_add_fallback_vtable(
                manager->bus, NULL, IMAGE_PATH, IMAGE_INTERFACE, image_vtable, find_image, manager);
        if (r < 0)
                return r;

        return sd_bus_add_node_enumerator(manager->bus, NULL, IMAGE_PATH, enumerate_images, manager);
}

void image_bus_announce_added(struct managed *managed) {
        struct manager *manager = managed->manager;

        if (!manager->bus_connected || managed->announced)
                return;

        managed->announced = sd_bus_emit_object_added(manager->bus, managed->path) >= 0;
        managed->announce = 0; /* the signal carries everything */
}

void image_bus_announce_removed(struct managed *managed) {
        if (managed->manager->bus_connected && managed->announced)
                (void) sd_bus_emit_object_removed(managed->manager->bus, managed->path);
        managed->announced = false;
}

void image_bus_announce(struct managed *managed) {
        static const struct {
                uint32_t bit;
                const char *name;
        } properties[] = {
                { IMAGE_IMAGE_NAME, "ImageName" },
                { IMAGE_UUID, "UUID" },
                { IMAGE_SIZE, "Size" },
                { IMAGE_READ_ONLY, "ReadOnly" },
                { IMAGE_STATE, "State" },
                { IMAGE_STATE_REASON, "StateReason" },
                { IMAGE_FAILURE, "Failure" },
                { IMAGE_DEVICE, "Device" },
                { IMAGE_ACTIVE_PROXY, "ActiveProxy" },
                { IMAGE_PROXIES, "Proxies" },
                { IMAGE_CONFIGURED, "Configured" },
                { IMAGE_FAILOVERS, "Failovers" },
                { IMAGE_STATE_SINCE, "StateSince" },
                { IMAGE_SESSIONS, "Sessions" },
                { IMAGE_STANDBY_PROXY, "StandbyProxy" },
                { IMAGE_PROXY_HEALTH, "ProxyHealth" },
                { IMAGE_MISSING_FEATURES, "MissingFeatures" },
                { IMAGE_OWNER, "Owner" },
                { IMAGE_DETACH_PENDING, "DetachPending" },
        };
        char *names[ELEMENTSOF(properties) + 1];
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(properties); i++)
                if (managed->announce & properties[i].bit)
                        names[n++] = (char *) properties[i].name;
        names[n] = NULL;
        managed->announce = 0;

        if (n > 0 && managed->manager->bus_connected && managed->announced)
                (void) sd_bus_emit_properties_changed_strv(
                        managed->manager->bus, managed->path, IMAGE_INTERFACE, names);
}
