/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The mail that asks for a survey carries the picture back. */

#include <errno.h>
#include <stdlib.h>

#include "engine-internal.h"
#include "survey.h"

struct survey_mail {
        struct mail mail;
        struct engine *engine;
        engine_surveyed_t done;
        void *userdata;
        struct engine_status status;
};

static void on_result(struct mail *mail, void *context) {
        _cleanup_free_ struct survey_mail *survey = (struct survey_mail *) mail;

        survey->done(survey->userdata, &survey->status);
}

static void surveyed(void *userdata) {
        struct survey_mail *survey = userdata;
        struct engine *engine = survey->engine;

        engine->n_surveys--;
        engine_take_picture(engine, &survey->status);
        survey->mail.deliver = on_result;
        if (mailbox_send(engine->to_main, &survey->mail) < 0)
                free(survey);
        engine_stop_step(engine);
}

static void on_survey(struct mail *mail, void *context) {
        struct survey_mail *survey = (struct survey_mail *) mail;
        struct engine *engine = context;

        survey->engine = engine;
        engine->n_surveys++;
        if (engine->stopping ||
                survey_start(engine->ring, engine->settings.config, engine->settings.credentials,
                        pool_get_proxies(engine->pool), pool_get_active(engine->pool), surveyed, survey) < 0)
                surveyed(survey);
}

int engine_survey(struct engine *engine, engine_surveyed_t done, void *userdata) {
        struct survey_mail *survey;
        int r;

        survey = calloc(1, sizeof(*survey));
        if (!survey)
                return -ENOMEM;

        *survey = (struct survey_mail){ .mail.deliver = on_survey, .done = done, .userdata = userdata };
        r = mailbox_send(engine->to_io, &survey->mail);
        if (r < 0)
                free(survey);
        return r;
}
