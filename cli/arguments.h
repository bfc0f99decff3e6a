/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/* A parsed command line. Everything in it points into argv or into the tables. */
struct command {
        struct cli cli;
        const struct verb *parent; /* "user" of "user add", else NULL */
        const struct verb *verb;   /* never NULL unless show_help */
        bool show_help;
        char **arguments;
        unsigned n_arguments;
};

extern const struct option_entry global_options[];

/* Returns 0, or FAILURE_USAGE after having told the user what is wrong. argv is permuted. */
int arguments_parse(int argc, char *argv[], struct command *ret);
