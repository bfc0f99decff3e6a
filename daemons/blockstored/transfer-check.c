/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The first phase of a transfer: whether it can be, as the store and this host are now. What is refused here has changed nothing. What the store refuses later (somebody else was quicker) ends in the same order. */

#include <errno.h>
#include <string.h>

#include "transfer-internal.h"

static bool is_snapshot(const struct transfer *transfer) {
        return transfer->wish.export && strchr(transfer->wish.name, '@');
}

static const char *attached_here(const struct transfer *transfer) {
        struct managed *managed, *next;

        HASH_ITER(hh, transfer->manager->images, managed, next)
                if (managed->link && strcmp(managed->image->image_name, transfer->wish.name) == 0 &&
                        strcmp(managed->image->name, transfer->local) != 0)
                        return managed->image->name;
        return NULL;
}

struct listed {
        bool image, image_attached, stage;
        char stage_uuid[37];
};

static void judge_export(struct transfer *transfer, const struct listed *listed) {
        const char *here = attached_here(transfer);

        if (here)
                transfer_settle(transfer, FAILURE_BUSY,
                        "Image \"%s\" is attached on this host, as \"%s\", and may be written meanwhile: detach it, "
                        "or make a "
                        "snapshot and export that",
                        transfer->wish.name, here);
        else if (!listed->image && !is_snapshot(transfer))
                transfer_settle(transfer, FAILURE_NO_SUCH_IMAGE, "The store has no image \"%s\"", transfer->wish.name);
        else {
                /* Attached by those who read only, or by somebody who writes: who asks for the lease of a writer learns which, and who it is. */
                transfer->exclusive = listed->image_attached;
                transfer_settle(transfer, FAILURE_NONE, "%s", "");
        }
}

static void judge_resume(struct transfer *transfer, const struct listed *listed) {
        const struct transfer_wish *wish = &transfer->wish;
        struct transfer_record *record = &transfer->record;
        int r;

        r = transfer_record_read(transfer->local, record);
        if (r == -ENOENT)
                transfer_settle(transfer, FAILURE_USAGE,
                        "No import of %s has been begun on this host that could be gone on with", wish->name);
        else if (r < 0)
                transfer_settle(transfer, FAILURE_IO, "What is known of the import of %s cannot be read: %s",
                        wish->name, strerror(-r));
        else if (!listed->stage || strcmp(listed->stage_uuid, record->uuid) != 0)
                transfer_settle(transfer, FAILURE_USAGE,
                        "What was imported of %s is not in the store any more (%s is gone, or another one): import it "
                        "anew",
                        wish->name, transfer->stage);
        else if (strcmp(record->format, wish->format) != 0 || record->size != wish->size ||
                 record->file_size != wish->file_size || record->changed_usec != wish->changed_usec)
                transfer_settle(transfer, FAILURE_USAGE,
                        "The file is not the one that was being imported as %s, or has been changed since: remove %s, "
                        "and import it anew",
                        wish->name, transfer->stage);
        else {
                transfer->created = transfer->recorded = true;
                transfer_settle(transfer, FAILURE_NONE, "%s", "");
        }
}

static void judge_import(struct transfer *transfer, const struct listed *listed) {
        const struct transfer_wish *wish = &transfer->wish;
        const char *here = attached_here(transfer);

        transfer->replaces = listed->image;
        if (listed->image && here)
                transfer_settle(transfer, FAILURE_BUSY,
                        "Image \"%s\" is attached on this host, as \"%s\": detach it first", wish->name, here);
        else if (listed->image && listed->image_attached)
                transfer_settle(transfer, FAILURE_HELD,
                        "Image \"%s\" is attached by another host: detach it there first (blockstorectl store status "
                        "names it)",
                        wish->name);
        else if (listed->image && !wish->overwrite)
                transfer_settle(transfer, FAILURE_ALREADY_EXISTS,
                        "The store has an image \"%s\" already: choose another name, or say that it is to be "
                        "overwritten",
                        wish->name);
        else if (wish->resume)
                judge_resume(transfer, listed);
        else if (listed->stage)
                transfer_settle(transfer, FAILURE_ALREADY_EXISTS,
                        "%s is in the store: an import of %s is under way, or was left unfinished. Go on with it, or "
                        "remove %s and import anew",
                        transfer->stage, wish->name, transfer->stage);
        else
                transfer_settle(transfer, FAILURE_NONE, "%s", "");
}

static void on_listed(sd_bus_message *answer, enum failure failure, const char *message, void *userdata) {
        const char *name, *uuid;
        struct transfer *transfer = userdata;
        struct listed listed = {};
        uint64_t size, used;
        int attached, r;

        transfer->query = NULL;
        if (!answer) {
                transfer_settle(transfer, failure, "%s", message);
                return;
        }
        r = sd_bus_message_enter_container(answer, SD_BUS_TYPE_ARRAY, "(sttsb)");
        while (r >= 0 && (r = sd_bus_message_read(answer, "(sttsb)", &name, &size, &used, &uuid, &attached)) > 0) {
                if (strcmp(name, transfer->wish.name) == 0) {
                        listed.image = true;
                        listed.image_attached = attached;
                } else if (strcmp(name, transfer->stage) == 0) {
                        listed.stage = true;
                        (void) snprintf(listed.stage_uuid, sizeof(listed.stage_uuid), "%s", uuid);
                }
        }
        if (r < 0)
                transfer_settle(transfer, FAILURE_PROTOCOL, "The store's list of images was not understood");
        else if (transfer->wish.export)
                judge_export(transfer, &listed);
        else
                judge_import(transfer, &listed);
}

static int fill_nothing(sd_bus_message *call, void *userdata) {
        return 0;
}

int transfer_run_list(struct transfer *transfer) {
        return query_ask(transfer->manager, "ListImages", fill_nothing, on_listed, transfer, &transfer->query, NULL);
}
