/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The units as systemd sees them, which is what counts: with drop-ins, overrides and masks applied. A setting that differs from what the suite needs is traced to the file that has it, so that the command
 * that mends it touches nothing else of that file. Instances stand for their templates. */

#include <string.h>

#include "doctor.h"

#define SYSTEMD         "org.freedesktop.systemd1"
#define UNIT_INTERFACE  SYSTEMD ".Unit"
#define INSTALLED_UNITS "/usr/lib/systemd/system/"
#define PLACEHOLDER     "doctor" /* the instance that is looked at where none is known */

#define LIBEXEC         "/usr/lib/blockstore/"

struct unit {
        char name[160];
        char shown[160]; /* "image@.service" for a placeholder */
        char *path;
};

static void unit_free(struct unit *unit) {
        free(unit->path);
}

/* Returns 0, or a negative errno after having told. */
static int unit_open(
        struct doctor *d, const char *prefix, const char *instance, const char *suffix, struct unit *ret) {
        int r;

        *ret = (struct unit){};
        snprintf(ret->name, sizeof ret->name, "%s%s%s", prefix, instance, suffix);
        snprintf(ret->shown, sizeof ret->shown, "%s%s%s", prefix, strcmp(instance, PLACEHOLDER) == 0 ? "" : instance,
                suffix);
        r = systemd_unit_path(d, ret->name, &ret->path);
        if (r < 0)
                found(d, FINDING_SKIPPED, ret->shown, NULL, "systemd cannot be asked about the unit: %s.",
                        strerror(-r));
        return r;
}

/* "" when there is none. */
static char *unit_string(struct doctor *d, const struct unit *unit, const char *property) {
        char *value = NULL;

        if (sd_bus_get_property_string(d->bus, SYSTEMD, unit->path, UNIT_INTERFACE, property, NULL, &value) < 0)
                return strdup("");
        return value;
}

/* The name of a template or a unit, as "systemctl revert" takes it: the last part of a file's path or of its drop-in's directory. */
static void unit_of_file(const char *file, char *buffer, size_t size) {
        char copy[512], *slash, *d;

        snprintf(copy, sizeof copy, "%s", file);
        slash = strrchr(copy, '/');
        if (slash && strstr(copy, ".d/")) {
                *slash = '\0';
                slash = strrchr(copy, '/');
                d = slash ? strrchr(slash, '.') : NULL;
                if (d)
                        *d = '\0';
        }
        snprintf(buffer, size, "%s", slash ? slash + 1 : copy);
}

static void look_at_unit(struct doctor *d, const char *prefix, const char *instance, const char *suffix) {
        _cleanup_free_ char *load = NULL, *fragment = NULL;
        _cleanup_(unit_free) struct unit unit;
        char command[DOCTOR_COMMAND_MAX], name[512];
        int reload = 0;

        if (unit_open(d, prefix, instance, suffix, &unit) < 0)
                return;
        load = unit_string(d, &unit, "LoadState");
        fragment = unit_string(d, &unit, "FragmentPath");
        if (!load || !fragment) {
                d->error = -ENOMEM;
                return;
        }

        if (strcmp(load, "masked") == 0) {
                unit_of_file(*fragment ? fragment : unit.name, name, sizeof name);
                snprintf(command, sizeof command, "systemctl unmask %s", name);
                found(d, FINDING_ERROR, unit.shown, command, "The unit is masked.");
                return;
        }
        if (strcmp(load, "not-found") == 0) {
                found(d, FINDING_ERROR, unit.shown, doctor_reinstall(), "The unit is not installed.");
                return;
        }
        if (strcmp(load, "loaded") != 0) {
                snprintf(command, sizeof command, "systemd-analyze verify --man=no %s", unit.name);
                found(d, FINDING_ERROR, unit.shown, command, "systemd cannot load the unit (%s).", load);
                return;
        }

        if (*fragment && strncmp(fragment, INSTALLED_UNITS, strlen(INSTALLED_UNITS)) != 0 &&
                strncmp(fragment, "/lib/systemd/system/", strlen("/lib/systemd/system/")) != 0) {
                unit_of_file(fragment, name, sizeof name);
                snprintf(command, sizeof command, "systemctl revert %s", name);
                found(d, FINDING_WARNING, unit.shown, command,
                        "%s replaces the installed unit: what newer versions need will be missing.", fragment);
        }

        (void) sd_bus_get_property_trivial(
                d->bus, SYSTEMD, unit.path, UNIT_INTERFACE, "NeedDaemonReload", NULL, 'b', &reload);
        if (reload)
                found(d, FINDING_WARNING, unit.shown, "systemctl daemon-reload",
                        "The unit's files have changed since systemd read them.");
        else
                found(d, FINDING_OK, unit.shown, NULL, "The unit is installed and loaded.");
}

static void look_at_socket(struct doctor *d) {
        _cleanup_free_ char *state = NULL;
        _cleanup_(unit_free) struct unit unit;

        if (unit_open(d, "blockstored", "", ".socket", &unit) < 0)
                return;
        state = unit_string(d, &unit, "ActiveState");
        if (state && strcmp(state, "active") != 0)
                found(d, FINDING_ERROR, unit.shown, "systemctl enable --now blockstored.socket",
                        "The socket is %s: no worker can ask for a device.", state);
}

void check_units(struct doctor *d) {
        static const char *const suffixes[] = { ".service", ".socket", ".target" };

        if (!doctor_needs_systemd(d))
                return;

        look_at_unit(d, "blockstored", "", ".service");
        look_at_unit(d, "blockstored", "", ".socket");
        look_at_unit(d, "blockstore", "", ".target");
        look_at_unit(d, "blockstore-query@", "default", ".service");
        look_at_unit(d, "blockstore-query@", "default", ".socket");
        for (unsigned i = 0; i < ELEMENTSOF(suffixes); i++) {
                for (char **name = d->images; *name; name++)
                        look_at_unit(d, "image@", *name, suffixes[i]);
                if (!*d->images)
                        look_at_unit(d, "image@", PLACEHOLDER, suffixes[i]);
        }
        look_at_socket(d);
}

enum wish {
        WISH_INFINITY, /* a number of 64 bits, no limit */
        WISH_AT_MOST,  /* a signed number */
        WISH_STRING,
        WISH_RESTARTS, /* Restart= of a kind that follows a crash */
        WISH_FALSE,
};

/* What units need. Everything else is an administrator's to choose. */
static const struct setting {
        const char *unit; /* the beginning of its name */
        const char *interface, *property;
        const char *name; /* in unit files */
        enum wish wish;
        int64_t number;
        const char *string;
        enum finding_status status;
        const char *why;
} settings[] = {
        { "image@", "Service", "MemoryMax", "MemoryMax", WISH_INFINITY, 0, NULL, FINDING_ERROR,
                "the kernel may need this process to get memory back, and then waits for it for ever" },
        { "image@", "Service", "MemoryHigh", "MemoryHigh", WISH_INFINITY, 0, NULL, FINDING_WARNING,
                "a throttled worker throttles all that writes to the image" },
        { "image@", "Service", "CPUQuotaPerSecUSec", "CPUQuota", WISH_INFINITY, 0, NULL, FINDING_WARNING,
                "it slows down all that uses the image" },
        { "image@", "Service", "OOMScoreAdjust", "OOMScoreAdjust", WISH_AT_MOST, -900, NULL, FINDING_WARNING,
                "the worker may be killed for memory that its own image would give back" },
        { "image@", "Service", "LimitMEMLOCK", "LimitMEMLOCK", WISH_INFINITY, 0, NULL, FINDING_WARNING,
                "io_uring's buffers may not fit" },
        { "image@", "Service", "Restart", "Restart", WISH_RESTARTS, 0, NULL, FINDING_ERROR,
                "after a crash the device would be left without a worker" },
        { "image@", "Unit", "StartLimitIntervalUSec", "StartLimitIntervalSec", WISH_AT_MOST, 0, NULL, FINDING_WARNING,
                "after some crashes in a row the worker is not started again" },
        { "image@", "Service", "User", "User", WISH_STRING, 0, "blockstore-worker", FINDING_ERROR,
                "the supervisor's socket and the credentials are that user's" },
        { "image@", "Service", "PrivateNetwork", "PrivateNetwork", WISH_FALSE, 0, NULL, FINDING_ERROR,
                "no proxy can be reached" },
        { "blockstored", "Service", "MemoryMax", "MemoryMax", WISH_INFINITY, 0, NULL, FINDING_WARNING,
                "without the supervisor no device is connected again after a crash" },
        { "blockstored", "Service", "OOMScoreAdjust", "OOMScoreAdjust", WISH_AT_MOST, -500, NULL, FINDING_WARNING,
                "without the supervisor no device is connected again after a crash" },
        { "blockstored", "Service", "Restart", "Restart", WISH_RESTARTS, 0, NULL, FINDING_ERROR,
                "after a crash nobody would answer workers" },
        { "blockstore-proxyd@", "Service", "MemoryMax", "MemoryMax", WISH_INFINITY, 0, NULL, FINDING_WARNING,
                "the proxy is killed when its clients are many; \"memory\" in its configuration bounds it instead" },
        { "blockstore-proxyd@", "Service", "LimitMEMLOCK", "LimitMEMLOCK", WISH_INFINITY, 0, NULL, FINDING_WARNING,
                "io_uring's buffers may not fit" },
        { "blockstore-proxyd@", "Service", "Restart", "Restart", WISH_RESTARTS, 0, NULL, FINDING_WARNING,
                "after a crash its images are served by other proxies only" },
};

/* The file that has the setting: the last drop-in with such a line, else the unit's own. */
static void file_of_setting(struct doctor *d, const struct unit *unit, const char *name, char *buffer, size_t size) {
        _cleanup_free_ char *fragment = unit_string(d, unit, "FragmentPath");
        char **dropins = NULL;

        snprintf(buffer, size, "%s", fragment ? fragment : "");
        if (sd_bus_get_property_strv(d->bus, SYSTEMD, unit->path, UNIT_INTERFACE, "DropInPaths", NULL, &dropins) < 0)
                return;

        for (char **file = dropins; file && *file; file++) {
                _cleanup_fclose_ FILE *f = fopen(*file, "re");
                char line[1024];

                while (f && fgets(line, sizeof line, f))
                        if (strncmp(line, name, strlen(name)) == 0 &&
                                line[strlen(name) + strspn(line + strlen(name), " \t")] == '=')
                                snprintf(buffer, size, "%s", *file);
                free(*file);
        }
        free(dropins);
}

/* Reads one property. value is made for a person; returns whether it is as wished, or a negative errno. */
static int setting_is_met(
        struct doctor *d, const struct unit *unit, const struct setting *s, char *value, size_t size) {
        char interface[64];
        int r;

        snprintf(interface, sizeof interface, SYSTEMD ".%s", s->interface);

        if (s->wish == WISH_INFINITY || (s->wish == WISH_AT_MOST && strcmp(s->interface, "Unit") == 0)) {
                uint64_t number;

                r = sd_bus_get_property_trivial(
                        d->bus, SYSTEMD, unit->path, interface, s->property, NULL, 't', &number);
                snprintf(value, size, "%ju", (uintmax_t) number);
                return r < 0 ? r : s->wish == WISH_INFINITY ? number == UINT64_MAX : number <= (uint64_t) s->number;
        }
        if (s->wish == WISH_AT_MOST) {
                int32_t number;

                r = sd_bus_get_property_trivial(
                        d->bus, SYSTEMD, unit->path, interface, s->property, NULL, 'i', &number);
                snprintf(value, size, "%d", number);
                return r < 0 ? r : number <= s->number;
        }
        if (s->wish == WISH_FALSE) {
                int number;

                r = sd_bus_get_property_trivial(
                        d->bus, SYSTEMD, unit->path, interface, s->property, NULL, 'b', &number);
                snprintf(value, size, "yes");
                return r < 0 ? r : number == 0;
        }

        {
                _cleanup_free_ char *text = NULL;

                r = sd_bus_get_property_string(d->bus, SYSTEMD, unit->path, interface, s->property, NULL, &text);
                if (r < 0)
                        return r;
                snprintf(value, size, "%s", text);
                if (s->wish == WISH_STRING)
                        return strcmp(text, s->string) == 0;
                return strcmp(text, "no") != 0 && strcmp(text, "on-success") != 0;
        }
}

static void complain(
        struct doctor *d, const struct unit *unit, const char *name, enum finding_status status, const char *message) {
        char file[512], command[DOCTOR_COMMAND_MAX], subject[512];

        file_of_setting(d, unit, name, file, sizeof file);
        unit_of_file(file, subject, sizeof subject);
        if (strstr(file, ".d/"))
                snprintf(command, sizeof command, "sed -i '/^%s[ \\t]*=/d' %s && systemctl daemon-reload", name, file);
        else
                snprintf(command, sizeof command, "systemctl revert %s", subject);
        found(d, status, subject, command, "%s (%s).", message, file);
}

/* ExecStart, ExecStop: a(sasbttttuii). Only the program of the first command counts. */
static void look_at_program(struct doctor *d, const struct unit *unit, const char *setting, const char *program,
        enum finding_status status, const char *why) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *path = "nothing";
        char message[512];
        int r;

        r = sd_bus_get_property(
                d->bus, SYSTEMD, unit->path, SYSTEMD ".Service", setting, NULL, &reply, "a(sasbttttuii)");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(sasbttttuii)");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'r', "sasbttttuii");
        if (r > 0)
                r = sd_bus_message_read_basic(reply, 's', &path);
        if (r < 0 || strcmp(path, program) == 0)
                return;

        snprintf(message, sizeof message, "%s= runs %s instead of %s%s%s", setting, path, program, *why ? ": " : "",
                why);
        complain(d, unit, setting, status, message);
}

/* SystemCallFilter: (bas), whether it is a list of what is allowed, and the calls. */
static void look_at_filter(struct doctor *d, const struct unit *unit) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        bool listed = false, any = false;
        const char *call;
        int allow, r;

        r = sd_bus_get_property(
                d->bus, SYSTEMD, unit->path, SYSTEMD ".Service", "SystemCallFilter", NULL, &reply, "(bas)");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'r', "bas");
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'b', &allow);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read_basic(reply, 's', &call)) > 0) {
                any = true;
                if (strcmp(call, "io_uring_enter") == 0)
                        listed = true;
        }

        /* An empty list to deny is no filter. */
        if (r >= 0 && (any || allow) && listed != !!allow)
                complain(d, unit, "SystemCallFilter", FINDING_ERROR, "The system call filter forbids io_uring");
}

static void look_at_settings(
        struct doctor *d, const char *prefix, const char *instance, const char *program, bool network) {
        _cleanup_free_ char *load = NULL;
        _cleanup_(unit_free) struct unit unit;
        size_t before;

        if (unit_open(d, prefix, instance, ".service", &unit) < 0)
                return;
        load = unit_string(d, &unit, "LoadState");
        if (!load || strcmp(load, "loaded") != 0)
                return; /* check_units() says so */

        before = json_object_array_length(d->findings);
        for (unsigned i = 0; i < ELEMENTSOF(settings); i++) {
                const struct setting *s = settings + i;
                char value[128], message[512];

                if (strcmp(s->unit, prefix) != 0 || setting_is_met(d, &unit, s, value, sizeof value) != 0)
                        continue;
                snprintf(message, sizeof message, "%s=%s: %s", s->name, value, s->why);
                complain(d, &unit, s->name, s->status, message);
        }
        look_at_program(d, &unit, "ExecStart", program, FINDING_ERROR, "");
        if (strcmp(program, LIBEXEC "blockstore-worker") == 0)
                look_at_program(d, &unit, "ExecStartPre", LIBEXEC "blockstore-password", FINDING_WARNING,
                        "the password has to come from LoadCredential= in a drop-in, or there is none");
        if (strcmp(prefix, "image@") == 0)
                look_at_program(d, &unit, "ExecStop", LIBEXEC "blockstore-release", FINDING_WARNING,
                        "at shutdown, what is mounted by hand and LVM are not taken off the image");
        if (network)
                look_at_filter(d, &unit);

        if (json_object_array_length(d->findings) == before)
                found(d, FINDING_OK, unit.shown, NULL, "No setting weakens the unit.");
}

void check_unit_settings(struct doctor *d) {
        if (!doctor_needs_systemd(d))
                return;

        look_at_settings(d, "blockstored", "", LIBEXEC "blockstored", false);
        for (char **name = d->images; *name; name++)
                look_at_settings(d, "image@", *name, LIBEXEC "blockstore-worker", true);
        if (!*d->images)
                look_at_settings(d, "image@", PLACEHOLDER, LIBEXEC "blockstore-worker", true);
        if (access(LIBEXEC "blockstore-proxyd", X_OK) == 0)
                look_at_settings(d, "blockstore-proxyd@", PLACEHOLDER, LIBEXEC "blockstore-proxyd", true);
}

void check_failed_units(struct doctor *d) {
        static const char *const states[] = { "failed", NULL }, *const patterns[] = { "image@*", "blockstored.*",
                "blockstore-*", NULL };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
        const char *name;
        unsigned n = 0;
        int r;

        if (!doctor_needs_systemd(d))
                return;

        r = sd_bus_message_new_method_call(
                d->bus, &call, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager", "ListUnitsByPatterns");
        if (r >= 0)
                r = sd_bus_message_append_strv(call, (char **) states);
        if (r >= 0)
                r = sd_bus_message_append_strv(call, (char **) patterns);
        if (r >= 0)
                r = sd_bus_call(d->bus, call, 0, NULL, &reply);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(ssssssouso)", &name, NULL, NULL, NULL, NULL, NULL, NULL,
                                  NULL, NULL, NULL)) > 0) {
                char command[DOCTOR_COMMAND_MAX];

                snprintf(command, sizeof command, "systemctl reset-failed %s && systemctl start %s", name, name);
                found(d, FINDING_ERROR, name, command,
                        "The unit has failed; \"systemctl status %s\" and \"journalctl -xu %s\" say why.", name, name);
                n++;
        }

        if (r < 0)
                found(d, FINDING_SKIPPED, NULL, NULL, "systemd cannot be asked about its units: %s.", strerror(-r));
        else if (n == 0)
                found(d, FINDING_OK, NULL, NULL, "No unit has failed.");
}
