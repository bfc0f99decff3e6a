/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every verb of blockstorectl is told, and the shape of a verb and of an option. The tables made of these are the
 * only place where verbs and options are named: parsing, --help and the suggestion for a misspelt word all read them
 * (a test compares man page and completion with --help). */

#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"
#include "error-table.h"

#define CLI_EXIT_INTERRUPTED 130 /* 128 + SIGINT, as a shell reports it: waiting was ended by the user */
#define STRING_LIST_MAX      64U

enum json_mode {
        JSON_OFF,
        JSON_SHORT,  /* one line */
        JSON_PRETTY, /* indented */
};

/* The global options. */
struct cli {
        enum json_mode json;
        bool no_legend;
        bool no_ask_password; /* never ask for authorisation interactively */
};

/* Points into argv, owns nothing. */
struct string_list {
        const char *items[STRING_LIST_MAX];
        size_t n;
};

enum option_kind {
        OPTION_FLAG,     /* target: bool */
        OPTION_STRING,   /* target: const char *, the last one given counts */
        OPTION_OPTIONAL, /* the same; "" when it was given without a value, which stands behind "=" only */
        OPTION_LIST,     /* target: struct string_list, may be repeated */
};

struct option_entry {
        const char *name;     /* without the dashes; NULL ends a table */
        char letter;          /* short form, 0 for none */
        const char *argument; /* what --help calls it, NULL for a flag */
        const char *help;
        enum option_kind kind;
        void *target;
};

/* Returns an exit code: 0 or a value of enum failure that has been reported to the user, or CLI_EXIT_INTERRUPTED; or a
 * negative errno that nobody has told the user yet. */
typedef int (*verb_run_t)(const struct cli *cli, char *arguments[], unsigned n_arguments);

struct verb {
        const char *name;      /* NULL ends a table */
        const char *arguments; /* "NAME SIZE", "" for none */
        const char *help;
        unsigned min_arguments, max_arguments;
        const struct option_entry *options; /* NULL for none */
        verb_run_t run;
        const struct verb *verbs; /* "user" has verbs of its own, and then no run */
};
