/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads are free. For the rest the bus is asked who calls: root may; for everybody else polkit decides, and may ask the user when the caller allows that. Both questions are
 * asynchronous, for a password prompt takes minutes: the handler is simply run again when the answer has come, and finds it here. Without polkit on the bus only root
 * may, and the refusal says so. */

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/queue.h>

#include "bouncer.h"
#include "peer-bus.h"

#define QUESTIONS_MAX     128U
#define ASK_BUS_USEC      (10U * 1000U * 1000U)
#define ASK_POLKIT_USEC   (180U * 1000U * 1000U) /* somebody types a password */
#define ALLOW_INTERACTION 1U

static const struct {
        const char *method, *action, *others; /* others: where it is not the caller's; NULL: the same */
} actions[] = {
        { "AttachImage", "org.blockstore.attach-image" },
        { "Attach", "org.blockstore.attach-image" },
        { "DetachImage", "org.blockstore.detach-image", "org.blockstore.detach-image-others" },
        { "Detach", "org.blockstore.detach-image", "org.blockstore.detach-image-others" },
        { "CreateImage", "org.blockstore.create-image" },
        { "PreallocateImage", "org.blockstore.create-image" },
        { "RemoveImage", "org.blockstore.remove-image" },
        { "ImportImage", "org.blockstore.import-image" },
        { "ExportImage", "org.blockstore.export-image" },
        { "RenameImage", "org.blockstore.rename-image" },
        { "CreateSnapshot", "org.blockstore.manage-snapshots" },
        { "RemoveSnapshot", "org.blockstore.manage-snapshots" },
        { "RollBackImage", "org.blockstore.manage-snapshots" },
        { "CloneImage", "org.blockstore.create-image" },
        { "CancelStoreJob", "org.blockstore.manage-snapshots" },
        { "ScrubImage", "org.blockstore.maintain-image" },
        { "SetImageLimits", "org.blockstore.maintain-image" },
        { "ResizeImage", "org.blockstore.resize-image" },
        { "Resize", "org.blockstore.resize-image" },
        { "DrainProxy", "org.blockstore.drain-proxy" },
        { "Upgrade", "org.blockstore.upgrade" },
        { "Cancel", "org.blockstore.cancel-own-job", "org.blockstore.cancel-job" },
        { "GetImage", NULL },
        { "HeatMap", NULL },
        { "Holders", NULL },
        { "ListImages", NULL },
        { "ListStoreImages", NULL },
        { "ListProxies", NULL },
        { "ListSnapshots", NULL },
        { "GetStoreJob", NULL },
        { "FollowStoreJob", NULL },
        { "GetStoreStatus", "org.blockstore.store-status" },
        { "GetImageCare", NULL },
        { "ProbeProxies", NULL },
};

#define STRICTEST_ACTION "org.blockstore.remove-image"

enum answer {
        ANSWER_PENDING,
        ANSWER_GRANTED,
        ANSWER_REFUSED,
        ANSWER_WANTS_INTERACTION,
        ANSWER_NO_POLKIT,
};

struct question {
        struct bouncer *bouncer;
        LIST_ENTRY(question) entry;
        sd_bus_message *message;
        sd_bus_message_handler_t handler;
        void *userdata;
        sd_bus_slot *slot;
        uid_t owner, caller; /* of what is asked about; who asks, when that is known */
        enum answer answer;
};

struct bouncer {
        LIST_HEAD(question_list, question) questions;
        unsigned n;
};

const char *bouncer_action(const char *method, bool is_owner) {
        for (size_t i = 0; method && i < ELEMENTSOF(actions); i++)
                if (strcmp(actions[i].method, method) == 0)
                        return actions[i].others && !is_owner ? actions[i].others : actions[i].action;
        return STRICTEST_ACTION;
}

int bouncer_new(struct bouncer **ret) {
        struct bouncer *bouncer = calloc(1, sizeof(*bouncer));

        if (!bouncer)
                return -ENOMEM;
        LIST_INIT(&bouncer->questions);
        *ret = bouncer;
        return 0;
}

static void question_free(struct question *question) {
        LIST_REMOVE(question, entry);
        question->bouncer->n--;
        sd_bus_slot_unref(question->slot);
        sd_bus_message_unref(question->message);
        free(question);
}

void bouncer_clear(struct bouncer *bouncer) {
        while (!LIST_EMPTY(&bouncer->questions))
                question_free(LIST_FIRST(&bouncer->questions));
}

struct bouncer *bouncer_free(struct bouncer *bouncer) {
        if (!bouncer)
                return NULL;
        bouncer_clear(bouncer);
        free(bouncer);
        return NULL;
}

unsigned bouncer_count(const struct bouncer *bouncer) {
        return bouncer->n;
}

static const char *action_of(const struct question *question) {
        return bouncer_action(sd_bus_message_get_member(question->message), question->caller == question->owner);
}

/* Runs the handler again, which asks bouncer_check() and finds the answer. */
static void answer(struct question *question, enum answer value) {
        sd_bus_message *message = sd_bus_message_ref(question->message);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        question->answer = value;
        question->slot = sd_bus_slot_unref(question->slot);

        r = sd_bus_message_rewind(message, true);
        if (r >= 0)
                r = question->handler(message, question->userdata, &error);
        if (r < 0 || sd_bus_error_is_set(&error))
                (void) sd_bus_reply_method_errno(message, r, &error);

        sd_bus_error_free(&error);
        question_free(question);
        sd_bus_message_unref(message);
}

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct question *question = userdata;
        const sd_bus_error *failed = sd_bus_message_get_error(reply);
        int granted = 0, challenge = 0;

        if (failed) {
                bool missing = sd_bus_error_has_name(failed, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                               sd_bus_error_has_name(failed, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
                               sd_bus_error_has_name(failed, "org.freedesktop.systemd1.NoSuchUnit") ||
                               sd_bus_error_has_name(failed, "org.freedesktop.DBus.Error.Spawn.ServiceNotFound");

                answer(question, missing ? ANSWER_NO_POLKIT : ANSWER_REFUSED);
                return 0;
        }

        if (sd_bus_message_enter_container(reply, SD_BUS_TYPE_STRUCT, "bba{ss}") < 0 ||
                sd_bus_message_read(reply, "bb", &granted, &challenge) < 0)
                granted = challenge = 0;

        answer(question, granted ? ANSWER_GRANTED : challenge ? ANSWER_WANTS_INTERACTION : ANSWER_REFUSED);
        return 0;
}

static int ask_polkit(struct question *question) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        sd_bus *bus = sd_bus_message_get_bus(question->message);
        int r;

        r = sd_bus_message_new_method_call(bus, &call, "org.freedesktop.PolicyKit1",
                "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r < 0)
                return r;

        r = sd_bus_message_append(call, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                sd_bus_message_get_sender(question->message), action_of(question), 0,
                sd_bus_message_get_allow_interactive_authorization(question->message) > 0 ? ALLOW_INTERACTION : 0, "");
        if (r < 0)
                return r;

        return sd_bus_call_async(bus, &question->slot, call, on_polkit, question, ASK_POLKIT_USEC);
}

static int on_user(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct question *question = userdata;
        uint32_t uid;

        question->slot = sd_bus_slot_unref(question->slot);

        if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "u", &uid) < 0)
                answer(question, ANSWER_REFUSED);
        else if ((question->caller = uid) == 0)
                answer(question, ANSWER_GRANTED);
        else if (ask_polkit(question) < 0)
                answer(question, ANSWER_REFUSED);
        return 0;
}

static int refuse(const struct question *question, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(question->message);

        switch (question->answer) {
        case ANSWER_WANTS_INTERACTION:
                return sd_bus_error_setf(error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                        "%s needs to be authorised (action %s)", member, action_of(question));
        case ANSWER_NO_POLKIT:
                return peer_bus_error_set(error, FAILURE_ACCESS_DENIED,
                        "%s is for root only: polkit is not running on this system", member);
        case ANSWER_PENDING:
        case ANSWER_GRANTED:
        case ANSWER_REFUSED:
        default:
                return peer_bus_error_set(error, FAILURE_ACCESS_DENIED, "%s was refused (polkit action %s)", member,
                        action_of(question));
        }
}

static struct question *find_answered(const struct bouncer *bouncer, const sd_bus_message *message) {
        struct question *question;

        LIST_FOREACH(question, &bouncer->questions, entry)
                if (question->message == message && question->answer != ANSWER_PENDING)
                        return question;
        return NULL;
}

uid_t bouncer_caller(const struct bouncer *bouncer, const sd_bus_message *message) {
        const struct question *question = find_answered(bouncer, message);

        return question ? question->caller : 0;
}

int bouncer_check(struct bouncer *bouncer, sd_bus_message *message, sd_bus_message_handler_t handler, void *userdata,
        sd_bus_error *error) {
        return bouncer_check_owner(bouncer, message, 0, handler, userdata, error);
}

int bouncer_check_owner(struct bouncer *bouncer, sd_bus_message *message, uid_t owner,
        sd_bus_message_handler_t handler, void *userdata, sd_bus_error *error) {
        sd_bus *bus = sd_bus_message_get_bus(message);
        struct question *question;
        int r;

        if (!bouncer_action(sd_bus_message_get_member(message), false))
                return 1;

        question = find_answered(bouncer, message);
        if (question && question->owner != owner)
                return peer_bus_error_set(error, FAILURE_BUSY, "The image has changed hands meanwhile; try again");
        if (question)
                return question->answer == ANSWER_GRANTED ? 1 : refuse(question, error);

        if (bouncer->n >= QUESTIONS_MAX)
                return peer_bus_error_set(
                        error, FAILURE_BUSY, "Too many callers are being authorised; try again later");

        question = calloc(1, sizeof(*question));
        if (!question)
                return -ENOMEM;
        *question = (struct question){
                .bouncer = bouncer,
                .message = sd_bus_message_ref(message),
                .handler = handler,
                .userdata = userdata,
                .owner = owner,
                .caller = (uid_t) -1,
        };
        LIST_INSERT_HEAD(&bouncer->questions, question, entry);
        bouncer->n++;

        {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;

                r = sd_bus_message_new_method_call(bus, &call, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "GetConnectionUnixUser");
                if (r >= 0)
                        r = sd_bus_message_append(call, "s", sd_bus_message_get_sender(message));
                if (r >= 0)
                        r = sd_bus_call_async(bus, &question->slot, call, on_user, question, ASK_BUS_USEC);
        }
        if (r < 0) {
                question_free(question);
                return r;
        }
        return 0;
}
