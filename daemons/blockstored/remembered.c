/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A restarted supervisor that finds the image not attached forgets it again: what it says is of the attachment that was. Whatever is lost errs on the safe side, for then the image is root's. */

#include <errno.h>

#include "remembered.h"
#include "run-file.h"

#define DIRECTORY "remembered"

void remembered_load(const char *name, struct remembered *ret) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        struct json_object *value;
        int64_t uid;

        *ret = (struct remembered){};
        if (run_file_read(DIRECTORY, name, &object) <= 0)
                return;

        if (json_object_object_get_ex(object, "owner", &value) && json_object_is_type(value, json_type_int)) {
                uid = json_object_get_int64(value);
                if (uid > 0 && uid < UINT32_MAX)
                        ret->owner_uid = (uint32_t) uid;
        }
        if (json_object_object_get_ex(object, "detach-pending", &value) &&
                json_object_is_type(value, json_type_boolean))
                ret->detach_pending = json_object_get_boolean(value);
}

int remembered_save(const char *name, const struct remembered *remembered) {
        _cleanup_(json_object_putp) struct json_object *object = NULL;
        int r;

        if (remembered->owner_uid == 0 && !remembered->detach_pending)
                return run_file_remove(DIRECTORY, name);

        object = json_object_new_object();
        if (!object)
                return -ENOMEM;
        r = json_add(object, "owner", json_object_new_int64(remembered->owner_uid));
        if (r >= 0)
                r = json_add(object, "detach-pending", json_object_new_boolean(remembered->detach_pending));
        return r < 0 ? r : run_file_write(DIRECTORY, name, object);
}
