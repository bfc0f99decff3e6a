/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One table says what an outcome is called wherever a user meets it: the exit status of a worker (systemctl status), the name of a
 * D-Bus error, and the exit code of blockstorectl. docs/dbus.md is checked against it by a unit test.
 *
 * The numbers are those of sysexits.h where it has a fitting one, so that RestartPreventExitStatus= reads well. */

enum failure {
        FAILURE_NONE = 0,
        FAILURE_USAGE = 64,          /* the caller's words are off */
        FAILURE_PROTOCOL = 65,       /* the other side broke the protocol */
        FAILURE_NO_SUCH_IMAGE = 66,  /* the store has no image of that name, or this host knows none */
        FAILURE_NOT_ATTACHED = 67,   /* the image is known, but not attached here */
        FAILURE_NO_PROXY = 69,       /* no proxy could be reached in time */
        FAILURE_INTERNAL = 70,       /* a defect of ours, or out of memory */
        FAILURE_SYSTEM = 71,         /* this system lacks something: NBD, io_uring, systemd */
        FAILURE_BUSY = 72,           /* somebody holds the device, or an operation is under way */
        FAILURE_ALREADY_EXISTS = 73, /* an image of that name is there already */
        FAILURE_IO = 74,             /* the store failed: I/O error, no space */
        FAILURE_HELD = 75,           /* the image is attached read-write by another host */
        FAILURE_TIMEOUT = 76,        /* started, and not finished within its time */
        FAILURE_ACCESS_DENIED = 77,  /* login refused, no right to the image, or polkit said no */
        FAILURE_CONFIGURATION = 78,  /* a configuration file or a credential is wrong or missing */
};

struct failure_entry {
        enum failure failure;
        const char *bus_name;    /* "org.blockstore.Error.NoSuchImage" */
        const char *description; /* half a sentence, for a user */
};

extern const struct failure_entry failure_table[];
extern const unsigned failure_table_size;

/* The table's entry. A value that is not in the table gives the entry of FAILURE_INTERNAL: never NULL. */
const struct failure_entry *failure_lookup(enum failure failure);

/* The failure of a D-Bus error name; FAILURE_INTERNAL for a name that is not ours. The well-known names of the bus itself
 * (AccessDenied, InvalidArgs, NoReply, ServiceUnknown ...) are mapped too. */
enum failure failure_from_bus_name(const char *bus_name);
