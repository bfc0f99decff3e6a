/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Stands in for libFuzzer where the compiler has none: runs the target once for each file, and for each file of each directory, that is named on the
 * command line. Exit status 0 when all were run, and there was at least one. */

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "fuzz.h"

static unsigned n_run;

static int run_file(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        _cleanup_free_ uint8_t *data = NULL, *exact = NULL;
        size_t n;
        struct stat st;

        if (!f || fstat(fileno(f), &st) < 0) {
                fprintf(stderr, "%s: %m\n", path);
                return -1;
        }

        data = malloc((size_t) st.st_size + 1);
        if (!data)
                return -1;
        n = fread(data, 1, (size_t) st.st_size, f);
        exact = exact_copy(data, n);
        printf("%s, %zu bytes\n", path, n);
        fflush(stdout);
        LLVMFuzzerTestOneInput(exact, n);
        n_run++;
        return 0;
}

static int run_directory(const char *path) {
        struct dirent **entries;
        int n, r = 0;

        n = scandir(path, &entries, NULL, alphasort);
        if (n < 0) {
                fprintf(stderr, "%s: %m\n", path);
                return -1;
        }

        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *file = NULL;

                if (entries[i]->d_name[0] != '.') {
                        if (asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0)
                                abort();
                        if (run_file(file) < 0)
                                r = -1;
                }
                free(entries[i]);
        }
        free(entries);
        return r;
}

int main(int argc, char *argv[]) {
        bool failed = false;

        for (int i = 1; i < argc; i++) {
                struct stat st;

                if (stat(argv[i], &st) < 0) {
                        fprintf(stderr, "%s: %m\n", argv[i]);
                        failed = true;
                } else if ((S_ISDIR(st.st_mode) ? run_directory : run_file)(argv[i]) < 0)
                        failed = true;
        }

        if (n_run == 0) {
                fprintf(stderr, "Nothing to run: expected files or directories of a corpus.\n");
                return EXIT_FAILURE;
        }
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
