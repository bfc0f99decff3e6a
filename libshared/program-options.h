/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For a program that systemd starts: answers -h, --help and --version, and complains of any other option and of another number of arguments. Returns the exit status of a program that has nothing more to do, or -1; then its
 * n_arguments arguments are the last ones of argv. arguments: their names, "" for none, and what: a few lines on what it is, both shown behind "Usage: NAME". */
int program_options(
        int argc, char *argv[], const char *name, const char *arguments, int n_arguments, const char *what);

/* The same for a program whose one argument is the name of an image on this host: *ret_image is that when -1 is returned. */
int program_image(int argc, char *argv[], const char *name, const char *what, const char **ret_image);
