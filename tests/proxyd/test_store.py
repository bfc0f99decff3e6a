# SPDX-License-Identifier: LGPL-2.1-or-later
"""A store that is not what it was: renamed, covered, unmounted, copied, cut, under a running proxy and before its start."""

import json
import os
import shutil
import subprocess
import unittest

from proxy import Proxy
from test_hold import until

TOKEN = slice(32, 48)


class Moved(unittest.TestCase):
    def setUp(self):
        self.proxy = Proxy().start()
        self.addCleanup(self.proxy.remove)
        self.addCleanup(self.proxy.stop)
        for name in ("used", "spare"):
            self.proxy.create(name)
        self.client = self.proxy.modern()
        self.addCleanup(self.client.close)
        self.token = self.client.attach_lease("used").payload[TOKEN]
        self.assertEqual(self.client.write(0, b"1" * 512).status, "OK")

    def attach(self, name):
        with self.proxy.modern() as client:
            return client.attach_lease(name).status

    def check_refused_and_survived(self, *words):
        """What is attached goes on, nothing is attached anew, and the journal says once why and what to do."""
        self.assertEqual(self.attach("spare"), "USE_ANOTHER_PROXY")
        self.assertEqual(self.attach("spare"), "USE_ANOTHER_PROXY")
        self.assertEqual(self.client.write(512, b"2" * 512).status, "OK")
        self.assertEqual(self.client.flush().status, "OK")
        self.assertEqual(self.client.read(0, 1024).payload, b"1" * 512 + b"2" * 512)
        for word in (self.proxy.store, *words):
            self.assertIn(word, self.proxy.log())
        self.assertEqual(self.proxy.log().count("what is attached goes on"), 1)

    def test_renamed_and_back(self):
        os.rename(self.proxy.store, self.proxy.store + ".away")
        self.check_refused_and_survived("No such file", "Bring the directory back")
        os.rename(self.proxy.store + ".away", self.proxy.store)
        self.assertEqual(self.attach("spare"), "OK")
        self.assertIn("is back where it was opened", self.proxy.log())

    def test_noticed_without_being_asked(self):
        """Nobody attaches anything, and it is told all the same."""
        os.rename(self.proxy.store, self.proxy.store + ".away")
        until(lambda: "Bring the directory back" in self.proxy.log(), "the complaint")

    def test_served_from_the_new_place(self):
        """A second proxy at the new place finds the first one, which has nothing but what it has open."""
        os.rename(self.proxy.store, self.proxy.store + ".away")
        other = Proxy(store=self.proxy.store + ".away").start()
        self.addCleanup(other.remove)
        self.addCleanup(other.stop)
        with other.modern() as client:
            self.assertEqual(client.resume("used", self.token, 1).status, "OK")
            self.assertEqual(client.write(0, b"3" * 512).status, "OK")
            self.assertEqual(self.client.write(0, b"x" * 512).status, "USE_ANOTHER_PROXY")
            self.assertEqual(client.read(0, 512).payload, b"3" * 512)

    def test_another_directory_in_its_place(self):
        os.rename(self.proxy.store, self.proxy.store + ".away")
        os.mkdir(self.proxy.store)
        self.addCleanup(shutil.rmtree, self.proxy.store)
        self.check_refused_and_survived("is another directory", "restart this proxy")

    def test_covered_by_a_mount(self):
        if subprocess.run(["mount", "-t", "tmpfs", "none", self.proxy.store], check=False).returncode:
            self.skipTest("mounting is not allowed here")
        self.addCleanup(subprocess.run, ["umount", self.proxy.store], check=False, stderr=subprocess.DEVNULL)
        self.check_refused_and_survived("is another directory", "mount")
        subprocess.run(["umount", self.proxy.store], check=True)
        self.assertEqual(self.attach("spare"), "OK")

    def test_image_renamed(self):
        """The lock is on an inode, the image is a name: what is open under a name that leads elsewhere is not taken."""
        images = os.path.join(self.proxy.store, "images")
        os.rename(os.path.join(images, "used"), os.path.join(images, "kept"))
        os.rename(os.path.join(images, "spare"), os.path.join(images, "used"))
        with self.proxy.modern() as client:
            self.assertEqual(client.resume("used", self.token, 1).status, "EXPIRED")
            self.assertEqual(client.attach_lease("used").status, "OK")
            self.assertEqual(client.read(0, 512).payload, bytes(512))
        # It was not torn from under who has it.
        self.assertEqual(self.client.read(0, 512).payload, b"1" * 512)

    def test_image_renamed_and_back(self):
        """The proxy has it open twice then, and hands it over to itself."""
        images = os.path.join(self.proxy.store, "images")
        os.rename(os.path.join(images, "used"), os.path.join(images, "kept"))
        os.rename(os.path.join(images, "spare"), os.path.join(images, "used"))
        self.assertEqual(self.attach("used"), "OK")
        os.rename(os.path.join(images, "used"), os.path.join(images, "spare"))
        os.rename(os.path.join(images, "kept"), os.path.join(images, "used"))
        with self.proxy.modern() as client:
            self.assertEqual(client.resume("used", self.token, 1).status, "OK")
            self.assertEqual(client.read(0, 512).payload, b"1" * 512)
            self.assertEqual(client.write(0, b"2" * 512).status, "OK")
            self.assertEqual(self.client.write(0, b"x" * 512).status, "USE_ANOTHER_PROXY")
            self.assertEqual(client.read(0, 512).payload, b"2" * 512)
        self.assertIsNone(self.proxy.process.poll())

    def test_record_of_another_store(self):
        path = os.path.join(self.proxy.store, "store.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        record = json.loads(text)
        record["uuid"] = "0123456789abcdef0123456789abcdef"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        self.assertEqual(self.attach("spare"), "USE_ANOTHER_PROXY")
        self.assertIn("another store's", self.proxy.log())
        self.assertEqual(self.client.write(0, b"2" * 512).status, "OK")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.assertEqual(self.attach("spare"), "OK")


class Unmounted(unittest.TestCase):
    def test_lazily(self):
        """Its file system is taken away from the tree of names; what is open stays."""
        proxy = Proxy()
        self.addCleanup(proxy.remove)
        os.mkdir(proxy.store)
        if subprocess.run(["mount", "-t", "tmpfs", "none", proxy.store], check=False).returncode:
            self.skipTest("mounting is not allowed here")
        self.addCleanup(subprocess.run, ["umount", "-l", proxy.store], check=False, stderr=subprocess.DEVNULL)
        proxy.start()
        self.addCleanup(proxy.stop)
        proxy.create("image")
        with proxy.leased("image") as client, proxy.modern() as late:
            self.assertNotEqual(subprocess.run(["umount", proxy.store], check=False, stderr=subprocess.DEVNULL).returncode, 0,
                                "unmounted while in use")
            subprocess.run(["umount", "-l", proxy.store], check=True)
            self.assertEqual(client.write(0, b"x" * 512).status, "OK")
            self.assertEqual(late.attach_lease("image").status, "OK", "its own image is held already")
            self.assertIn(client.write(0, b"x" * 512).status, ("EXPIRED",))
        with proxy.modern() as client:
            until(lambda: "unmounted" in proxy.log(), "the complaint")
            self.assertEqual(client.attach_lease("image").status, "USE_ANOTHER_PROXY")
        self.assertIn(proxy.store, proxy.log())


class Copied(unittest.TestCase):
    def setUp(self):
        self.proxy = Proxy()
        self.addCleanup(self.proxy.remove)
        self.proxy.start()
        self.proxy.create("image")
        self.assertEqual(self.proxy.stop(), 0)

    def refused(self):
        with self.assertRaises(RuntimeError) as caught:
            self.proxy.start()
        self.proxy.notify.close()
        self.assertEqual(self.proxy.process.returncode, 74)
        return str(caught.exception)

    def copy_in_its_place(self):
        os.rename(self.proxy.store, self.proxy.store + ".original")
        shutil.copytree(self.proxy.store + ".original", self.proxy.store,
                        ignore=shutil.ignore_patterns("*.sock"))

    def adopt(self, **more):
        path = os.path.join(self.proxy.store, "store.json")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        record.update({"directory-inode": 0}, **more)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)

    def test_copy_is_refused_until_it_is_adopted(self):
        self.copy_in_its_place()
        message = self.refused()
        for word in (self.proxy.store, "is a copy", "directory-inode", "uuid"):
            self.assertIn(word, message)
        # The sentence is followed.
        self.adopt()
        self.proxy.start()
        with self.proxy.leased("image") as client:
            self.assertEqual(client.write(0, b"x" * 512).status, "OK")
        self.assertEqual(self.proxy.stop(), 0)
        # From then on it belongs where it is.
        self.proxy.start()
        self.assertEqual(self.proxy.stop(), 0)

    def test_renamed_store_is_no_copy(self):
        os.rename(self.proxy.store, self.proxy.store + ".away")
        os.rename(self.proxy.store + ".away", self.proxy.store)
        self.proxy.start()
        self.assertEqual(self.proxy.stop(), 0)

    def test_copy_onto_the_same_inode_number(self):
        """The root of every file system of a kind has one number: its birth tells them apart."""
        path = os.path.join(self.proxy.store, "store.json")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        if not record["directory-born"]:
            self.skipTest("this file system does not say when a directory was made")
        record["directory-born"] -= 1
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        self.assertIn("is a copy", self.refused())

    def test_store_of_an_older_version(self):
        """Its record names no directory: it belongs where it is found."""
        path = os.path.join(self.proxy.store, "store.json")
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        del record["directory-inode"], record["directory-born"]
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file)
        shutil.rmtree(os.path.join(self.proxy.store, "proxies"))
        os.unlink(os.path.join(self.proxy.store, "images", "image", "holder"))
        self.proxy.start()
        with self.proxy.leased("image") as client:
            self.assertEqual(client.write(0, b"x" * 512).status, "OK")
        self.assertEqual(self.proxy.stop(), 0)
        self.copy_in_its_place()
        self.assertIn("is a copy", self.refused())


class CutRecords(unittest.TestCase):
    def setUp(self):
        self.proxy = Proxy().start()
        self.addCleanup(self.proxy.remove)
        self.addCleanup(self.proxy.stop)

    def cut(self, name, length):
        with open(os.path.join(self.proxy.store, "images", name, "record.json"), "r+", encoding="utf-8") as file:
            file.truncate(length)

    def test_lease_record_cut_short_under_who_writes(self):
        for name in ("cut", "whole"):
            self.proxy.create(name)
        with self.proxy.leased("cut") as client, self.proxy.leased("whole") as other:
            self.assertEqual(client.write(0, b"1" * 512).status, "OK")
            self.cut("cut", 150)
            with self.proxy.modern() as late:
                self.assertEqual(late.resume("cut", b"?" * 16, 1).status, "PERMANENT_ERROR")
                self.assertEqual(late.attach_lease("cut", steal=True).status, "PERMANENT_ERROR")
            self.assertIn("cut/record.json", self.proxy.log())
            # Who has it keeps it, its data is what it was, and other images know nothing of it.
            self.assertEqual(client.write(512, b"2" * 512).status, "OK")
            self.assertEqual(client.read(0, 1024).payload, b"1" * 512 + b"2" * 512)
            self.assertEqual(client.detach().status, "PERMANENT_ERROR")
            self.assertEqual(other.write(0, b"o" * 512).status, "OK")
            self.assertEqual(self.proxy.process.poll(), None)
        with open(self.proxy.data_path("cut"), "rb") as file:
            self.assertEqual(file.read(1024), b"1" * 512 + b"2" * 512)

    def test_every_length(self):
        """A record may be cut anywhere: refused and named, or, behind its last character, whole."""
        self.proxy.create("any")
        with self.proxy.modern() as client:
            self.assertEqual(client.attach_lease("any").status, "OK")
        path = os.path.join(self.proxy.store, "images", "any", "record.json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        whole = len(text.rstrip())
        for length in [*range(0, whole, 23), whole - 1]:
            self.cut("any", length)
            with self.proxy.modern() as client:
                self.assertEqual(client.attach_lease("any").status, "PERMANENT_ERROR", length)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text[:whole])
        with self.proxy.modern() as client:
            self.assertEqual(client.attach_lease("any").status, "OK")
