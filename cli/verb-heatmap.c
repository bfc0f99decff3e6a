/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A picture of where an image is used, for the eye: each character a part of it, the darker the more accesses, in steps of powers, since what is hot is hot by orders of magnitude. The numbers are in --json. */

#include <math.h>

#include "bus-json.h"
#include "bus.h"
#include "heat-map.h"
#include "image.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

#define CELLS_PER_ROW 64U
#define STEPS         5U

struct heat {
        uint64_t size, half_life_usec;
        const double *reads, *writes;
};

static int read_numbers(sd_bus_message *reply, const double **ret) {
        size_t n;
        int r;

        r = sd_bus_message_read_array(reply, 'd', (const void **) ret, &n);
        return r < 0 ? r : n == HEAT_BUCKETS * sizeof(double) ? 0 : -EBADMSG;
}

static int read_heat(sd_bus_message *reply, struct heat *ret) {
        int r;

        r = sd_bus_message_read(reply, "tt", &ret->size, &ret->half_life_usec);
        if (r >= 0)
                r = read_numbers(reply, &ret->reads);
        if (r >= 0)
                r = read_numbers(reply, &ret->writes);
        return r;
}

static double largest_of(const double *counts) {
        double largest = 0;

        for (unsigned i = 0; i < HEAT_BUCKETS; i++)
                largest = fmax(largest, counts[i]);
        return largest;
}

static double sum_of(const double *counts) {
        double sum = 0;

        for (unsigned i = 0; i < HEAT_BUCKETS; i++)
                sum += counts[i];
        return sum;
}

/* 0: as good as never. The hottest is the last step, and each before it a fourth. */
static unsigned step_of(double count, double largest) {
        double below;

        if (count < 0.05 || largest <= 0)
                return 0;
        below = floor(log2(largest / count) / 2);
        return below >= STEPS - 2 ? 1 : STEPS - 1 - (unsigned) below;
}

static void draw(const char *title, enum color color, const double *counts, uint64_t size) {
        static const char *const fine[STEPS] = { "\xc2\xb7", "\xe2\x96\x91", "\xe2\x96\x92", "\xe2\x96\x93",
                "\xe2\x96\x88" };
        static const char *const plain[STEPS] = { ".", "-", "+", "#", "@" };
        const char *const *shades = output_is_utf8() ? fine : plain;
        double largest = largest_of(counts);
        char offset[FORMAT_MAX];

        printf("\n%s: %.0f\n", title, sum_of(counts));
        for (unsigned i = 0; i < HEAT_BUCKETS; i += CELLS_PER_ROW) {
                printf("%8s ", format_size(offset, (uint64_t) ((double) size / HEAT_BUCKETS * i)));
                fputs(output_color(stdout, color), stdout);
                for (unsigned k = i; k < i + CELLS_PER_ROW; k++)
                        fputs(shades[step_of(counts[k], largest)], stdout);
                printf("%s\n", output_color(stdout, COLOR_NONE));
        }
}

static struct json_object *to_array(const double *counts) {
        struct json_object *array = json_object_new_array();

        for (unsigned i = 0; array && i < HEAT_BUCKETS; i++)
                (void) json_object_array_add(array, json_object_new_double(round(counts[i] * 1000) / 1000));
        return array;
}

static int show(const struct cli *cli, const char *name, const struct heat *heat) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        char size[FORMAT_MAX], cell[FORMAT_MAX], half_life[FORMAT_MAX];

        if (cli->json != JSON_OFF) {
                object = json_object_new_object();
                if (!object)
                        return -ENOMEM;
                (void) json_object_object_add(object, "name", json_object_new_string(name));
                (void) json_object_object_add(object, "size", json_object_new_int64((int64_t) heat->size));
                (void) json_object_object_add(
                        object, "half_life_usec", json_object_new_int64((int64_t) heat->half_life_usec));
                (void) json_object_object_add(object, "reads", to_array(heat->reads));
                (void) json_object_object_add(object, "writes", to_array(heat->writes));
                (void) output_json(cli, object);
                return 0;
        }

        printf("%s: %s, each character %s of it. An access counts half after %s.\n", name,
                format_size(size, heat->size), format_size(cell, (heat->size + HEAT_BUCKETS - 1) / HEAT_BUCKETS),
                format_duration(half_life, heat->half_life_usec / 1000000));
        draw("Reads", COLOR_GREEN, heat->reads, heat->size);
        draw("Writes", COLOR_RED, heat->writes, heat->size);
        return 0;
}

int verb_heatmap(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL;
        const char *name = arguments[0];
        struct heat heat;
        char action[128];
        int r;

        r = image_check_name(name);
        if (r == 0)
                r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        r = image_path(name, &path);
        if (r < 0)
                return r;
        /* First: of an object that is not there the bus says no more than that. */
        r = bus_call_read(bus, "GetImage", &error, NULL, "s", name);
        if (r >= 0)
                r = sd_bus_call_method(bus, BUS_NAME, path, BUS_IMAGE, "HeatMap", &error, &reply, NULL);
        if (r >= 0)
                r = read_heat(reply, &heat);
        if (r < 0) {
                snprintf(action, sizeof action, "draw the heat map of \"%s\"", name);
                return report_bus(action, name, &error, r);
        }
        return show(cli, name, &heat);
}
