/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.blockstore.Manager, and the connection to the system bus. There may be no bus: early at boot, or never. sd-bus then waits for the bus's socket to appear, and
 * everything else goes on; when the bus is restarted, a new connection is made. The name is asked for only when the units have been listed, so that the first caller
 * already sees what there is. */

#include <errno.h>
#include <string.h>

#include "config.h"
#include "host-config.h"
#include "image-log.h"
#include "ivbs-lifecycle.h"
#include "ivbs.h"
#include "log-control-bus.h"
#include "manager.h"
#include "peer-bus.h"
#include "upgrade.h"

#define SYSTEM_BUS_ADDRESS "unix:path=/run/dbus/system_bus_socket"
#define RETRY_USEC         (1000U * 1000U)
#define RETRY_MAX_USEC     (8U * RETRY_USEC)
#define SECTOR_SIZE        512U

static int check_local_name(const char *name, sd_bus_error *error) {
        if (image_local_name_is_valid(name))
                return 0;
        return peer_bus_error_set(error, FAILURE_USAGE,
                "That is not a valid image name on a host: 1-%u letters, digits, '_', '.', ':' or '-', beginning with "
                "a letter or digit",
                IMAGE_LOCAL_NAME_MAX);
}

static int attach_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct attach_options options = { .read_only = -1 };
        struct manager *manager = userdata;
        struct managed *managed;
        const char *name;
        int r;

        r = sd_bus_message_read(message, "s", &name);
        if (r >= 0)
                r = check_local_name(name, error);
        if (r >= 0)
                r = attach_options_read(message, &options, error);
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, attach_checked, manager, error);
        if (r <= 0) {
                attach_options_done(&options);
                return r < 0 ? r : 1;
        }

        if (transfer_is_local_name(name)) {
                attach_options_done(&options);
                return peer_bus_error_set(
                        error, FAILURE_USAGE, "Names like %s are for images that are imported or exported", name);
        }
        r = manager_get(manager, name, &managed);
        if (r == -E2BIG)
                r = peer_bus_error_set(error, FAILURE_BUSY, "This host knows %u images already", IMAGES_MAX);
        if (r >= 0) {
                r = managed_attach(managed, &options, bouncer_caller(manager->bouncer, message), message, error);
                if (r < 0)
                        (void) managed_collect(managed);
        }
        attach_options_done(&options);
        return r < 0 ? r : 1;
}

static int detach_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        struct managed *managed = NULL;
        struct detach_options options;
        const char *name;
        int r;

        r = sd_bus_message_read(message, "s", &name);
        if (r >= 0)
                r = check_local_name(name, error);
        if (r >= 0)
                r = detach_options_read(message, &options, error);
        if (r < 0)
                return r;

        managed = manager_find(manager, name);
        r = bouncer_check_owner(
                manager->bouncer, message, managed ? managed->image->owner_uid : 0, detach_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        if (!managed)
                return peer_bus_error_set(
                        error, FAILURE_NOT_ATTACHED, "Image \"%s\" is not attached on this host", name);

        r = managed_detach(managed, &options, message, error);
        return r < 0 ? r : 1;
}

static int method_get_image(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        struct managed *managed;
        const char *name;
        int r;

        r = sd_bus_message_read(message, "s", &name);
        if (r >= 0)
                r = check_local_name(name, error);
        if (r < 0)
                return r;

        managed = manager_find(manager, name);
        if (!managed)
                return peer_bus_error_set(
                        error, FAILURE_NO_SUCH_IMAGE, "No image \"%s\" is attached or configured on this host", name);

        return sd_bus_reply_method_return(message, "o", managed->path);
}

static int method_list_images(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        struct manager *manager = userdata;
        struct managed *managed, *next;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "(sssbo)");
        HASH_ITER(hh, manager->images, managed, next)
                if (r >= 0)
                        r = sd_bus_message_append(reply, "(sssbo)", managed->image->name,
                                image_state_to_string(managed->image->state), managed->image->device,
                                (int) managed->image->configured, managed->path);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int check_store_name(const char *name, sd_bus_error *error) {
        if (image_store_name_is_valid(name))
                return 0;
        return peer_bus_error_set(error, FAILURE_USAGE,
                "That is not a valid image name in a store: 1-255 bytes of UTF-8 without '/' and control characters, "
                "not "
                "beginning with '.'");
}

/* The proxy has the last word, but no words: it does not say what it has against a request. */
static int check_new_store_name(const char *name, sd_bus_error *error) {
        int r = check_store_name(name, error);

        if (r >= 0 && strchr(name, IVBS_SNAPSHOT_SEPARATOR))
                r = peer_bus_error_set(error, FAILURE_USAGE,
                        "That is not a valid name of a new image: '%c' stands between an image and its snapshot",
                        IVBS_SNAPSHOT_SEPARATOR);
        return r;
}

static int forward(sd_bus_message *message, struct manager *manager, const char *method, sd_bus_error *error) {
        int r = query_forward(manager, message, method, error);

        return r < 0 ? r : 1;
}

static int create_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        const char *name;
        uint64_t size;
        int r;

        r = sd_bus_message_read(message, "st", &name, &size);
        if (r >= 0)
                r = check_new_store_name(name, error);
        if (r >= 0 && (size == 0 || size > INT64_MAX || size % SECTOR_SIZE != 0))
                r = peer_bus_error_set(error, FAILURE_USAGE,
                        "The size must be a multiple of %u bytes, at least one and below 2^63", SECTOR_SIZE);
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, create_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        return forward(message, manager, "CreateImage", error);
}

/* The store has the last word on who holds an image; what this host holds itself is known here, by its local name. */
static int check_not_attached(struct manager *manager, const char *image_name, sd_bus_error *error) {
        struct managed *managed, *next;

        HASH_ITER(hh, manager->images, managed, next)
                if (managed->link && strcmp(managed->image->image_name, image_name) == 0)
                        return peer_bus_error_set(error, FAILURE_BUSY,
                                "Image \"%s\" is attached on this host: detach it first, with blockstorectl detach %s",
                                image_name, managed->image->name);
        return 0;
}

static int remove_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        const char *name;
        int r;

        r = sd_bus_message_read(message, "s", &name);
        if (r >= 0)
                r = check_store_name(name, error);
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, remove_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = check_not_attached(manager, name, error);
        return r < 0 ? r : forward(message, manager, "RemoveImage", error);
}

static int resize_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        struct resize_wish wish = {};
        const char *name;
        int r;

        r = sd_bus_message_read(message, "s", &name);
        if (r >= 0)
                r = check_store_name(name, error);
        if (r >= 0)
                r = resize_wish_read(message, &wish, error);
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, resize_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = resize_start(manager, name, &wish, message, error);
        return r < 0 ? r : 1;
}

/* Renames, snapshots and what is made of them: the proxy knows who may, and which names are good. What this host has attached itself is known here, by its local name. */
static int lifecycle_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(message), *name;
        struct manager *manager = userdata;
        int r;

        r = sd_bus_message_read(message, "s", &name);
        if (r >= 0)
                r = strcmp(member, "PreallocateImage") == 0 ? check_new_store_name(name, error)
                                                            : check_store_name(name, error);
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, lifecycle_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        if (strcmp(member, "RenameImage") == 0 || strcmp(member, "RollBackImage") == 0)
                r = check_not_attached(manager, name, error);
        if (r < 0)
                return r;
        if (!store_job_kind(member))
                return forward(message, manager, member, error);
        r = store_job_forward(manager, message, member, store_job_kind(member), name, error);
        return r < 0 ? r : 1;
}

static int method_list_snapshots(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return forward(message, userdata, "ListSnapshots", error);
}

static int method_get_image_care(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return forward(message, userdata, "GetImageCare", error);
}

static int method_get_store_job(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return forward(message, userdata, "GetStoreJob", error);
}

static int cancel_job_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        int r;

        r = bouncer_check(manager->bouncer, message, cancel_job_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        return forward(message, manager, "CancelStoreJob", error);
}

static int method_list_store_images(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return forward(message, userdata, "ListImages", error);
}

/* Users and addresses of other hosts are not for everybody here. */
static int store_status_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        int r;

        r = bouncer_check(manager->bouncer, message, store_status_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        return forward(message, manager, "GetStoreStatus", error);
}

static int method_list_proxies(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return forward(message, userdata, "ListProxies", error);
}

static int method_probe_proxies(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return forward(message, userdata, "ProbeProxies", error);
}

static int drain_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *normal = NULL;
        struct manager *manager = userdata;
        const char *address;
        int r, undo;

        r = sd_bus_message_read(message, "sb", &address, &undo);
        if (r >= 0) {
                r = address_normalise(address, &normal);
                if (r == -EINVAL)
                        r = peer_bus_error_set(error, FAILURE_USAGE,
                                "That is not a proxy's address: expected HOST, HOST:PORT or [IPV6]:PORT");
        }
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, drain_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        log_event(LOG_NOTICE, LOG_FIELDS({ "PROXY", normal }), "%s is asked to %s", normal,
                undo ? "serve again" : "drain");
        return forward(message, manager, "DrainProxy", error);
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", BLOCKSTORE_VERSION);
}

static int upgrade_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;
        char path[JOB_PATH_SIZE];
        struct job *job;
        int r;

        r = no_options_read(message, error);
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, upgrade_checked, manager, error);
        if (r <= 0)
                return r < 0 ? r : 1;

        r = upgrade_start(manager, &job);
        if (r == -EBUSY)
                return peer_bus_error_set(error, FAILURE_BUSY, "An upgrade is under way already");
        if (r < 0)
                return peer_bus_error_set(error, FAILURE_INTERNAL, "The upgrade cannot be begun: %s", strerror(-r));

        job->owner = bouncer_caller(manager->bouncer, message);
        job_bus_path(job, path);
        return sd_bus_reply_method_return(message, "o", path);
}

static int transfer_checked(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        bool export = strcmp(sd_bus_message_get_member(message), "ExportImage") == 0;
        struct transfer_wish wish = { .file = -EBADF };
        struct manager *manager = userdata;
        char path[JOB_PATH_SIZE];
        struct job *job;
        int r;

        r = transfer_wish_read(message, export, &wish, error);
        if (r >= 0)
                r = bouncer_check(manager->bouncer, message, transfer_checked, manager, error);
        if (r <= 0) {
                transfer_wish_done(&wish);
                return r < 0 ? r : 1;
        }

        r = transfer_start(manager, &wish, &job, error);
        transfer_wish_done(&wish);
        if (r < 0)
                return r;
        job->owner = bouncer_caller(manager->bouncer, message);
        job_bus_path(job, path);
        return sd_bus_reply_method_return(message, "o", path);
}

/* Everybody may call everything as far as sd-bus is concerned: the bouncer decides. */
static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("AttachImage", SD_BUS_ARGS("s", name, "a{sv}", options), SD_BUS_RESULT("o", image),
                attach_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DetachImage", SD_BUS_ARGS("s", name, "a{sv}", options), SD_BUS_NO_RESULT,
                detach_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetImage", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", image), method_get_image,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListImages", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sssbo)", images), method_list_images,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListStoreImages", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sttsb)", images),
                method_list_store_images, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CreateImage", SD_BUS_ARGS("s", name, "t", size, "a{sv}", options),
                SD_BUS_RESULT("s", uuid), create_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("PreallocateImage", SD_BUS_ARGS("s", name, "t", size, "a{sv}", options),
                SD_BUS_RESULT("s", job), lifecycle_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RemoveImage", SD_BUS_ARGS("s", name, "a{sv}", options), SD_BUS_NO_RESULT,
                remove_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ResizeImage", SD_BUS_ARGS("s", name, "t", size, "a{sv}", options), SD_BUS_NO_RESULT,
                resize_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ImportImage", SD_BUS_ARGS("s", name, "h", file, "a{sv}", options),
                SD_BUS_RESULT("o", job), transfer_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ExportImage", SD_BUS_ARGS("s", name, "h", file, "a{sv}", options),
                SD_BUS_RESULT("o", job), transfer_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RenameImage", SD_BUS_ARGS("s", name, "s", new_name, "a{sv}", options),
                SD_BUS_NO_RESULT, lifecycle_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CreateSnapshot", SD_BUS_ARGS("s", name, "s", snapshot, "a{sv}", options),
                SD_BUS_RESULT("s", job), lifecycle_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListSnapshots", SD_BUS_ARGS("s", name), SD_BUS_RESULT("a(stttsb)", snapshots),
                method_list_snapshots, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RemoveSnapshot", SD_BUS_ARGS("s", name, "s", snapshot, "a{sv}", options),
                SD_BUS_NO_RESULT, lifecycle_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CloneImage", SD_BUS_ARGS("s", name, "s", snapshot, "s", new_name, "a{sv}", options),
                SD_BUS_RESULT("s", job), lifecycle_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RollBackImage", SD_BUS_ARGS("s", name, "s", snapshot, "a{sv}", options),
                SD_BUS_RESULT("s", job), lifecycle_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStoreJob", SD_BUS_ARGS("s", job),
                SD_BUS_RESULT("s", state, "t", done, "t", total, "t", elapsed, "s", failure, "s", message),
                method_get_store_job, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("FollowStoreJob", SD_BUS_ARGS("s", job), SD_BUS_RESULT("o", path),
                store_job_method_follow, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CancelStoreJob", SD_BUS_ARGS("s", job), SD_BUS_NO_RESULT, cancel_job_checked,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStoreStatus", SD_BUS_NO_ARGS,
                SD_BUS_RESULT("t", total, "t", available, "u", clients, "a(ssssbbt)", sessions), store_status_checked,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ScrubImage", SD_BUS_ARGS("s", name), SD_BUS_RESULT("s", job), lifecycle_checked,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetImageCare", SD_BUS_ARGS("s", name), SD_BUS_RESULT("a{sv}", care),
                method_get_image_care, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetImageLimits", SD_BUS_ARGS("s", name, "t", iops, "t", bandwidth, "t", burst),
                SD_BUS_NO_RESULT, lifecycle_checked, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListProxies", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(susts)", proxies), method_list_proxies,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ProbeProxies", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sustsus)", proxies),
                method_probe_proxies, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DrainProxy", SD_BUS_ARGS("s", address, "b", undo), SD_BUS_NO_RESULT, drain_checked,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Upgrade", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job), upgrade_checked,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

static void announce_all(struct manager *manager) {
        struct managed *managed, *next;

        HASH_ITER(hh, manager->images, managed, next) {
                managed->announced = false;
                image_bus_announce_added(managed);
        }
}

static int on_name(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        uint32_t result;

        if (sd_bus_message_is_method_error(message, NULL))
                log_message(LOG_ERR, "The bus does not give us the name %s: %s", BUS_NAME,
                        sd_bus_message_get_error(message)->message);
        else if (sd_bus_message_read(message, "u", &result) >= 0 && result != 1 && result != 4)
                log_message(LOG_ERR, "Another process owns %s on the bus", BUS_NAME);
        return 0;
}

void manager_bus_request_name(struct manager *manager) {
        int r;

        if (!manager->bus_connected || !manager->listed)
                return;

        r = sd_bus_request_name_async(manager->bus, NULL, BUS_NAME, 0, on_name, manager);
        if (r < 0)
                log_message(LOG_ERR, "%s cannot be asked for on the bus: %s", BUS_NAME, strerror(-r));
}

static int on_connected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;

        manager->bus_connected = true;
        (void) units_set_system_bus(manager->units, manager->bus);
        announce_all(manager);
        manager_bus_request_name(manager);
        return 0;
}

void manager_bus_close(struct manager *manager) {
        struct managed *managed, *next;

        if (!manager->bus)
                return;

        manager->bus_connected = false;
        bouncer_clear(manager->bouncer);
        HASH_ITER(hh, manager->images, managed, next)
                operations_forget(&managed->operations);
        queries_forget(manager);
        resizes_forget(manager);
        store_jobs_forget(manager);
        image_holders_forget(manager);
        (void) units_set_system_bus(manager->units, NULL);
        manager->bus = sd_bus_flush_close_unref(manager->bus);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *manager = userdata;

        manager_bus_close(manager);
        if (manager_bus_connect(manager) < 0)
                (void) sd_event_source_set_time_relative(source, manager->bus_retry_usec);
        else
                (void) sd_event_source_set_enabled(source, SD_EVENT_OFF);
        return 0;
}

static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct manager *manager = userdata;

        /* During a shutdown the socket is there for a while without its bus: each try is one more start for systemd to refuse, and nothing that should be told again. */
        if (manager->bus_connected) {
                log_message(LOG_NOTICE, "The system bus is gone; waiting for it to come back");
                manager->bus_retry_usec = RETRY_USEC;
        } else if (manager->bus_retry_usec < RETRY_MAX_USEC)
                manager->bus_retry_usec *= 2;
        manager->bus_connected = false;

        /* Not from within its own callback. */
        if (sd_event_source_set_time_relative(manager->bus_retry, manager->bus_retry_usec) >= 0)
                (void) sd_event_source_set_enabled(manager->bus_retry, SD_EVENT_ON);
        return 0;
}

static int bus_new(sd_bus **ret) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r;

        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, address && *address ? address : SYSTEM_BUS_ADDRESS);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, true);
        if (r >= 0)
                r = sd_bus_negotiate_creds(bus, false, 0);
        if (r >= 0)
                r = sd_bus_set_watch_bind(bus, true);
        if (r >= 0)
                r = sd_bus_set_connected_signal(bus, true);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(bus);
        return 0;
}

int manager_bus_connect(struct manager *manager) {
        int r;

        if (!manager->bus_retry) {
                manager->bus_retry_usec = RETRY_USEC;
                r = sd_event_add_time(manager->event, &manager->bus_retry, CLOCK_MONOTONIC, 0, 0, on_retry, manager);
                if (r >= 0)
                        r = sd_event_source_set_enabled(manager->bus_retry, SD_EVENT_OFF);
                if (r < 0)
                        return r;
        }

        r = bus_new(&manager->bus);
        if (r < 0)
                return r;

        r = sd_bus_add_object_vtable(manager->bus, NULL, MANAGER_PATH, MANAGER_INTERFACE, manager_vtable, manager);
        if (r >= 0)
                r = sd_bus_add_object_manager(manager->bus, NULL, MANAGER_PATH);
        if (r >= 0)
                r = image_bus_add(manager);
        if (r >= 0)
                r = job_bus_add(manager);
        if (r >= 0)
                r = log_control_bus_add(manager->bus);
        if (r >= 0)
                r = sd_bus_match_signal(manager->bus, NULL, "org.freedesktop.DBus.Local", NULL,
                        "org.freedesktop.DBus.Local", "Connected", on_connected, manager);
        if (r >= 0)
                r = sd_bus_match_signal(manager->bus, NULL, "org.freedesktop.DBus.Local", NULL,
                        "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, manager);
        if (r >= 0)
                r = sd_bus_start(manager->bus);
        if (r >= 0)
                r = sd_bus_attach_event(manager->bus, manager->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                manager->bus = sd_bus_close_unref(manager->bus);
        return r;
}

bool manager_bus_release(struct manager *manager) {
        int r;

        if (!manager->bus_connected)
                return true;

        /* Calls that the bus had passed on before it let us go of the name are answered by us, not lost. */
        r = sd_bus_release_name(manager->bus, BUS_NAME);
        while (r >= 0) {
                r = sd_bus_process(manager->bus, NULL);
                if (r <= 0)
                        break;
        }

        if (manager->n_operations == 0 && bouncer_count(manager->bouncer) == 0)
                return true;

        manager_bus_request_name(manager);
        return false;
}
