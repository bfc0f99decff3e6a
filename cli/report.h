/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "cleanup.h"
#include "error-table.h"

/* Tells the user what failed on stderr, "blockstorectl: MESSAGE." and below it what to do about it. subject is what
 * the advice speaks of: an image's name, for FAILURE_USAGE the verb whose help fits; NULL for none. Returns the exit
 * code, which is the failure's number. */
int report(enum failure failure, const char *subject, const char *format, ...) _printf_(3, 4);

/* The same without advice: the message has all there is to say. */
int report_plain(enum failure failure, const char *format, ...) _printf_(2, 3);

/* The same for a D-Bus call that failed with error (may be unset) and r. action is what was tried: "attach \"vm1\"".
 */
int report_bus(const char *action, const char *subject, const sd_bus_error *error, int r);

/* A remark on stderr that is no error and changes no exit code. */
void remark(const char *format, ...) _printf_(1, 2);
