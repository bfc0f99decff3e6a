/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What "blockstorectl doctor" is made of: checks, each of which looks at one thing and reports findings. A check changes nothing and waits for nobody longer than a bus call may take.
 * Those of one domain stand in one file (doctor-DOMAIN.c); the table of all is in verb-doctor.c. */

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "cli.h"

/* Exit codes of the verb: no failures of blockstorectl itself, which have those of error-table.h. */
#define DOCTOR_EXIT_WARNINGS 1
#define DOCTOR_EXIT_ERRORS   2

#define DOCTOR_COMMAND_MAX   1024U
#define DOCTOR_OUTPUT_MAX    16384U

enum finding_status {
        FINDING_OK,
        FINDING_WARNING, /* works, but not as it should, or not for long */
        FINDING_ERROR,   /* does not work */
        FINDING_SKIPPED, /* could not be looked at */
};

const char *finding_status_to_string(enum finding_status status);

struct doctor {
        const struct cli *cli;
        char **images; /* local names to look at, NULL-terminated */
        sd_bus *bus;   /* the system bus; NULL: it cannot be reached, because of bus_error (a negative errno) */
        int bus_error;
        const char *id; /* of the check that runs */
        const char *what;
        struct json_object *findings; /* objects: id, what, status, subject, message, command */
        unsigned counts[FINDING_SKIPPED + 1];
        int error; /* -ENOMEM when a finding was lost */
};

/* Reports a finding of the check that runs. subject: the unit, file, image or proxy in question, NULL for none. command: what mends it, one line for root's shell, NULL when no single command does. The
 * same finding is kept once. */
void found(struct doctor *d, enum finding_status status, const char *subject, const char *command, const char *format,
        ...) _printf_(5, 6);

/* Runs a program (absolute path, no shell, standard input empty, standard error with its output) for up to 10 s. Returns its exit status, or a negative errno: -ENOENT, -ETIMEDOUT, -ECHILD when it was killed
 * otherwise. output may be NULL: it is thrown away; else it has at most DOCTOR_OUTPUT_MAX - 1 bytes of it and ends with 0. */
int doctor_run(const char *const argv[], char output[DOCTOR_OUTPUT_MAX]);

/* The first line of a small file, without its end. Returns 0 or a negative errno. */
int doctor_read_line(const char *path, char *buffer, size_t size);

/* Whether this runs in a container, which has its host's kernel and devices. */
bool doctor_in_container(void);

/* How what was installed is installed anew: a command for found(). */
const char *doctor_reinstall(void);

/* Has said so when it returns false: nothing behind the bus can be looked at. */
bool doctor_needs_bus(struct doctor *d);

/* Properties of systemd's units, and calls of its manager. */
int systemd_unit_path(struct doctor *d, const char *unit, char **ret);
bool doctor_needs_systemd(struct doctor *d);

typedef void (*check_run_t)(struct doctor *d);

/* doctor-kernel.c */
void check_kernel_version(struct doctor *d);
void check_nbd_module(struct doctor *d);
void check_nbd_partitions(struct doctor *d);
void check_io_uring(struct doctor *d);
/* doctor-udev.c */
void check_udev_rule(struct doctor *d);
void check_udev_links(struct doctor *d);
/* doctor-units.c */
void check_units(struct doctor *d);
void check_unit_settings(struct doctor *d);
void check_failed_units(struct doctor *d);
/* doctor-bus.c */
void check_bus(struct doctor *d);
void check_bus_policy(struct doctor *d);
void check_bus_name(struct doctor *d);
void check_polkit(struct doctor *d);
/* doctor-config.c */
void check_host_config(struct doctor *d);
void check_image_config(struct doctor *d);
void check_proxyd_config(struct doctor *d);
/* doctor-credentials.c */
void check_credentials(struct doctor *d);
/* doctor-store.c */
void check_proxies(struct doctor *d);
void check_store_images(struct doctor *d);
void check_image_states(struct doctor *d);
/* doctor-network.c */
void check_encryption(struct doctor *d);
/* doctor-mounts.c */
void check_fstab(struct doctor *d);
void check_ordering(struct doctor *d);
/* doctor-boot.c */
void check_generator(struct doctor *d);
bool doctor_has_generator(void); /* and nothing stands before it */
void check_shutdown(struct doctor *d);
/* doctor-host.c */
void check_clock(struct doctor *d);
void check_run_space(struct doctor *d);
void check_users(struct doctor *d);
void check_group_members(struct doctor *d);
void check_directories(struct doctor *d);
