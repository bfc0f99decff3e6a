/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The command line: [GLOBAL OPTIONS] VERB [VERB] [OPTIONS and ARGUMENTS]. getopt_long() does the parsing, once for
 * each level: up to the verb only global options are known; behind it the verb's own too, mixed with its arguments in
 * any order. All complaints are made here, so that they name the nearest word that would have been right. */

#include <getopt.h>
#include <string.h>

#include "arguments.h"
#include "nearest.h"
#include "report.h"
#include "verbs.h"

#define OPTIONS_MAX 24U
#define OPTION_BASE 256 /* above every short option's character */

static bool arg_help, arg_version, arg_no_legend, arg_no_ask_password;
static const char *arg_json;

const struct option_entry global_options[] = {
        { "json", 0, "MODE", "Print JSON: short (one line) or pretty", OPTION_STRING, &arg_json },
        { "no-legend", 0, NULL, "Print tables without the line of titles", OPTION_FLAG, &arg_no_legend },
        { "no-ask-password", 0, NULL, "Do not ask for authorisation", OPTION_FLAG, &arg_no_ask_password },
        { "help", 'h', NULL, "Show this help", OPTION_FLAG, &arg_help },
        { "version", 0, NULL, "Show the version", OPTION_FLAG, &arg_version },
        { NULL },
};

/* What getopt_long() is given, and the way back from its answer to our tables. */
struct option_set {
        const struct option_entry *entries[OPTIONS_MAX];
        struct option longs[OPTIONS_MAX + 1];
        char shorts[2 * OPTIONS_MAX + 3];
        unsigned n;
};

static void option_set_add(struct option_set *set, const struct option_entry *table) {
        for (const struct option_entry *o = table; o && o->name && set->n < OPTIONS_MAX; o++, set->n++) {
                set->entries[set->n] = o;
                set->longs[set->n] = (struct option){
                        .name = o->name,
                        .has_arg = o->kind == OPTION_OPTIONAL ? optional_argument
                                   : o->argument              ? required_argument
                                                              : no_argument,
                        .val = OPTION_BASE + (int) set->n,
                };

                if (o->letter) {
                        size_t k = strlen(set->shorts);

                        set->shorts[k] = o->letter;
                        if (o->argument)
                                set->shorts[k + 1] = ':';
                }
        }
}

/* Sets the option that getopt returned as c. */
static int option_set_take(const struct option_set *set, int c, const char *value) {
        const struct option_entry *o = NULL;
        struct string_list *list;

        for (unsigned i = 0; i < set->n; i++)
                if (c == OPTION_BASE + (int) i || (set->entries[i]->letter && c == set->entries[i]->letter))
                        o = set->entries[i];
        if (!o)
                return -EINVAL;

        switch (o->kind) {
        case OPTION_FLAG:
                *(bool *) o->target = true;
                return 0;
        case OPTION_STRING:
                *(const char **) o->target = value;
                return 0;
        case OPTION_OPTIONAL:
                *(const char **) o->target = value ? value : "";
                return 0;
        case OPTION_LIST:
                list = o->target;
                if (list->n >= STRING_LIST_MAX)
                        return report(
                                FAILURE_USAGE, NULL, "--%s was given more than %u times", o->name, STRING_LIST_MAX);
                list->items[list->n++] = value;
                return 0;
        }

        return -EINVAL;
}

static bool verb_has_option(const struct verb *verb, const char *name) {
        for (const struct option_entry *o = verb->options; o && o->name; o++)
                if (strcmp(o->name, name) == 0)
                        return true;

        return false;
}

/* word is what was typed, with its dashes; words: those of the verb, or NULL. */
static int refuse_option(const struct option_set *set, const char *words, const char *word) {
        char name[64];
        struct nearest nearest = { .word = name };
        size_t n;

        if (word[0] == '-' && word[1] >= '0' && word[1] <= '9')
                return report(FAILURE_USAGE, words, "\"%s\" looks like a number below zero, which nothing here can be",
                        word);
        if (strncmp(word, "--", 2) != 0)
                return report(FAILURE_USAGE, words, "there is no option %s", word);

        n = strcspn(word + 2, "=");
        snprintf(name, sizeof name, "%.*s", (int) (n < sizeof name ? n : sizeof name - 1), word + 2);

        if (!words)
                for (const struct verb *v = verbs; v->name; v++)
                        if (verb_has_option(v, name))
                                return report(FAILURE_USAGE, v->name,
                                        "--%s is an option of \"%s\": it stands behind the verb", name, v->name);

        for (unsigned i = 0; i < set->n; i++)
                nearest_consider(&nearest, set->entries[i]->name);

        if (nearest.best)
                return report(FAILURE_USAGE, words, "there is no option --%s%s%s%s: did you mean --%s?", name,
                        words ? " of \"" : "", words ?: "", words ? "\"" : "", nearest.best);

        return report(FAILURE_USAGE, words, "there is no option --%s%s%s%s", name, words ? " of \"" : "", words ?: "",
                words ? "\"" : "");
}

/* Parses options from argv[1] on. Without a verb it stops at the first word that is none; with one it goes on to the
 * end. Returns the index of the first word that is no option (all behind it are none either when verb is set), or
 * minus an exit code. */
static int parse_options(int argc, char *argv[], const struct verb *parent, const struct verb *verb) {
        char both[64]; /* as help takes them */
        const char *words = NULL;
        struct option_set set = {};

        if (verb) {
                snprintf(both, sizeof both, "%s%s%s", parent ? parent->name : "", parent ? " " : "", verb->name);
                words = both;
        }

        /* "+" stops at the first word, ":" reports a missing value by its own character. */
        strcpy(set.shorts, verb ? ":" : "+:");
        option_set_add(&set, global_options);
        if (verb)
                option_set_add(&set, verb->options);

        opterr = 0;
        optind = 0;
        for (;;) {
                int c, r;

                c = getopt_long(argc, argv, set.shorts, set.longs, NULL);
                if (c < 0)
                        return optind;

                if (c == '?') {
                        char shorthand[] = { '-', (char) optopt, 0 };

                        /* optopt is the option's own number when a flag was given a value. */
                        if (optopt >= OPTION_BASE)
                                return -report(FAILURE_USAGE, words, "--%s takes no value",
                                        set.entries[optopt - OPTION_BASE]->name);
                        /* A number is named as it was typed; getopt stays at a word until it is through with it. */
                        if (optopt >= '0' && optopt <= '9')
                                return -refuse_option(&set, words,
                                        argv[optind] && argv[optind][0] == '-' && argv[optind][1] == optopt
                                                ? argv[optind]
                                                : argv[optind - 1]);
                        return -refuse_option(&set, words, optopt ? shorthand : argv[optind - 1]);
                }
                if (c == ':')
                        return -report(FAILURE_USAGE, words, "%s needs a value", argv[optind - 1]);

                r = option_set_take(&set, c, optarg);
                if (r > 0)
                        return -r;
        }
}

#define KNOWN_MAX 128U

/* "create, list or remove" */
static const char *known_verbs(const struct verb *parent, char ret[static KNOWN_MAX]) {
        size_t n = 0;

        ret[0] = 0;
        for (const struct verb *v = parent->verbs; v && v->name && n < KNOWN_MAX; v++)
                n += (size_t) snprintf(ret + n, KNOWN_MAX - n, "%s%s",
                        v == parent->verbs ? ""
                        : v[1].name        ? ", "
                                           : " or ",
                        v->name);
        return ret;
}

static int refuse_verb(const struct verb *parent, const char *word) {
        struct nearest nearest = { .word = word };
        char known[KNOWN_MAX];

        for (const struct verb *v = parent ? parent->verbs : verbs; v->name; v++)
                nearest_consider(&nearest, v->name);

        if (nearest.best)
                return report(FAILURE_USAGE, parent ? parent->name : NULL,
                        "there is no verb \"%s%s%s\": did you mean \"%s\"?", parent ? parent->name : "",
                        parent ? " " : "", word, nearest.best);
        if (parent)
                return report(FAILURE_USAGE, parent->name, "there is no verb \"%s %s\": \"%s\" needs %s", parent->name,
                        word, parent->name, known_verbs(parent, known));

        return report(FAILURE_USAGE, NULL, "there is no verb \"%s\"", word);
}

static int refuse_missing_verb(const struct verb *parent) {
        char known[KNOWN_MAX];

        return report(
                FAILURE_USAGE, parent->name, "\"%s\" needs a verb: %s", parent->name, known_verbs(parent, known));
}

static int settle_globals(struct cli *cli) {
        cli->no_legend = arg_no_legend;
        cli->no_ask_password = arg_no_ask_password;

        if (!arg_json)
                cli->json = JSON_OFF;
        else if (strcmp(arg_json, "short") == 0)
                cli->json = JSON_SHORT;
        else if (strcmp(arg_json, "pretty") == 0)
                cli->json = JSON_PRETTY;
        else
                return report(FAILURE_USAGE, NULL, "--json=%s: expected short or pretty", arg_json);

        return 0;
}

static int check_count(const struct command *command) {
        const struct verb *v = command->verb;
        const char *before = command->parent ? command->parent->name : "", *space = command->parent ? " " : "";

        if (command->n_arguments < v->min_arguments)
                return report(FAILURE_USAGE, command->parent ? command->parent->name : v->name, "\"%s%s%s\" needs %s",
                        before, space, v->name, v->arguments);
        if (command->n_arguments > v->max_arguments)
                return report(FAILURE_USAGE, command->parent ? command->parent->name : v->name,
                        "\"%s%s%s\" takes %s, and \"%s\" is too much", before, space, v->name,
                        *v->arguments ? v->arguments : "no arguments", command->arguments[v->max_arguments]);

        return 0;
}

int arguments_parse(int argc, char *argv[], struct command *ret) {
        struct command command = {};
        const struct verb *table = verbs;
        int at, r;

        /* Each round eats the words up to and with one verb; argv[0] of the next round is that verb. */
        while (table) {
                at = parse_options(argc, argv, NULL, NULL);
                if (at < 0)
                        return -at;
                if (at >= argc)
                        break;

                command.parent = command.verb;
                command.verb = verb_find(table, argv[at]);
                if (!command.verb)
                        return refuse_verb(command.parent, argv[at]);

                table = command.verb->verbs;
                argv += at;
                argc -= at;
        }

        if (command.verb && command.verb->run) {
                at = parse_options(argc, argv, command.parent, command.verb);
                if (at < 0)
                        return -at;
                command.arguments = argv + at;
                command.n_arguments = (unsigned) (argc - at);
        }

        r = settle_globals(&command.cli);
        if (r > 0)
                return r;

        command.show_help = arg_help;
        if (!command.show_help) {
                if (arg_version) {
                        command.verb = verb_find(verbs, "version");
                        command.parent = NULL;
                        command.n_arguments = 0;
                } else if (!command.verb)
                        return report(FAILURE_USAGE, NULL, "no verb was given");
                else if (!command.verb->run)
                        return refuse_missing_verb(command.verb);

                r = check_count(&command);
                if (r > 0)
                        return r;
        }

        *ret = command;
        return 0;
}
