/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the old control program asks, answered by what is here now. Where the old daemon claimed success, this one says what is so:
 *
 *  - mount connects, or nothing has happened. A device that is busy, or not there, is refused before anything is done. Which device an image gets is the kernel's choice, and that is the free one with the
 *    lowest number; so asking for another one is refused as well, with the name of the one to ask for. Should somebody else have taken it in between, the image is detached again.
 *  - unmount detaches, and only what is ours.
 *  - disc ends this process. Images stay, and the next request starts it again.
 *
 * The status is that of HTTP, too: whoever only reads the text does not notice. */

#include <errno.h>
#include <string.h>

#include "classic.h"
#include "host-config.h"
#include "log.h"
#include "supervisor-call.h"

#define SYSFS_BLOCK "/sys/block" /* $BLOCKSTORE_SYSFS_BLOCK overrides, for tests */

static const char *sysfs_block(void) {
        return getenv("BLOCKSTORE_SYSFS_BLOCK") ?: SYSFS_BLOCK;
}

static void say(struct exchange *exchange, unsigned status, const char *format, ...) _printf_(3, 4);
static void say(struct exchange *exchange, unsigned status, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                (void) exchange_reply_text(exchange, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
        } else
                (void) exchange_reply_text(exchange, status, text);
}

/* What was parsed when the request came is parsed again when it is its turn: an exchange keeps its body anyway. */
static int parse(struct exchange *exchange, struct classic_command **ret) {
        return classic_parse(exchange->body ?: "", exchange->n_body, ret);
}

/* The image that has the device. Borrowed, NULL when it is none of ours. */
static struct json_object *image_of_device(const struct model *model, const char *device) {
        _cleanup_(json_object_putp) struct json_object *images = model_images(model);

        for (size_t i = 0; images && i < json_object_array_length(images); i++) {
                struct json_object *image = json_object_array_get_idx(images, i);

                if (strcmp(json_string(image, "device"), device) == 0)
                        return model_image(model, json_string(image, "name"));
        }
        return NULL;
}

static void list_free(struct exchange *exchange) {
        unsigned indices[CLASSIC_DEVICES_MAX];
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *out;
        int n;

        n = classic_devices_free(sysfs_block(), indices, ELEMENTSOF(indices));
        if (n < 0) {
                say(exchange, MHD_HTTP_INTERNAL_SERVER_ERROR, "Error: the devices cannot be listed: %s\n",
                        strerror(-n));
                return;
        }
        out = open_memstream(&text, &size);
        if (!out) {
                say(exchange, MHD_HTTP_INTERNAL_SERVER_ERROR, "Error: out of memory\n");
                return;
        }
        fputs("Available devices:\n", out);
        for (int i = 0; i < n; i++)
                fprintf(out, "/dev/nbd%u\n", indices[i]);
        if (fclose(out) == 0)
                (void) exchange_reply_text(exchange, MHD_HTTP_OK, text);
        else
                say(exchange, MHD_HTTP_INTERNAL_SERVER_ERROR, "Error: out of memory\n");
}

static void list_mounted(struct httpd *httpd, struct exchange *exchange) {
        _cleanup_(json_object_putp) struct json_object *images = model_images(httpd->model);
        _cleanup_free_ char *list = images ? classic_list(images) : NULL;

        if (!list)
                say(exchange, MHD_HTTP_INTERNAL_SERVER_ERROR, "Error: out of memory\n");
        else
                say(exchange, MHD_HTTP_OK, "Mounted devices:\n%s", list);
}

static void on_disc_answered(struct exchange *exchange, void *userdata) {
        struct httpd *httpd = userdata;

        (void) sd_event_exit(httpd->event, 0);
}

static void disconnect(struct httpd *httpd, struct exchange *exchange) {
        log_event(LOG_NOTICE, NULL, "Asked to end by the classic command disc; images stay attached");
        (void) exchange_reply_text(exchange, MHD_HTTP_OK, "The server is shutting down. Images stay mounted.\n");
        exchange_on_gone(exchange, on_disc_answered, httpd);
}

/* --- mount --- */

/* Returns whether the device may be asked for. */
static bool check_device(struct httpd *httpd, struct exchange *exchange, const char *device) {
        unsigned index, lowest[CLASSIC_DEVICES_MAX];
        struct json_object *owner;
        int n;

        if (classic_device_index(device, &index) < 0) {
                say(exchange, MHD_HTTP_BAD_REQUEST, "Error: the device has to be /dev/nbdN\n");
                return false;
        }
        owner = image_of_device(httpd->model, device);
        if (owner) {
                say(exchange, MHD_HTTP_CONFLICT, "Error: %s is in use: image %s is mounted on it\n", device,
                        json_string(owner, "image_name"));
                return false;
        }
        switch (classic_device_state(sysfs_block(), index)) {
        case CLASSIC_DEVICE_MISSING:
                say(exchange, MHD_HTTP_NOT_FOUND, "Error: there is no %s\n", device);
                return false;
        case CLASSIC_DEVICE_BUSY:
                say(exchange, MHD_HTTP_CONFLICT, "Error: %s is in use, by somebody else\n", device);
                return false;
        case CLASSIC_DEVICE_FREE:
                break;
        }

        n = classic_devices_free(sysfs_block(), lowest, ELEMENTSOF(lowest));
        if (n > 0 && lowest[0] != index) {
                say(exchange, MHD_HTTP_CONFLICT,
                        "Error: the kernel gives out /dev/nbd%u next, not %s; mount on that one\n", lowest[0], device);
                return false;
        }
        return true;
}

/* An attached image whose device is another one than was asked for. */
static void on_undone(struct httpd *httpd, struct exchange *exchange, enum failure failure, const char *message,
        sd_bus_message *reply) {
        if (failure == FAILURE_NONE)
                say(exchange, MHD_HTTP_CONFLICT,
                        "Error: the kernel has given another device; nothing is mounted, try again\n");
        else
                say(exchange, MHD_HTTP_CONFLICT,
                        "Error: the kernel has given another device, and unmounting that has failed: %s\n", message);
}

static void undo(struct httpd *httpd, struct exchange *exchange, const char *name) {
        sd_bus_message *message;
        int r;

        r = supervisor_call_new(httpd, "DetachImage", name, &message);
        if (r >= 0) {
                r = sd_bus_message_close_container(message);
                if (r >= 0)
                        r = supervisor_call(httpd, exchange, message, on_undone);
                else
                        sd_bus_message_unref(message);
        }
        if (r < 0)
                on_undone(httpd, exchange, FAILURE_INTERNAL, strerror(-r), NULL);
}

/* Attached, the supervisor says; where? */
static void after_mount(struct httpd *httpd, struct exchange *exchange, int r) {
        _cleanup_(classic_command_freep) struct classic_command *command = NULL;
        struct json_object *image;

        if (r < 0 || parse(exchange, &command) < 0) {
                say(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Error: the supervisor does not say what became of it\n");
                return;
        }
        image = model_image(httpd->model, command->image);
        if (image && strcmp(json_string(image, "device"), command->device) == 0)
                say(exchange, MHD_HTTP_OK, "Mounted image %s on %s\n", command->image, command->device);
        else if (image && !*json_string(image, "device"))
                say(exchange, MHD_HTTP_GATEWAY_TIMEOUT, "Error: image %s is not mounted yet: %s\n", command->image,
                        *json_string(image, "state_reason") ? json_string(image, "state_reason")
                                                            : json_string(image, "state"));
        else
                undo(httpd, exchange, command->image);
}

static void on_mounted(struct httpd *httpd, struct exchange *exchange, enum failure failure, const char *message,
        sd_bus_message *reply) {
        if (failure != FAILURE_NONE)
                say(exchange, supervisor_failure_status(failure), "Error: %s\n", message);
        else
                httpd_when_fresh(httpd, exchange, after_mount);
}

static void mount_image(struct httpd *httpd, struct exchange *exchange, const struct classic_command *command) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        struct json_object *image = model_image(httpd->model, command->image);
        int r;

        if (!image_local_name_is_valid(command->image)) {
                say(exchange, MHD_HTTP_BAD_REQUEST, "Error: \"%s\" cannot be an image's name on this host\n",
                        command->image);
                return;
        }
        if (!check_device(httpd, exchange, command->device))
                return;
        if (image && *json_string(image, "device")) {
                say(exchange, MHD_HTTP_CONFLICT, "Error: image %s is mounted already, on %s\n", command->image,
                        json_string(image, "device"));
                return;
        }

        r = supervisor_call_new(httpd, "AttachImage", command->image, &message);
        if (r >= 0 && *command->user)
                r = sd_bus_message_append(message, "{sv}", "user", "s", command->user);
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        if (r >= 0)
                r = supervisor_call(httpd, exchange, TAKE_PTR(message), on_mounted);
        if (r < 0)
                say(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Error: the supervisor cannot be called: %s\n",
                        strerror(-r));
}

/* --- unmount --- */

static void on_unmounted(struct httpd *httpd, struct exchange *exchange, enum failure failure, const char *message,
        sd_bus_message *reply) {
        if (failure != FAILURE_NONE)
                say(exchange, supervisor_failure_status(failure), "Error: %s\n", message);
        else
                say(exchange, MHD_HTTP_OK, "Unmounted\n");
}

static void unmount_image(struct httpd *httpd, struct exchange *exchange, const struct classic_command *command) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        struct json_object *image = image_of_device(httpd->model, command->device);
        unsigned index;
        int r;

        if (classic_device_index(command->device, &index) < 0) {
                say(exchange, MHD_HTTP_BAD_REQUEST, "Error: the device has to be /dev/nbdN\n");
                return;
        }
        if (!image) {
                say(exchange, MHD_HTTP_NOT_FOUND, "Error: no image is mounted on %s\n", command->device);
                return;
        }
        r = supervisor_call_new(httpd, "DetachImage", json_string(image, "name"), &message);
        if (r >= 0)
                r = sd_bus_message_close_container(message);
        if (r >= 0)
                r = supervisor_call(httpd, exchange, TAKE_PTR(message), on_unmounted);
        if (r < 0)
                say(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Error: the supervisor cannot be called: %s\n",
                        strerror(-r));
}

/* --- the page --- */

static void command_when_fresh(struct httpd *httpd, struct exchange *exchange, int r) {
        _cleanup_(classic_command_freep) struct classic_command *command = NULL;

        if (r < 0 || parse(exchange, &command) < 0) {
                say(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Error: the supervisor does not answer\n");
                return;
        }
        if (strcmp(command->command, "lista") == 0)
                list_free(exchange);
        else if (strcmp(command->command, "listm") == 0)
                list_mounted(httpd, exchange);
        else if (strcmp(command->command, "mount") == 0)
                mount_image(httpd, exchange, command);
        else
                unmount_image(httpd, exchange, command);
}

void page_classic_command(struct httpd *httpd, struct exchange *exchange, const char *argument) {
        static const char *const with_model[] = { "lista", "listm", "mount", "unmount", "umount" };
        _cleanup_(classic_command_freep) struct classic_command *command = NULL;
        int r;

        r = parse(exchange, &command);
        if (r < 0) {
                say(exchange, r == -ENOMEM ? MHD_HTTP_INTERNAL_SERVER_ERROR : MHD_HTTP_BAD_REQUEST,
                        "Error: expected a JSON object with the members Command, Device, Image, User, Pass\n");
                return;
        }
        if (strcmp(command->command, "check") == 0) {
                (void) exchange_reply_text(exchange, MHD_HTTP_OK, "The server is online.\n");
                return;
        }
        if (strcmp(command->command, "disc") == 0) {
                disconnect(httpd, exchange);
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(with_model); i++)
                if (strcmp(command->command, with_model[i]) == 0) {
                        httpd_when_fresh(httpd, exchange, command_when_fresh);
                        return;
                }
        say(exchange, MHD_HTTP_BAD_REQUEST,
                "Error: unknown command; there are check, disc, lista, listm, mount and unmount\n");
}

static void show_status(struct httpd *httpd, struct exchange *exchange, int r) {
        _cleanup_(json_object_putp) struct json_object *images = model_images(httpd->model), *status = NULL;

        if (r < 0) {
                say(exchange, MHD_HTTP_SERVICE_UNAVAILABLE, "Error: the supervisor does not answer\n");
                return;
        }
        if (!strstr(exchange->path, "json")) {
                list_mounted(httpd, exchange);
                return;
        }
        status = images ? classic_status(images) : NULL;
        (void) exchange_reply_json(exchange, MHD_HTTP_OK, status);
}

void page_classic_status(struct httpd *httpd, struct exchange *exchange, const char *rest) {
        httpd_when_fresh(httpd, exchange, show_status);
}
