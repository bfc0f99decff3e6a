/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Image.Holders. It looks at all processes, so a child does it, beside whatever the device is busy with. What it tells is what anybody can see in /proc and /sys with some patience, except which process has the
 * device open; that much is told to all, since whoever may not stop it has to know whom to ask. */

#include <errno.h>
#include <string.h>

#include "device-work.h"
#include "manager.h"
#include "peer-bus.h"

#define CALLS_MAX    16U
#define TIMEOUT_USEC (10U * 1000U * 1000U)

struct holders_call {
        struct manager *manager;
        LIST_ENTRY(holders_call) entry;
        sd_bus_message *message;
        struct device_child *child;
};

static void call_free(struct holders_call *call) {
        LIST_REMOVE(call, entry);
        call->manager->n_operations--;
        manager_check_idle(call->manager);
        device_child_free(call->child);
        sd_bus_message_unref(call->message);
        free(call);
}

void image_holders_forget(struct manager *manager) {
        while (!LIST_EMPTY(&manager->holders_calls))
                call_free(LIST_FIRST(&manager->holders_calls));
}

static int append_string(sd_bus_message *reply, const char *key, const char *value) {
        return *value ? sd_bus_message_append(reply, "{sv}", key, "s", value) : 0;
}

static int append_holder(sd_bus_message *reply, const struct holder *holder) {
        int r;

        r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r >= 0)
                r = append_string(reply, "Kind", holder_kind_to_string(holder->kind));
        if (r >= 0)
                r = append_string(reply, "Device", holder->device);
        if (r >= 0)
                r = append_string(reply, "By", holder->by);
        if (r >= 0)
                r = append_string(reply, "Name", holder->name);
        if (r >= 0)
                r = append_string(reply, "MountPoint", holder->path);
        if (r >= 0 && holder->pid > 0)
                r = sd_bus_message_append(reply, "{sv}", "PID", "u", holder->pid);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int answer(sd_bus_message *message, const struct holder *holders, size_t n) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, "a{sv}");
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = append_holder(reply, holders + i);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* Names of mounts and commands are bytes, and the bus takes only UTF-8. */
static void make_printable(char *text) {
        for (unsigned char *c = (unsigned char *) text; *c; c++)
                if (*c < 0x20 || *c >= 0x7f)
                        *c = '?';
}

static void on_listed(const struct device_result *result, void *userdata) {
        struct holders_call *call = userdata;
        struct device_result copy = *result;

        call->child = NULL;
        for (uint32_t i = 0; i < copy.n_holders && i < HOLDERS_MAX; i++) {
                make_printable(copy.holders[i].name);
                make_printable(copy.holders[i].path);
        }
        if (copy.error < 0 || answer(call->message, copy.holders, copy.n_holders) < 0)
                (void) sd_bus_reply_method_errorf(call->message,
                        failure_lookup(copy.error == -ETIMEDOUT ? FAILURE_TIMEOUT : FAILURE_INTERNAL)->bus_name,
                        "It cannot be told who uses the device: %s", strerror(copy.error < 0 ? -copy.error : EIO));
        call_free(call);
}

int image_holders_method(struct managed *managed, sd_bus_message *message, sd_bus_error *error) {
        struct manager *manager = managed->manager;
        struct device_work work = { .name = managed->image->name };
        struct holders_call *call, *other;
        unsigned n = 0;
        int r;

        if (!device_exists(managed->device)) {
                r = answer(message, NULL, 0);
                return r < 0 ? r : 1;
        }
        LIST_FOREACH(other, &manager->holders_calls, entry)
                n++;
        if (n >= CALLS_MAX)
                return peer_bus_error_set(error, FAILURE_BUSY, "Others ask the same already; try again");

        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;
        call->manager = manager;
        call->message = sd_bus_message_ref(message);
        LIST_INSERT_HEAD(&manager->holders_calls, call, entry);
        manager->n_operations++;

        work.index = device_index(managed->device);
        r = device_child_start(
                manager->event, device_work_list_holders, &work, -EBADF, TIMEOUT_USEC, on_listed, call, &call->child);
        if (r < 0) {
                call_free(call);
                return r;
        }
        manager_check_idle(manager);
        return 1;
}
