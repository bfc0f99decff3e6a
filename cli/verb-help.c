/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Help is the tables of verbs and options, printed: it cannot miss one. */

#include <string.h>

#include "arguments.h"
#include "nearest.h"
#include "output.h"
#include "report.h"
#include "verbs.h"

#define HELP_COLUMN 30

static void entry_print(unsigned indent, const char *left, const char *right) {
        int pad = HELP_COLUMN - (int) indent - (int) strlen(left);

        printf("%*s%s%*s%s\n", (int) indent, "", left, pad > 2 ? pad : 2, "", right);
}

static void options_print(unsigned indent, const struct option_entry *options) {
        for (const struct option_entry *o = options; o && o->name; o++) {
                char letter[] = { '-', o->letter, ' ', 0 }, left[96];

                snprintf(left, sizeof left, "%s--%s%s%s%s", o->letter ? letter : "", o->name,
                        !o->argument                 ? ""
                        : o->kind == OPTION_OPTIONAL ? "[="
                                                     : "=",
                        o->argument ? o->argument : "", o->kind == OPTION_OPTIONAL ? "]" : "");
                entry_print(indent, left, o->help);
        }
}

static void verb_print(const struct verb *parent, const struct verb *verb) {
        char left[96];

        if (verb->verbs) {
                for (const struct verb *v = verb->verbs; v->name; v++)
                        verb_print(verb, v);
                return;
        }

        snprintf(left, sizeof left, "%s%s%s%s%s", parent ? parent->name : "", parent ? " " : "", verb->name,
                *verb->arguments ? " " : "", verb->arguments);
        entry_print(2, left, verb->help);
        options_print(6, verb->options);
}

void help_print(const struct verb *parent, const struct verb *verb) {
        const char *bold = output_color(stdout, COLOR_BOLD), *normal = output_color(stdout, COLOR_NONE);

        if (verb) {
                printf("blockstorectl [OPTIONS...] %s%s%s%s%s\n\n", parent ? parent->name : "", parent ? " " : "",
                        verb->name, *verb->arguments ? " " : "", verb->arguments);
                verb_print(parent, verb);
        } else {
                printf("blockstorectl [OPTIONS...] VERB ...\n\nNetwork block images on this host.\n\n%sVerbs:%s\n",
                        bold, normal);
                for (const struct verb *v = verbs; v->name; v++)
                        verb_print(NULL, v);
        }

        printf("\n%sOptions:%s\n", bold, normal);
        options_print(2, global_options);
        printf("\nSee blockstorectl(1) for exit codes and examples.\n");
}

int verb_help(const struct cli *cli, char *arguments[], unsigned n_arguments) {
        const struct verb *parent = NULL, *verb = NULL, *table = verbs;

        for (unsigned i = 0; i < n_arguments; i++) {
                struct nearest nearest = { .word = arguments[i] };

                if (!table)
                        return report(FAILURE_USAGE, NULL, "\"%s\" has no verbs of its own, such as \"%s\"",
                                verb ? verb->name : "", arguments[i]);

                parent = verb;
                verb = verb_find(table, arguments[i]);
                if (verb) {
                        table = verb->verbs;
                        continue;
                }

                for (const struct verb *v = table; v->name; v++)
                        nearest_consider(&nearest, v->name);
                if (nearest.best)
                        return report(FAILURE_USAGE, NULL, "there is no verb \"%s\": did you mean \"%s\"?",
                                arguments[i], nearest.best);
                return report(FAILURE_USAGE, NULL, "there is no verb \"%s\"", arguments[i]);
        }

        help_print(parent, verb);
        return 0;
}
