/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

extern const struct verb verbs[];

int verb_attach(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_clone(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_create(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_detach(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_upgrade(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_doctor(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_heatmap(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_export(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_import(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_help(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_import_config(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_limit(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_list(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_monitor(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_proxies(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_remove(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_rename(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_resize(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_scrub(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_shell(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_status(const struct cli *cli, char *arguments[], unsigned n_arguments);
int verb_version(const struct cli *cli, char *arguments[], unsigned n_arguments);

extern const struct option_entry attach_options[];
extern const struct option_entry create_options[];
extern const struct option_entry doctor_options[];
extern const struct option_entry export_options[];
extern const struct option_entry import_options[];
extern const struct option_entry upgrade_options[];
extern const struct option_entry detach_options[];
extern const struct option_entry import_config_options[];
extern const struct option_entry limit_options[];
extern const struct option_entry list_options[];
extern const struct option_entry remove_options[];
extern const struct option_entry wait_options[]; /* of what may take its time in the store */
extern const struct option_entry resize_options[];
extern const struct option_entry scrub_options[];
extern const struct verb proxy_verbs[];
extern const struct verb snapshot_verbs[];
extern const struct verb store_verbs[];
extern const struct verb user_verbs[];

/* NULL when the table has no such verb. */
const struct verb *verb_find(const struct verb *table, const char *name);

/* Shown by "help", by --help and by "help VERB"; verb is NULL for all of them, parent the verb above it or NULL. */
void help_print(const struct verb *parent, const struct verb *verb);
