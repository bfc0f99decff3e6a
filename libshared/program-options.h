/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For a program that systemd starts without arguments: answers -h, --help and --version, and complains of anything else. Returns the exit status of a program that has nothing more to do, or -1 when it was called without
 * arguments. what: a few lines on what it is, behind "Usage: NAME". */
int program_options(int argc, char *argv[], const char *name, const char *what);
