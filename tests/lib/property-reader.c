/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What cases ask again and again: a property of an image, of a unit. To start busctl or systemctl for each
 * question costs an emulated processor more than what the case waits for, so this one process stays, and
 * case.sh talks with it over a pair of pipes:
 *
 *   TAG image NAME PROPERTY
 *   TAG unit UNIT PROPERTY
 *
 * The answer, in one line, is "TAG =VALUE", written as those two programs would, "TAG !WHY" when there is
 * none, and "TAG ?" when it is left to them: values of other kinds, and a bus that is not there. It knows
 * nothing by itself: each answer is that of a call made for it. A connection that was lost is made again.
 *
 * (Not over systemd's private socket, which systemctl takes: systemd sends a signal for each change of each
 * unit to everybody who stays connected there.)
 *
 * The tests' own; compiled by tests/lib/stage.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

struct kind {
        const char *word, *service, *prefix;
        const char *interfaces[3];
        const char *yes, *no;
};

static const struct kind kinds[] = {
        { "image", "org.blockstore", "/org/blockstore/image", { "org.blockstore.Image" }, "true", "false" },
        { "unit", "org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit",
                { "org.freedesktop.systemd1.Unit", "org.freedesktop.systemd1.Service" }, "yes", "no" },
        {},
};

static sd_bus *bus;

static void answer_error(const char *tag, const char *text) {
        printf("%s !%.*s\n", tag, (int) strcspn(text, "\n"), text);
}

/* The value in `reply`, a variant. */
static void answer_value(const char *tag, const struct kind *kind, sd_bus_message *reply) {
        const char *type;
        union {
                const char *string;
                int boolean;
                int32_t i32;
                uint32_t u32;
                int64_t i64;
                uint64_t u64;
        } value;

        if (sd_bus_message_peek_type(reply, NULL, &type) <= 0 || strlen(type) != 1 || !strchr("sobiuxt", type[0]) ||
                sd_bus_message_read(reply, "v", type, &value) < 0) {
                printf("%s ?\n", tag);
                return;
        }
        switch (type[0]) {
        case 's':
        case 'o':
                /* What busctl would escape. */
                if (strpbrk(value.string, "\"\\\n\t\r"))
                        printf("%s ?\n", tag);
                else
                        printf("%s =%s\n", tag, value.string);
                return;
        case 'b':
                printf("%s =%s\n", tag, value.boolean ? kind->yes : kind->no);
                return;
        case 'i':
                printf("%s =%" PRIi32 "\n", tag, value.i32);
                return;
        case 'u':
                printf("%s =%" PRIu32 "\n", tag, value.u32);
                return;
        case 'x':
                printf("%s =%" PRIi64 "\n", tag, value.i64);
                return;
        default:
                /* systemctl has words for that, different ones. */
                if (value.u64 == UINT64_MAX)
                        printf("%s ?\n", tag);
                else
                        printf("%s =%" PRIu64 "\n", tag, value.u64);
        }
}

/* A unit that is not loaded is inactive. To ask for a property would load it, with a signal about each unit that it refers to. */
static bool is_not_loaded(const char *unit) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        bool not_loaded;

        (void) sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager", "GetUnit", &error, NULL, "s", unit);
        not_loaded = sd_bus_error_has_name(&error, "org.freedesktop.systemd1.NoSuchUnit");
        sd_bus_error_free(&error);
        return not_loaded;
}

static void answer(const char *tag, const struct kind *kind, const char *name, const char *property) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        char *path = NULL;
        int r = -ENOTCONN;

        if (sd_bus_path_encode(kind->prefix, name, &path) < 0)
                abort();
        for (int attempt = 0; attempt < 2; attempt++) {
                if (!bus && sd_bus_open_system(&bus) < 0) {
                        printf("%s ?\n", tag);
                        goto end;
                }
                if (strcmp(property, "ActiveState") == 0 && is_not_loaded(name)) {
                        printf("%s =inactive\n", tag);
                        goto end;
                }
                for (const char *const *interface = kind->interfaces; *interface; interface++) {
                        sd_bus_error_free(&error);
                        r = sd_bus_call_method(bus, kind->service, path, "org.freedesktop.DBus.Properties", "Get",
                                &error, &reply, "ss", *interface, property);
                        if (!sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_PROPERTY))
                                break;
                }
                if (r >= 0 || sd_bus_is_open(bus) > 0)
                        break;
                bus = sd_bus_close_unref(bus);
        }
        if (r < 0)
                answer_error(tag, error.message ? error.message : strerror(-r));
        else
                answer_value(tag, kind, reply);
end:
        sd_bus_message_unref(reply);
        sd_bus_error_free(&error);
        free(path);
}

int main(void) {
        char *line = NULL;
        size_t size = 0;

        while (getline(&line, &size, stdin) > 0) {
                char *save = NULL, *tag = strtok_r(line, " \n", &save), *word = strtok_r(NULL, " \n", &save);
                char *name = strtok_r(NULL, " \n", &save), *property = strtok_r(NULL, " \n", &save);
                const struct kind *kind = kinds;

                while (kind->word && (!word || strcmp(word, kind->word) != 0))
                        kind++;
                if (kind->word && property)
                        answer(tag, kind, name, property);
                else
                        answer_error(tag ? tag : "-", "expected TAG image|unit NAME PROPERTY");
                fflush(stdout);
        }
        free(line);
        sd_bus_close_unref(bus);
        return 0;
}
