/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The system bus, blockstored's name on it, and polkit. Whether the policy that the bus has read is the installed one is found out by a call: the bus refuses what its policy does not allow before anybody
 * is started. */

#include <string.h>

#include "bus.h"
#include "doctor.h"

#define DBUS          "org.freedesktop.DBus"
#define POLICY        "/usr/share/dbus-1/system.d/org.blockstore.conf"
#define ACTIVATION    "/usr/share/dbus-1/system-services/org.blockstore.service"
#define POLKIT        "org.freedesktop.PolicyKit1"
#define POLKIT_POLICY "/usr/share/polkit-1/actions/org.blockstore.policy"
#define RELOAD        "busctl call " DBUS " /org/freedesktop/DBus " DBUS " ReloadConfig"

void check_bus(struct doctor *d) {
        if (d->bus)
                found(d, FINDING_OK, NULL, NULL, "The system bus can be reached.");
        else
                found(d, FINDING_ERROR, NULL, "systemctl start dbus.socket", "The system bus cannot be reached: %s.",
                        strerror(-d->bus_error));
}

static int bus_list_has(struct doctor *d, const char *member, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *other;
        int r;

        r = sd_bus_call_method(d->bus, DBUS, "/org/freedesktop/DBus", DBUS, member, NULL, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read_basic(reply, 's', &other)) > 0)
                if (strcmp(other, name) == 0)
                        return true;

        return r < 0 ? r : false;
}

void check_bus_policy(struct doctor *d) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        if (access(POLICY, R_OK) < 0) {
                found(d, FINDING_ERROR, POLICY, doctor_reinstall(),
                        "The bus policy is not there: blockstored cannot have its name, and nobody may call it.");
                return;
        }
        if (!doctor_needs_bus(d))
                return;

        /* Without auto-start: only whether the bus lets it through. */
        {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;

                r = sd_bus_message_new_method_call(d->bus, &call, BUS_NAME, BUS_PATH, BUS_MANAGER, "ListImages");
                if (r >= 0)
                        r = sd_bus_message_set_auto_start(call, false);
                /* What counts is the error's name: that nobody answers is all right here. */
                if (r >= 0)
                        (void) sd_bus_call(d->bus, call, BUS_TIMEOUT_READ_USEC, &error, NULL);
        }
        if (sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED))
                found(d, FINDING_ERROR, NULL, RELOAD, "The bus has not read the policy: it refuses calls.");
        else
                found(d, FINDING_OK, NULL, NULL, "The bus policy is installed, and calls are let through.");
}

void check_bus_name(struct doctor *d) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        if (access(ACTIVATION, R_OK) < 0) {
                found(d, FINDING_ERROR, ACTIVATION, doctor_reinstall(),
                        "The file is not there: a call on the bus does not start blockstored.");
                return;
        }
        if (!doctor_needs_bus(d))
                return;
        r = bus_list_has(d, "ListActivatableNames", BUS_NAME);
        if (r == 0) {
                found(d, FINDING_ERROR, NULL, RELOAD, "The bus has not read %s: a call does not start blockstored.",
                        ACTIVATION);
                return;
        }

        r = sd_bus_call_method(d->bus, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.Peer", "Ping", &error, NULL, NULL);
        if (r >= 0)
                found(d, FINDING_OK, NULL, NULL, "blockstored answers on the bus.");
        else
                found(d, FINDING_ERROR, NULL,
                        "systemctl reset-failed blockstored.service && systemctl restart blockstored.service",
                        "blockstored does not answer: %s. \"systemctl status blockstored.service\" tells more.",
                        error.message ? error.message : strerror(-r));
}

void check_polkit(struct doctor *d) {
        int r;

        if (access(POLKIT_POLICY, R_OK) < 0)
                found(d, FINDING_WARNING, POLKIT_POLICY, doctor_reinstall(),
                        "The actions are not there: only root may change anything.");
        if (!doctor_needs_bus(d))
                return;

        r = bus_list_has(d, "ListActivatableNames", POLKIT);
        if (r == 0)
                r = bus_list_has(d, "ListNames", POLKIT);
        if (r < 0)
                found(d, FINDING_SKIPPED, NULL, NULL, "The bus cannot be asked for its names: %s.", strerror(-r));
        else if (r == 0)
                found(d, FINDING_WARNING, NULL, "apt-get install polkitd",
                        "There is no polkit: only root may attach, detach and change images.");
        else
                found(d, FINDING_OK, NULL, NULL, "polkit is there.");
}
