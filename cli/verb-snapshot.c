/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Snapshots, written NAME@SNAP everywhere. Removing one, and rolling back to one, cannot be undone: on a terminal the user is shown which it is and asked; where nobody can be asked, --yes
 * has to say it. */

#include <string.h>
#include <time.h>

#include "bus-json.h"
#include "bus.h"
#include "ivbs-lifecycle.h"
#include "output.h"
#include "report.h"
#include "store-job.h"
#include "verbs.h"

static bool arg_yes, arg_no_wait;

static const struct option_entry yes_options[] = {
        { "yes", 'y', NULL, "Do not ask; required where there is no terminal", OPTION_FLAG, &arg_yes },
        { NULL },
};

static const struct option_entry roll_back_options[] = {
        { "yes", 'y', NULL, "Do not ask; required where there is no terminal", OPTION_FLAG, &arg_yes },
        { "no-wait", 0, NULL, "Do not wait for a job that takes its time", OPTION_FLAG, &arg_no_wait },
        { NULL },
};

const struct option_entry wait_options[] = {
        { "no-wait", 0, NULL, "Do not wait for a job that takes its time", OPTION_FLAG, &arg_no_wait },
        { NULL },
};

static int run_create(const struct cli *cli, char *arguments[], unsigned n_arguments);
static int run_list(const struct cli *cli, char *arguments[], unsigned n_arguments);
static int run_remove(const struct cli *cli, char *arguments[], unsigned n_arguments);
static int run_roll_back(const struct cli *cli, char *arguments[], unsigned n_arguments);

const struct verb snapshot_verbs[] = {
        { "create", "NAME@SNAP", "Make a snapshot of an image, which may be in use", 1, 1, wait_options, run_create,
                NULL },
        { "list", "NAME", "Show the snapshots of an image", 1, 1, NULL, run_list, NULL },
        { "remove", "NAME@SNAP", "Remove a snapshot", 1, 1, yes_options, run_remove, NULL },
        { "rollback", "NAME@SNAP", "Make an image what it was, losing what was written since", 1, 1, roll_back_options,
                run_roll_back, NULL },
        { NULL },
};

struct target {
        char name[IVBS_IMAGE_NAME_SIZE], snapshot[IVBS_IMAGE_NAME_SIZE];
};

static int parse(const char *text, struct target *ret) {
        if (ivbs_snapshot_name_split(text, ret->name, ret->snapshot) < 0 || !*ret->snapshot)
                return report(FAILURE_USAGE, "snapshot",
                        "\"%s\" is no snapshot: expected NAME@SNAP, such as vm1@before-upgrade", text);
        return 0;
}

/* A call with these names and no options, whose result is a job. */
static int make(const struct cli *cli, sd_bus *bus, const char *member, const struct target *target,
        const char *new_name, const char *action) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = bus_new_change(cli, bus, member, &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "ss", target->name, target->snapshot);
        if (r >= 0 && new_name)
                r = sd_bus_message_append(message, "s", new_name);
        if (r >= 0)
                r = sd_bus_message_append(message, "a{sv}", 0);
        if (r < 0)
                return r;
        r = bus_call_change(cli, bus, message, &error, &reply);
        if (r < 0)
                return report_bus(action, target->name, &error, r);

        return store_job_conclude(cli, bus, reply, action, !arg_no_wait, "Nothing was made.");
}

static void say(const struct cli *cli, const char *what, const char *then) {
        if (cli->json != JSON_OFF || arg_no_wait)
                return;
        output_text(stdout, what);
        puts(then);
}

static int run_create(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        struct target target;
        char action[600];
        int r;

        r = parse(arguments[0], &target);
        if (r == 0)
                r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        snprintf(action, sizeof action, "make \"%s\"", arguments[0]);
        r = make(cli, bus, "CreateSnapshot", &target, NULL, action);
        if (r == 0)
                say(cli, arguments[0], " is made.");
        return r;
}

/* --- list --- */

static int load(sd_bus *bus, const char *name, sd_bus_error *error, struct json_object **ret) {
        static const char *const fields[] = { "name", "size", "used", "created_usec", "uuid", "attached", NULL };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r;

        r = bus_call_read(bus, "ListSnapshots", error, &reply, "s", name);
        return r < 0 ? r : bus_json_read_records(reply, fields, ret);
}

static int add_time(struct json_object *snapshot) {
        time_t seconds = (time_t) (json_number(snapshot, "created_usec") / 1000000);
        char text[64] = "";
        struct tm tm;

        if (localtime_r(&seconds, &tm))
                (void) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
        return json_object_object_add(snapshot, "created", json_object_new_string(text)) < 0 ? -ENOMEM : 0;
}

static int run_list(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        static const struct column columns[] = {
                { "SNAPSHOT", "name", COLUMN_TEXT },
                { "SIZE", "size", COLUMN_SIZE },
                { "USED", "used", COLUMN_SIZE },
                { "MADE", "created", COLUMN_TEXT },
                { "IN USE", "attached", COLUMN_YES },
        };
        _cleanup_(json_object_putp) struct json_object *snapshots = NULL;
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        char action[300];
        int r;

        r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        r = load(bus, arguments[0], &error, &snapshots);
        if (r < 0) {
                snprintf(action, sizeof action, "list the snapshots of \"%s\"", arguments[0]);
                return report_bus(action, arguments[0], &error, r);
        }
        for (size_t i = 0; cli->json == JSON_OFF && i < json_object_array_length(snapshots); i++) {
                r = add_time(json_object_array_get_idx(snapshots, i));
                if (r < 0)
                        return r;
        }
        return output_table(cli, columns, ELEMENTSOF(columns), snapshots);
}

/* --- what cannot be undone --- */

/* Returns 0 to go on, or an exit code. */
static int ask(const char *question, const char *what) {
        char answer[16];

        fputs(question, stderr);
        output_text(stderr, what);
        fputs("? [y/N] ", stderr);
        fflush(stderr);
        if (fgets(answer, sizeof answer, stdin) && (strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0))
                return 0;

        remark("Nothing was changed.");
        return CLI_EXIT_INTERRUPTED;
}

static int confirm(const char *verb, const char *question, const char *what) {
        if (arg_yes)
                return 0;
        if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
                return report(FAILURE_USAGE, "snapshot",
                        "to %s \"%s\" destroys data, and there is no terminal to ask on: nothing was changed; say "
                        "--yes if "
                        "you mean it",
                        verb, what);
        return ask(question, what);
}

static int run_remove(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        struct target target;
        char action[600];
        int r;

        r = parse(arguments[0], &target);
        if (r == 0)
                r = confirm("remove", "Remove the snapshot ", arguments[0]);
        if (r == 0)
                r = bus_open(cli, &bus);
        if (r != 0)
                return r;

        r = bus_new_change(cli, bus, "RemoveSnapshot", &message);
        if (r >= 0)
                r = sd_bus_message_append(message, "ssa{sv}", target.name, target.snapshot, 0);
        if (r < 0)
                return r;
        r = bus_call_change(cli, bus, message, &error, NULL);
        if (r < 0) {
                snprintf(action, sizeof action, "remove \"%s\"", arguments[0]);
                return report_bus(action, target.name, &error, r);
        }
        say(cli, arguments[0], " is removed.");
        return 0;
}

static int run_roll_back(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        struct target target;
        char action[600];
        int r;

        r = parse(arguments[0], &target);
        if (r == 0)
                r = confirm("roll back to", "Lose all that was written since, and roll back to ", arguments[0]);
        if (r == 0)
                r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        snprintf(action, sizeof action, "roll \"%s\" back to \"%s\"", target.name, target.snapshot);
        r = make(cli, bus, "RollBackImage", &target, NULL, action);
        if (r == 0)
                say(cli, target.name, " is rolled back.");
        return r;
}

int verb_clone(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        struct target target;
        char action[900];
        int r;

        r = parse(arguments[0], &target);
        if (r == 0)
                r = bus_open(cli, &bus);
        if (r != 0)
                return r;
        snprintf(action, sizeof action, "clone \"%s\" as \"%s\"", arguments[0], arguments[1]);
        r = make(cli, bus, "CloneImage", &target, arguments[1], action);
        if (r == 0)
                say(cli, arguments[1], " is made.");
        return r;
}
